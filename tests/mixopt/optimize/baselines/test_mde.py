"""Data experts alone: the exact optimum within the limits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mixopt.errors import SearchError
from mixopt.evidence import Evidence
from mixopt.optimize.baselines.mde import mde_surrogate, optimum
from mixopt.optimize.strategies import STRATEGIES

Bench = Callable[..., Any]


def test_without_limits_it_is_the_optimum_of_newtons_method(bench: Bench) -> None:
    world = bench(d=5)
    ensemble = world.experts().experts.ensemble
    weights, _ = ensemble.optimum(world.problem.objective.weights)
    found = optimum(ensemble, world.problem)
    exact = world.problem.objective.of_array(ensemble.losses(weights[None]), ensemble.sets)[0]
    assert found.value == pytest.approx(exact, abs=1e-6)


def test_within_limits_no_random_mixture_is_better(bench: Bench) -> None:
    world = bench(d=5, constraints=["d1 + d2 <= 0.4", "d0 >= 0.2"], pinned={"d3": 0.1})
    ensemble = world.experts().experts.ensemble
    found = optimum(ensemble, world.problem)
    rows = np.array([m.array(world.law.domains) for m in world.problem.space.sample(2_000, np.random.default_rng(0))])
    values = world.problem.objective.of_array(ensemble.losses(rows), ensemble.sets)
    assert found.value < values.min()
    assert found.gap < 1e-6
    assert world.problem.space.project(found.weights) in world.problem.space


def test_the_pick_is_trained_at_the_top_seed_by_seed(bench: Bench) -> None:
    world = bench(d=3)
    proposals = STRATEGIES["mde"](world.problem).propose(world.experts(), n=8, seed=0)[5:]
    assert [(p.fidelity, p.seed) for p in proposals] == [("large", 0), ("large", 1), ("large", 2)]
    assert world.regret(proposals[0].mixture) < world.regret(world.problem.natural)


def test_the_ensemble_is_corrected_by_trials(bench: Bench) -> None:
    world = bench(d=5)
    model = mde_surrogate(world.evidence(cheap=12, top=16), world.problem)
    rows = np.array([m.array(world.law.domains) for m in world.problem.space.sample(200, np.random.default_rng(1))])
    predicted, truth = model.predict(rows, "large"), world.true(rows)
    assert spearmanr(predicted.mean, truth)[0] > 0.8
    assert np.mean(np.abs(predicted.mean - truth) < 1.645 * predicted.sd) > 0.7


def test_without_experts_a_model_is_refused(bench: Bench) -> None:
    with pytest.raises(SearchError, match="no data experts; train them first"):
        mde_surrogate(Evidence(), bench(d=3).problem)
