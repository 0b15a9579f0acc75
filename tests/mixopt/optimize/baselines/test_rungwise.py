"""Fits of one rung at a time, and their correction where trials are few."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mixopt.errors import SearchError
from mixopt.evidence import Evidence, History, Observation
from mixopt.optimize.baselines.rungwise import Trained, rungwise
from mixopt.problem import Problem

Bench = Callable[..., Any]


def squares(weights: np.ndarray, losses: np.ndarray) -> Trained:
    """Least squares on weights: exact for the losses of these tests."""
    found = np.linalg.lstsq(weights, losses, rcond=None)[0]
    return Trained(predict=lambda rows: rows @ found)


def evidence(problem: Problem, cheap: int, top: int, *, slope: float = 2.0, noise: float = 0.0) -> Evidence:
    names, rng = problem.space.names, np.random.default_rng(0)
    linear = rng.uniform(1.0, 2.0, (len(names), len(problem.sets)))
    rows = []
    for i, mixture in enumerate(problem.space.sample(cheap + top, rng)):
        losses = mixture.array(names) @ linear + noise * rng.standard_normal(len(problem.sets))
        rung = "small" if i < cheap else "large"
        losses = losses if rung == "small" else 0.3 + slope * losses
        named = dict(zip(problem.sets, losses.tolist(), strict=True))
        rows.append(Observation(trial=i, mixture=mixture, fidelity=rung, seed=0, losses=named, cost_flops=1.0))
    return Evidence(history=History(observations=tuple(rows)))


def test_a_rung_with_few_trials_is_an_affine_map_of_the_one_below(bench: Bench) -> None:
    world = bench(d=4)
    model = rungwise(evidence(world.problem, 40, 10), world.problem, squares)
    rows = np.random.default_rng(1).dirichlet(np.ones(4), 30)
    low, high = model.predict(rows, "small").sets_mean, model.predict(rows, "large").sets_mean
    slopes = [np.polyfit(low[:, j], high[:, j], 1)[0] for j in range(low.shape[1])]
    assert np.all(np.array(slopes) > 1.5)
    assert np.all(np.array(slopes) <= 2.0)


def test_a_rung_without_trials_is_the_one_below(bench: Bench) -> None:
    world = bench(d=4)
    model = rungwise(evidence(world.problem, 40, 0), world.problem, squares)
    rows = np.random.default_rng(1).dirichlet(np.ones(4), 5)
    assert np.array_equal(model.predict(rows, "small").mean, model.predict(rows, "large").mean)


def test_intervals_hold_the_noise_of_a_training(bench: Bench) -> None:
    world = bench(d=4)
    model = rungwise(evidence(world.problem, 60, 0, noise=0.05), world.problem, squares)
    fresh = evidence(world.problem, 60, 0, noise=0.05)
    weights = np.array([o.mixture.array(world.problem.space.names) for o in fresh.history.observations])
    values = np.array([world.problem.objective.value(o.losses) for o in fresh.history.observations])
    predicted = model.predict(weights, "small")
    assert 0.8 < np.mean(np.abs(values - predicted.mean) < 1.645 * predicted.sd) <= 1.0
    assert predicted.sets_sd[0] == pytest.approx(np.full(len(world.problem.sets), 0.05), rel=0.3)


def test_a_set_that_many_rows_lack_is_nan(bench: Bench) -> None:
    world = bench(d=4)
    rows = evidence(world.problem, 40, 0).history.observations
    half = len(rows) // 2
    without = [row._replace(losses={n: v for n, v in row.losses.items() if n != "d3"}) for row in rows[:half]]
    model = rungwise(Evidence(history=History(observations=(*without, *rows[half:]))), world.problem, squares)
    predicted = model.predict(np.full((1, 4), 0.25), "small")
    place = world.problem.sets.index("d3")
    assert np.isnan(predicted.sets_mean[0, place])
    assert np.isfinite(np.delete(predicted.sets_mean[0], place)).all()


def test_nothing_measured_is_refused(bench: Bench) -> None:
    with pytest.raises(SearchError, match="nothing can be fitted"):
        rungwise(Evidence(), bench(d=4).problem, squares)
