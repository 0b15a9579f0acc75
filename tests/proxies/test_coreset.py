"""The coreset against the exact ensemble: its stated error, its slopes, and a random sample of as many tokens."""

import numpy as np
import pytest

from proxies.coreset import coreset, coreset_within
from proxies.errors import ProxyError
from proxies.experts import Ensemble, Float64Array, GoldTokens


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Five experts that differ along two directions and a little everywhere; tokens of one set count unevenly."""
    rng = np.random.default_rng(0)
    gold = {}
    for name, tokens in {"long": 60_000, "short": 6_000}.items():
        shared = rng.normal(size=(5, 2)) @ rng.normal(size=(2, tokens)) + 0.2 * rng.normal(size=(5, tokens))
        probabilities = np.exp(np.minimum(shared - rng.exponential(1.0, tokens) - 1.0, 0.0)).astype(np.float32)
        gold[name] = GoldTokens(probabilities=probabilities, nats=rng.uniform(0.5, 1.5, tokens) / tokens)
    return Ensemble(domains=tuple("abcde"), gold=gold)


def draws(seed: int) -> Float64Array:
    return np.random.default_rng(seed).dirichlet(np.full(5, 0.5), 500)


def test_its_error_is_the_one_that_it_states(ensemble: Ensemble) -> None:
    small = coreset(ensemble, tokens=3_000, seed=0)
    assert sum(len(gold.nats) for gold in small.sample.gold.values()) <= 3_000
    wrong = np.abs(small.losses(draws(1)) - ensemble.losses(draws(1)))
    assert wrong.max() < 1.5 * small.error  # five times as many draws


def test_its_error_is_a_small_part_of_what_mixtures_differ_by(ensemble: Ensemble) -> None:
    exact = ensemble.losses(draws(1))
    wrong = [np.abs(coreset(ensemble, tokens=3_000, seed=s).losses(draws(1)) - exact).mean(0) for s in range(8)]
    assert (np.mean(wrong, axis=0) < 0.04 * exact.std(0)).all()  # of a set's 273 tokens; of 2,727 a hundredth


def test_it_is_far_better_than_a_random_sample_of_as_many_tokens(ensemble: Ensemble) -> None:
    small = coreset(ensemble, tokens=3_000, seed=0)
    rng, gold = np.random.default_rng(0), {}
    for name, each in ensemble.gold.items():
        count = len(small.sample.gold[name].nats)
        chosen = rng.choice(len(each.nats), count, p=each.nats / each.nats.sum())
        gold[name] = GoldTokens(
            probabilities=each.probabilities[:, chosen], nats=np.full(count, each.nats.sum() / count)
        )
    random = Ensemble(domains=ensemble.domains, gold=gold)
    exact = ensemble.losses(draws(1))
    wrong, plain = np.abs(small.losses(draws(1)) - exact).mean(), np.abs(random.losses(draws(1)) - exact).mean()
    assert wrong < 0.2 * plain


def test_with_room_for_all_tokens_it_is_exact(ensemble: Ensemble) -> None:
    whole = coreset(ensemble, tokens=66_000, seed=0)
    assert whole.error < 1e-6
    assert whole.losses(draws(2)) == pytest.approx(ensemble.losses(draws(2)), abs=1e-6)


def test_its_gradients_are_the_slopes_of_its_losses(ensemble: Ensemble) -> None:
    small, point, step = coreset(ensemble, tokens=2_000, seed=0), np.full((1, 5), 0.2), 1e-2
    weights = {"long": 0.7, "short": 0.3}
    values, gradients = small.values_and_gradients(point, weights)
    assert values[0] == pytest.approx(small.losses(point)[0] @ [0.7, 0.3], rel=1e-6)
    above, below = (small.losses(point + sign * step * np.eye(5)) @ [0.7, 0.3] for sign in (1.0, -1.0))
    assert gradients[0] == pytest.approx((above - below) / (2 * step), rel=5e-3)
    assert np.array_equal(small.gradients(point, weights), gradients)


def test_the_same_seed_takes_the_same_tokens(ensemble: Ensemble) -> None:
    first, again = (coreset(ensemble, tokens=1_000, seed=3) for _ in range(2))
    assert np.array_equal(first.losses(draws(1)), again.losses(draws(1)))


def test_fewer_tokens_than_sets_are_refused(ensemble: Ensemble) -> None:
    with pytest.raises(ProxyError, match="1 tokens for 2 sets"):
        coreset(ensemble, tokens=1, seed=0)


def test_it_takes_as_many_tokens_as_the_error_asks_for(ensemble: Ensemble) -> None:
    fewest = coreset(ensemble, tokens=16_384, seed=0)
    found = coreset_within(ensemble, error=2.0 * fewest.error, seed=0)
    assert found is not None
    assert np.array_equal(found.losses(draws(3)), fewest.losses(draws(3)))
    assert coreset_within(ensemble, error=0.5 * fewest.error, seed=0) is None  # 32,768 of 66,000 tokens gain little
