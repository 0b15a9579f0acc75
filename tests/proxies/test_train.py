"""Training: repeatable bit for bit, able to learn, honest about what it cost."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from proxies.__main__ import main
from proxies.config import ProxyConfig, trial_flops
from proxies.corpus import Corpus, CorpusConfig, prepare
from proxies.errors import ProxyError
from proxies.evaluate import bits_per_byte
from proxies.fitting import has_diverged, step
from proxies.mixing import slice_domains
from proxies.optimizers import OPTIMIZERS
from proxies.train import build, train
from proxies.training import Progress, Training

TINY = ProxyConfig(layers=1, width=16, heads=1, sequence_tokens=32, batch_sequences=4, lags=2, learning_rate=0.02)
ROUTED = ProxyConfig(layers=1, width=16, heads=1, sequence_tokens=32, batch_sequences=4, experts=4, learning_rate=0.02)
LETTERS = {"vowels": "aeiou", "others": "bcdfgh"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of random words, each of its own letters."""
    root = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    for name, letters in LETTERS.items():
        for number in range(40):
            words = ["".join(rng.choice(list(letters), 4)) for _ in range(100)]
            (root / f"{name}{number}.txt").write_text(" ".join(words))
    return root


def plain_corpus(folder: Path) -> dict[str, object]:
    return {
        "tokenizer": {"kind": "bytes"},
        "domains": [
            {"name": name, "source": {"kind": "files", "paths": f"{folder}/{name}*.txt"}, "held_out": 0.2}
            for name in LETTERS
        ],
        "evaluation": [{"name": name, "domain": name, "excerpt_tokens": 64} for name in LETTERS],
    }


@pytest.fixture(scope="module")
def corpus(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(CorpusConfig.from_plain(plain_corpus(folder)), tmp_path_factory.mktemp("corpora"))


def run(
    corpus: Corpus, config: ProxyConfig = TINY, *, vowels: float = 0.5, seed: int = 0, tokens: int = 10_000
) -> Training:
    return train(config, corpus, [(1.0, {"vowels": vowels, "others": 1 - vowels})], tokens=tokens, seed=seed)


@pytest.mark.parametrize("config", [TINY, ROUTED], ids=["dense", "routed"])
def test_same_seed_same_losses_bit_for_bit_and_another_seed_others(corpus: Corpus, config: ProxyConfig) -> None:
    first, again, other = run(corpus, config), run(corpus, config), run(corpus, config, seed=1)
    assert (first.losses, first.curve) == (again.losses, again.curve)
    assert set(first.losses.values()).isdisjoint(other.losses.values())


def test_a_training_that_starts_from_a_smaller_one_begins_at_its_loss_and_is_charged_for_it(corpus: Corpus) -> None:
    init = {"method": "grow", "tokens": 20_000, "proxy": {"layers": 1}}
    deep = replace(TINY, layers=2, init=init)
    small, grown = run(corpus, tokens=20_000), run(corpus, deep, tokens=2_600)
    assert grown.curve[0][1] < small.curve[-1][1] + 0.1
    assert grown.curve[0][1] < run(corpus, replace(TINY, layers=2), tokens=2_600).curve[0][1] - 0.5
    first, own = (c.flops_per_token(corpus.vocabulary) for c in (TINY, deep))
    evaluated = small.flops - first * small.tokens
    factor = deep.forward_flops_per_token(corpus.vocabulary) / TINY.forward_flops_per_token(corpus.vocabulary)
    assert grown.flops == pytest.approx(first * small.tokens + own * grown.tokens + evaluated * factor)
    assert grown.epochs["vowels"] == pytest.approx(small.epochs["vowels"] * (1 + grown.tokens / small.tokens), rel=0.05)


@pytest.mark.parametrize("precisions", [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_training_has_its_own_precision_whatever_it_starts_from(corpus: Corpus, precisions: tuple[str, str]) -> None:
    init = {"method": "grow", "tokens": 1_000, "proxy": {"layers": 1, "precision": precisions[0]}}
    deep = ProxyConfig.from_plain(TINY.to_plain() | {"layers": 2, "init": init, "precision": precisions[1]})
    assert run(corpus, deep, tokens=1_000).details["precision"] == precisions[1]


def test_a_proxy_learns_the_domain_that_it_sees(corpus: Corpus) -> None:
    vowels, others = run(corpus, vowels=1.0, tokens=30_000), run(corpus, vowels=0.0, tokens=30_000)
    entropy = (4 * math.log2(5)) / 5  # four random letters of five, then a blank that is certain
    assert vowels.losses["vowels"] < entropy + 0.2
    assert vowels.losses["vowels"] > entropy - 0.05
    assert others.losses["vowels"] > vowels.losses["vowels"] + 1
    assert others.losses["others"] < vowels.losses["others"] - 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("experts", [0, 4])
def test_every_optimizer_and_architecture_learns_one_batch_by_heart(optimizer: str, experts: int) -> None:
    config = ProxyConfig.from_plain(
        {"layers": 2, "width": 32, "heads": 1, "sequence_tokens": 32, "batch_sequences": 2, "experts": experts}
        | {"optimizer": optimizer, "learning_rate": 0.01, "lags": 2}
    )
    model = build(config, vocabulary=16, end_of_document=0, seed=0)
    rows = np.random.default_rng(0).integers(0, 16, (2, 33))
    optimizers = OPTIMIZERS[optimizer]([model])
    losses = [float(step([model], rows[None], optimizers)[0]) for _ in range(120)]
    assert losses[0] == pytest.approx(math.log(16))
    assert min(losses) < 0.1  # at a constant rate it comes and goes


def test_a_training_reports_what_it_did(corpus: Corpus) -> None:
    seen: list[Progress] = []
    recipe = [(1.0, {"vowels": 0.25, "others": 0.75})]
    training = train(TINY, corpus, recipe, tokens=10_000, seed=0, report=seen.append)
    assert training.tokens == 78 * 128  # whole steps
    assert [(p.tokens, p.loss) for p in seen] == list(training.curve)
    assert 15 <= len(training.curve) <= 30
    drawn = training.epochs["vowels"] * corpus.domains["vowels"].tokens_count
    assert drawn == pytest.approx(training.tokens / 4, abs=32)
    read = (training.flops - trial_flops(TINY, tokens=training.tokens, vocabulary=256, evaluation_tokens=0)) / (
        TINY.forward_flops_per_token(256)
    )
    assert read >= sum(e.scored_tokens for e in corpus.evaluation("search").values())


def test_gold_log_probabilities_give_the_losses(corpus: Corpus, tmp_path: Path) -> None:
    training = train(TINY, corpus, [(1.0, {"vowels": 1.0})], tokens=2_000, seed=0, gold=tmp_path / "gold")
    for name, excerpts in corpus.evaluation("search").items():
        scores = np.load(tmp_path / "gold" / f"{name}.npy")
        assert scores.shape == (excerpts.scored_tokens,)
        assert bits_per_byte(scores, excerpts.scored_bytes) == training.losses[name]


def test_the_parts_are_measured_apart(corpus: Corpus) -> None:
    recipe = [(1.0, {"vowels": 1.0})]
    search, proof = (train(TINY, corpus, recipe, tokens=2_000, seed=0, part=part) for part in ("search", "proof"))
    assert search.curve == proof.curve
    assert search.losses != proof.losses


def test_simulated_epoching_repeats_a_domain_as_the_target_would(corpus: Corpus) -> None:
    target_tokens = 40_000
    training = train(TINY, corpus, [(1.0, {"vowels": 1.0})], tokens=10_000, seed=0, target_tokens=target_tokens)
    at_target = target_tokens / corpus.domains["vowels"].available_tokens
    assert training.epochs["vowels"] == pytest.approx(at_target, rel=0.15)  # a slice ends with a whole document


def test_a_training_cut_short_makes_its_passes_over_the_slice_of_its_rung(corpus: Corpus) -> None:
    rung_tokens, target_tokens, passes = 20_000, 40_000, 1
    recipe = [(1.0, {"vowels": 1.0})]
    sliced = slice_domains(corpus.domains, proxy_tokens=rung_tokens, target_tokens=target_tokens, sequence_tokens=32)
    whole = train(TINY, corpus, recipe, tokens=rung_tokens, seed=0, target_tokens=target_tokens)
    tokens = passes * sliced["vowels"].tokens_count
    assert tokens < rung_tokens
    short = train(TINY, corpus, recipe, tokens=tokens, seed=0, target_tokens=target_tokens, slice_tokens=rung_tokens)
    assert short.epochs["vowels"] == pytest.approx(passes, rel=0.05)  # whole steps
    again = train(TINY, corpus, recipe, tokens=rung_tokens, seed=0, target_tokens=target_tokens, slice_tokens=20_000)
    assert again.losses == whole.losses


def test_a_training_that_explodes_stops_early_and_has_no_losses(corpus: Corpus) -> None:
    wild = ProxyConfig.from_plain({**TINY.to_plain(), "learning_rate": 1e30, "optimizer": "adamw", "clip_norm": 1e30})
    training = run(corpus, wild)
    assert training.diverged
    assert training.losses == {}
    assert training.tokens < 78 * 128


def test_a_loss_above_blind_guessing_counts_as_lost_only_late() -> None:
    curve = [(100, math.log(256) + 0.1)]
    assert not has_diverged(curve, progress=0.3, vocabulary=256)
    assert has_diverged(curve, progress=0.6, vocabulary=256)


def test_a_training_of_one_step_is_not_lost_for_beginning_blindly(corpus: Corpus) -> None:
    assert not run(corpus, tokens=TINY.batch_tokens).diverged


def test_training_leaves_threads_and_random_state_alone(corpus: Corpus) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    run(corpus, tokens=1_000)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_fewer_tokens_than_a_step_are_refused(corpus: Corpus) -> None:
    with pytest.raises(ProxyError, match="100 tokens are less than one step of 128"):
        run(corpus, tokens=100)


def proxy_file(folder: Path, path: Path, **changes: object) -> Path:
    model = {"layers": 1, "width": 16, "heads": 1, "sequence_tokens": 32, **changes}
    path.write_text(json.dumps({"corpus": plain_corpus(folder), "model": model, "tokens": 3_000}))
    return path


def test_the_command_trains_one_proxy(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = proxy_file(folder, tmp_path / "proxy.yaml")
    arguments = ["train", str(path), "--weights", "vowels=0.5,others=0.5", "--folder", str(tmp_path / "c"), "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["losses"]) == set(LETTERS)
    assert found["tokens"] == 2_816


def test_the_command_tunes_a_learning_rate(
    folder: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = proxy_file(folder, tmp_path / "proxy.yaml")
    arguments = ["tune-lr", str(path), "--weights", "vowels=0.5,others=0.5", "--folder", str(tmp_path / "c"), "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    losses = dict(map(tuple, found["losses"]))
    assert found["bracketed"]
    assert found["best"] == min(losses, key=losses.__getitem__)
    config = ProxyConfig(layers=1, width=16, heads=1, sequence_tokens=32, learning_rate=found["best"])
    again = run(corpus, config, tokens=3_000)
    assert losses[found["best"]] == pytest.approx(sum(again.losses.values()) / 2)


def test_no_rate_is_named_where_every_training_diverged(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = proxy_file(folder, tmp_path / "proxy.yaml", learning_rate=1e30, optimizer="adamw", clip_norm=1e30)
    arguments = ["tune-lr", str(path), "--weights", "vowels=0.5,others=0.5", "--folder", str(tmp_path / "c")]
    assert main(arguments) == 1
    assert "the training diverged at every rate of" in capsys.readouterr().err


def test_no_rate_is_named_where_nothing_is_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = proxy_file(folder, tmp_path / "proxy.yaml")
    plain = json.loads(path.read_text())
    path.write_text(json.dumps(plain | {"corpus": plain["corpus"] | {"evaluation": []}, "tokens": "3e3"}))
    arguments = ["tune-lr", str(path), "--weights", "vowels=0.5,others=0.5", "--folder", str(tmp_path / "c")]
    assert main(arguments) == 1
    assert "the corpus has no evaluation set" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-5", "99999999999999999999999"])
def test_a_seed_that_is_none_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: str
) -> None:
    path = proxy_file(folder, tmp_path / "proxy.yaml")
    assert main(["train", str(path), "--weights", "vowels=0.5,others=0.5", "--seed", seed]) == 1
    assert "--seed must be a number from 0 to below 4294967296" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "message"),
    [("vowels", "weights must read a=0.5,b=0.5; got 'vowels'"), ("x=1", "unknown domains ['x']; known:")],
)
def test_the_command_says_in_one_line_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str, message: str
) -> None:
    path = proxy_file(folder, tmp_path / "proxy.yaml")
    assert main(["train", str(path), "--weights", weights, "--folder", str(tmp_path / "c")]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
