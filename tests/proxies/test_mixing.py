"""Batches: token weights realised, windows drawn once an epoch, the same for every recipe of a seed."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.corpus import DomainTokens
from proxies.errors import ProxyError
from proxies.mixing import Batches, short_samples, slice_domains, take_turns

T = 16


def domain(name: str, tokens: int, *, document: int = 40, first: int = 0, available: int | None = None) -> DomainTokens:
    """Tokens that say where they stand: first, first + 1, ..."""
    offsets = np.append(np.arange(0, tokens, document), tokens)
    ids = np.arange(first, first + tokens, dtype=np.uint32)
    return DomainTokens(name=name, tokens=ids, offsets=offsets, available_tokens=available or tokens)


DOMAINS = {
    "a": domain("a", 1_000),
    "b": domain("b", 3_333, first=10_000),
    "c": domain("c", 50_000, first=20_000),
}


def batches(recipe: list[tuple[float, Mapping[str, float]]], *, seed: int = 0, steps: int = 50) -> Batches:
    return Batches(DOMAINS, recipe, seed=seed, sequence_tokens=T, batch_sequences=4, steps=steps)


def rows(found: Batches) -> np.ndarray:
    return np.concatenate([found.batch(k) for k in range(found.steps)])


def rows_of(found: Batches, name: str) -> np.ndarray:
    all_rows = rows(found)
    low, high = int(DOMAINS[name].tokens[0]), int(DOMAINS[name].tokens[-1])
    return all_rows[(all_rows[:, 0] >= low) & (all_rows[:, 0] <= high)]


def test_a_batch_is_a_function_of_recipe_seed_and_number_alone() -> None:
    recipe = [(1.0, {"a": 0.3, "c": 0.7})]
    first, second = batches(recipe, steps=300), batches(recipe, steps=300)
    order = [299, 0, 70, 64, 63]
    assert all(np.array_equal(first.batch(k), second.batch(k)) for k in order)
    assert np.array_equal(first.batch(10), batches(recipe, steps=11).batch(10))
    assert not np.array_equal(first.batch(0), batches(recipe, seed=1).batch(0))


def test_windows_are_consecutive_tokens_wrapping_at_the_end() -> None:
    found = rows_of(batches([(1.0, {"a": 1.0})], steps=60), "a")
    assert np.array_equal((found[:, :1] + np.arange(T + 1)) % 1_000, found)


def test_an_epoch_visits_every_window_once() -> None:
    found = rows_of(batches([(1.0, {"a": 1.0})], steps=62), "a")
    windows = 1_000 // T
    for epoch in range(4):
        predicted = Counter(found[epoch * windows : (epoch + 1) * windows, 1:].ravel().tolist())
        assert len(predicted) == windows * T
        assert set(predicted.values()) == {1}


def test_epochs_count_passes_over_the_tokens() -> None:
    epochs = batches([(1.0, {"a": 0.5, "b": 0.5})], steps=50).epochs()
    assert epochs == pytest.approx({"a": 100 * T / 1_000, "b": 100 * T / 3_333})


def test_every_recipe_of_a_seed_draws_the_same_windows_of_a_domain() -> None:
    few = rows_of(batches([(1.0, {"a": 0.2, "c": 0.8})]), "a")
    many = rows_of(batches([(0.5, {"a": 1.0}), (0.5, {"b": 0.5, "a": 0.5})]), "a")
    assert np.array_equal(few, many[: len(few)])


@pytest.mark.parametrize("seed", range(5))
def test_every_prefix_holds_each_share_to_within_one_sequence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = [rng.dirichlet(np.full(9, 0.3)) for _ in range(3)]
    weights[1][:4] = 0
    weights[1] /= weights[1].sum()
    stages = list(zip([0.4, 0.25, 0.35], weights, strict=True))
    order = take_turns(stages, sequences=1_000)
    due = np.cumsum(np.concatenate([np.tile(w, (n, 1)) for n, w in zip([400, 250, 350], weights, strict=True)]), axis=0)
    taken = np.cumsum(np.eye(9)[order], axis=0)
    assert np.abs(taken - due).max() < 1


def test_one_domain_alone_takes_every_turn() -> None:
    assert take_turns([(1.0, [1.0])], sequences=5).tolist() == [0] * 5


def test_stages_follow_one_another() -> None:
    found = rows(batches([(0.25, {"a": 1.0}), (0.75, {"c": 1.0})], steps=40))
    assert found[:40].max() < 1_000
    assert found[40:].min() >= 20_000


def test_slices_are_whole_documents_and_shorter_ones_lie_inside_longer_ones() -> None:
    small = slice_domains(DOMAINS, proxy_tokens=200, target_tokens=1_000, sequence_tokens=T)
    large = slice_domains(DOMAINS, proxy_tokens=500, target_tokens=1_000, sequence_tokens=T)
    assert small["b"].tokens_count == 640  # of 666: sixteen documents of 40
    for name in DOMAINS:
        assert np.array_equal(small[name].tokens, large[name].tokens[: small[name].tokens_count])


def test_a_slice_follows_the_tokens_stated_not_those_read() -> None:
    sample = {"web": domain("web", 4_000, available=1_000_000)}
    cut = slice_domains(sample, proxy_tokens=2_000, target_tokens=1_000_000, sequence_tokens=T)
    assert cut["web"].tokens_count == 2_000


def test_a_slice_below_eight_sequences_is_refused_with_the_numbers() -> None:
    with pytest.raises(
        ProxyError, match=r"'a': 1,000 available tokens cut to 0\.1 .* leave 80 tokens .* at least 1,600"
    ):
        slice_domains(DOMAINS, proxy_tokens=1_000, target_tokens=10_000, sequence_tokens=T)
    some = {"a": DOMAINS["a"]}
    assert slice_domains(some, proxy_tokens=1_600, target_tokens=10_000, sequence_tokens=T)["a"].tokens_count == 160
    with pytest.raises(ProxyError, match="leave 120 tokens"):
        slice_domains(some, proxy_tokens=1_599, target_tokens=10_000, sequence_tokens=T)


def test_a_domain_too_small_for_any_slice_is_told_to_grow() -> None:
    with pytest.raises(ProxyError, match=r"leave 100 tokens .* read more of it, or merge"):
        slice_domains({"x": domain("x", 100)}, proxy_tokens=1_000, target_tokens=1_000, sequence_tokens=T)


def of_documents(lengths: list[int]) -> DomainTokens:
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    ids = np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)
    return DomainTokens(name="x", tokens=ids, offsets=offsets, available_tokens=int(offsets[-1]))


def test_a_long_first_document_does_not_empty_a_slice() -> None:
    some = of_documents([100_000, *[1_000] * 200])
    assert some.head(20_000).tokens.tolist() == np.repeat(np.arange(1, 21), 1_000).tolist()
    assert 0 in some.head(250_000).tokens
    assert some.head(300_000).tokens_count == 300_000


@given(
    lengths=st.lists(st.integers(1, 40_000), min_size=1, max_size=60),
    wanted=st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)),
)
def test_heads_hold_whole_documents_and_lie_inside_one_another(lengths: list[int], wanted: tuple[int, int]) -> None:
    some = of_documents(lengths)
    small, large = (some.head(tokens) for tokens in sorted(wanted))
    assert np.array_equal(small.tokens, large.tokens[: small.tokens_count])
    assert large.tokens_count <= max(wanted)
    found, counts = np.unique(large.tokens, return_counts=True)
    assert [lengths[document] for document in found.tolist()] == counts.tolist()
    assert some.head(sum(lengths)).tokens_count == sum(lengths)


def test_domains_of_which_too_little_was_read_are_named() -> None:
    sample = {"web": domain("web", 4_000, available=1_000_000), "a": DOMAINS["a"]}
    assert short_samples(sample, proxy_tokens=10_000, target_tokens=1_000_000) == {"web": (10_000, 4_000)}
    assert short_samples(sample, proxy_tokens=4_000, target_tokens=1_000_000) == {}


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ([], "at least one stage"),
        ([(0.5, {"a": 1.0})], "shares must be above 0 and sum to 1"),
        ([(1.0, {"d": 1.0})], r"unknown domains \['d'\]; known"),
        ([(1.0, {"a": 0.5})], "sum to 1"),
        ([(1.0, {"a": 1.5, "b": -0.5})], "at least 0"),
        ([(1.0, {"a": float("nan")})], "sum to 1"),
    ],
)
def test_a_wrong_recipe_is_refused(recipe: list[tuple[float, Mapping[str, float]]], message: str) -> None:
    with pytest.raises(ProxyError, match=message):
        batches(recipe)


def test_a_domain_shorter_than_a_sequence_is_refused() -> None:
    with pytest.raises(ProxyError, match="'x' has 16 tokens, less than one sequence"):
        Batches({"x": domain("x", T)}, [(1.0, {"x": 1.0})], seed=0, sequence_tokens=T, batch_sequences=1, steps=1)
