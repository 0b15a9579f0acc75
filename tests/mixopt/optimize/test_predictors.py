"""What models say of mixtures that nobody has trained: one contract, and levels that nobody has reached."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mixopt.errors import SearchError
from mixopt.evidence import Evidence
from mixopt.fidelity import Fidelity
from mixopt.optimize.predictors import DEFAULT, SURROGATES

Bench = Callable[..., Any]

RUNGS = (
    Fidelity(name="small", parameters=100_000, tokens=500_000, cost_flops=1.0),
    Fidelity(name="large", parameters=400_000, tokens=2_000_000, cost_flops=16.0),
    Fidelity(name="huge", parameters=1_600_000, tokens=8_000_000, cost_flops=256.0),
)


def test_the_default_is_one_of_them() -> None:
    assert DEFAULT in SURROGATES


@pytest.mark.parametrize("name", SURROGATES)
def test_predictions_are_finite_and_of_every_set(bench: Bench, name: str) -> None:
    world = bench(d=3)
    predictor = SURROGATES[name](world.evidence(cheap=20, top=6), world.problem)
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 9)
    for rung in world.problem.ladder:
        found = predictor.predict(rows, rung.name)
        assert found.sets_mean.shape == found.sets_sd.shape == (9, 4)
        assert found.mean.shape == found.sd.shape == (9,)
        assert np.isfinite(found.mean).all()


@pytest.mark.parametrize("name", SURROGATES)
def test_nothing_measured_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(SearchError, match=r"nothing can be fitted|there are no data experts"):
        SURROGATES[name](Evidence(), bench(d=3).problem)


def test_nine_of_ten_trials_fall_within_the_interval(bench: Bench) -> None:
    inside, sets = [], []
    for seed in range(4):
        world = bench(seed=seed)
        predictor = SURROGATES[DEFAULT](world.evidence(cheap=40, top=0, seed=seed), world.problem)
        mixtures = world.problem.space.sample(60, np.random.default_rng(99))
        seen = [world.observe(i, m, "small", 7).losses for i, m in enumerate(mixtures)]
        found = predictor.predict(np.array([m.array(world.law.domains) for m in mixtures]), "small")
        losses = np.array([[row[name] for name in world.problem.sets] for row in seen])
        values = world.problem.objective.of_array(losses, world.problem.sets)
        inside.append(np.abs(found.mean - values) < 1.645 * found.sd)
        sets.append(np.abs(found.sets_mean - losses) < 1.645 * found.sets_sd)
    assert 0.8 < np.mean(inside) < 0.99
    assert 0.8 < np.mean(sets) < 0.99


def test_a_rung_that_nobody_reached_is_ranked_and_its_level_lies_in_the_interval(bench: Bench) -> None:
    for seed in range(3):
        world = bench(seed=seed, rungs=RUNGS)
        predictor = SURROGATES[DEFAULT](world.evidence(cheap=30, top=20, seed=seed), world.problem)
        rows = np.random.default_rng(9).dirichlet(np.ones(7), 100)
        found = predictor.predict(rows, "huge")
        assert spearmanr(found.mean, world.true(rows))[0] > 0.9
        assert np.mean(np.abs(found.mean - world.true(rows)) < 1.645 * found.sd) > 0.8
