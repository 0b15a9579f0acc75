"""A longer training that goes on from the stable part of a shorter one is the one that trains straight through."""

from dataclasses import replace
from pathlib import Path

import pytest

from proxies.checkpoint import Checkpoint
from proxies.config import ProxyConfig
from proxies.corpus import Corpus
from proxies.schedules import rate_share, stable_steps
from proxies.train import Plan, train_together
from proxies.training import Training

STEP = 128  # tokens
SHAPE = ProxyConfig(
    layers=1,
    width=16,
    heads=1,
    sequence_tokens=32,
    batch_sequences=4,
    lags=1,
    schedule="wsd",
    warmup_tokens=4 * STEP,
    decay_fraction=0.3,
    precision="float32",
)
PROXIES = {
    "dense": SHAPE,
    "routed": replace(SHAPE, experts=4, router="sigmoid", optimizer="adamw", learning_rate=0.005),
}
SHORT, LONG, STABLE = 20, 50, 14  # steps; 14.5 of 20 is past 0.7, where the rate falls


def plan(config: ProxyConfig, steps: int, *, seed: int = 0, **places: Checkpoint) -> Plan:
    return Plan(config=config, recipe=[(1.0, {"a": 0.7, "b": 0.3})], tokens=steps * STEP, seed=seed, **places)


def at(folder: Path) -> Checkpoint:
    return Checkpoint(folder=str(folder), every_s=3600.0)


def one(corpus: Corpus, asked: Plan) -> Training:
    return train_together([asked], corpus)[0]


def test_the_rate_of_a_longer_training_is_that_of_a_shorter_one_until_it_falls() -> None:
    assert stable_steps(SHAPE, SHORT) == STABLE
    rates = [
        [rate_share(SHAPE, (k + 0.5) * STEP, of=steps * STEP) for k in range(STABLE + 1)] for steps in (SHORT, LONG)
    ]
    assert rates[0][:STABLE] == rates[1][:STABLE]
    assert rates[0][STABLE] < rates[1][STABLE] == 1.0
    assert rates[0][:4] == [0.125, 0.375, 0.625, 0.875]
    assert stable_steps(replace(SHAPE, schedule="linear"), SHORT) == 0


@pytest.mark.parametrize("kind", PROXIES)
def test_a_continued_training_ends_as_one_straight_through_bit_for_bit_and_spends_the_difference(
    corpus: Corpus, tmp_path: Path, kind: str
) -> None:
    config = PROXIES[kind]
    short = one(corpus, plan(config, SHORT, stable=at(tmp_path)))
    assert short.losses == one(corpus, plan(config, SHORT)).losses
    straight, continued = (one(corpus, plan(config, LONG, **begin)) for begin in ({}, {"begin": at(tmp_path)}))
    assert (continued.losses, continued.curve, continued.tokens) == (straight.losses, straight.curve, straight.tokens)
    spared = config.flops_per_token(corpus.vocabulary) * STABLE * STEP
    assert continued.flops == pytest.approx(straight.flops - spared, rel=1e-12)
    assert continued.details["continued_tokens"] == STABLE * STEP
    assert "continued_tokens" not in straight.details


def test_what_did_not_draw_the_same_or_is_lost_is_trained_straight_through(corpus: Corpus, tmp_path: Path) -> None:
    one(corpus, plan(SHAPE, SHORT, stable=at(tmp_path / "s")))
    other = replace(plan(SHAPE, LONG, begin=at(tmp_path / "s")), recipe=[(1.0, {"a": 0.3, "b": 0.7})])
    shorter = plan(SHAPE, SHORT - 2, begin=at(tmp_path / "s"))  # its rate falls before
    for asked in (
        other,
        plan(SHAPE, LONG, seed=1, begin=at(tmp_path / "s")),
        plan(SHAPE, LONG, begin=at(tmp_path)),
        shorter,
    ):
        found, straight = one(corpus, asked), one(corpus, replace(asked, begin=None))
        assert (found.losses, found.flops) == (straight.losses, straight.flops)
