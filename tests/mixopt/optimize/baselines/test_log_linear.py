"""The log-linear law: found again, and minimized exactly."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mixopt.mixture import Mixture
from mixopt.objective import Objective
from mixopt.optimize.baselines.log_linear import fit, law, optimum
from mixopt.problem import Problem

Bench = Callable[..., Any]
THETA = np.array([[0.2, -1.0, 0.3, 0.1], [-0.5, 0.4, -2.0, 0.2]])  # two sets, three domains


def test_it_finds_its_own_law_again() -> None:
    rng = np.random.default_rng(0)
    weights, fresh = rng.dirichlet(np.ones(3), 40), rng.dirichlet(np.ones(3), 100)
    theta = fit(weights, law(THETA, weights).T)
    assert law(theta, fresh) == pytest.approx(law(THETA, fresh), abs=2e-4)


def test_outliers_hardly_move_it() -> None:
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(3), 60)
    losses = law(THETA, weights).T
    losses[:3] += 3.0
    assert np.abs(law(fit(weights, losses), weights).T[3:] - losses[3:]).max() < 0.02


def small(bench: Bench, **wishes: object) -> Problem:
    problem: Problem = bench(d=3, **wishes).problem
    return replace(problem, sets=("a", "b"), objective=Objective({"a": 0.5, "b": 0.5}))


def grid(problem: Problem, caps: np.ndarray) -> np.ndarray:
    steps = np.linspace(0.0, 1.0, 401)
    first, second = (axis.ravel() for axis in np.meshgrid(steps, steps))
    rows = np.column_stack([first, second, 1.0 - first - second])
    inside = (
        (rows >= -1e-12).all(1) & (rows <= caps + 1e-12).all(1) & (rows @ problem.space.A.T <= problem.space.b).all(1)
    )
    return np.maximum(rows[inside], 0.0)


@pytest.mark.parametrize("wishes", [{}, {"constraints": ["d1 <= 0.3", "d0 + d2 >= 0.75"]}], ids=["free", "constrained"])
def test_no_mixture_of_a_fine_grid_is_better_than_the_optimum(bench: Bench, wishes: dict[str, Any]) -> None:
    problem = small(bench, **wishes)
    found = optimum(THETA, ("a", "b"), problem)
    natural = problem.natural.array(problem.space.names)
    caps = problem.max_epochs * np.array([problem.available_tokens[n] for n in problem.space.names]) / problem.tokens
    rows = np.maximum(grid(problem, caps), 1e-12)
    values = law(THETA, rows).mean(0) + 0.05 * (rows * np.log(rows / natural)).sum(1)
    assert found.gap < 1e-7
    assert found.value <= values.min() + 1e-9
    assert values.min() - found.value < 1e-3
    assert Mixture.from_array(problem.space.names, found.weights) in problem.space


def test_much_shrinkage_is_natural(bench: Bench) -> None:
    problem = small(bench)
    found = optimum(THETA, ("a", "b"), problem, shrinkage=1e3)
    assert found.weights == pytest.approx(problem.natural.array(problem.space.names), abs=1e-3)


def test_the_worst_set_is_minimized_too(bench: Bench) -> None:
    problem = replace(small(bench), objective=Objective.worst(["a", "b"]), max_epochs=1e9)
    found = optimum(THETA, ("a", "b"), problem, shrinkage=0.0)
    rows = grid(problem, np.ones(3))
    assert law(THETA, found.weights[None]).max() <= law(THETA, rows).max(0).min() + 1e-4
