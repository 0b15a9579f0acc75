"""MARINER: the numbers of its procedure, and a law that it must find again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr

from mixopt.evidence import Evidence, History
from mixopt.optimize.baselines.marin import Law, Shape, benefit, epochs_of_one, fit, floor, harm
from mixopt.optimize.baselines.marin_search import CAP_EPOCHS, pick
from mixopt.optimize.strategies import STRATEGIES

Bench = Callable[..., Any]
SHAPE = Shape(rate=0.5, power=0.5, onset=2.0)


def law(theta: list[float], constant: float = -0.5, phi: float = 0.8) -> Law:
    return Law(shape=SHAPE, ridge=0.0, phi=phi, constant=constant, theta=np.array(theta))


def test_benefit_saturates_as_published() -> None:
    assert benefit(np.array([1.0, 4.0]), 0.5, 0.5) == pytest.approx([0.506931, 0.756883], abs=1e-6)


def test_harm_rises_as_published() -> None:
    assert harm(np.array([1.0, 4.0, 16.0]), 2.0) == pytest.approx([0.057382, 0.267096, 1.425957], abs=1e-6)


def test_the_law_of_two_domains_is_as_published() -> None:
    epochs = np.array([[0.35, 6.0]])
    assert SHAPE.design(epochs) @ np.array([0.2, 0.1, 0.02, 0.03]) - 0.5 == pytest.approx([-0.636790], abs=1e-6)
    assert law([0.2, 0.1, 0.02, 0.03]).predict(epochs) == pytest.approx([1.328988], abs=1e-6)


def test_the_floor_is_as_published() -> None:
    assert floor(1.04, 1.00, 0.001, 1.5) == pytest.approx(0.98)
    assert floor(1.04, 1.04, 0.01, 1.5) == pytest.approx(1.01)


def test_one_domain_is_best_at_the_published_epochs() -> None:
    one = law([0.1, 0.03])
    found = minimize_scalar(lambda e: one.predict(np.array([[e]]))[0], bounds=(0.1, 30.0), options={"xatol": 1e-6})
    assert found.x == pytest.approx(5.685, abs=2e-3)


def test_slopes_are_those_of_differences() -> None:
    one, epochs = law([0.2, 0.1, 0.02, 0.03]), np.array([0.35, 6.0])
    steps = [one.predict(np.array([epochs + h, epochs - h])) for h in 1e-6 * np.eye(2)]
    assert one.slope(epochs) == pytest.approx([(up - down) / 2e-6 for up, down in steps], rel=1e-5)


def test_it_finds_a_law_of_its_own_kind_again() -> None:
    rng, passes = np.random.default_rng(0), np.array([2.0, 8.0, 30.0])
    weights = np.vstack([np.tile([0.94, 0.05, 0.01], (3, 1)), rng.dirichlet(np.ones(3), 60)])
    true = law([1.0, 1.0, 1.5, 0.0, 0.02, 0.01])  # its floor lies within reach of G
    losses = true.predict(weights * passes)[:, None]
    laws, left_out = fit(weights, losses, weights[0], passes)
    fresh = rng.dirichlet(np.ones(3), 200)
    assert spearmanr(laws[0].predict(fresh * passes), true.predict(fresh * passes))[0] > 0.998
    assert np.sqrt(np.mean((left_out - losses) ** 2)) < 0.1 * losses.std()


def test_where_nothing_could_be_seen_once_natural_is_one_epoch(bench: Bench) -> None:
    problem = bench(d=3).problem
    passes = epochs_of_one(problem)
    natural = problem.natural.array(problem.space.names)
    assert passes * natural == pytest.approx(np.full(3, passes[0] * natural[0]))
    assert passes.max() >= 1.0


def test_the_pick_lies_within_six_epochs_and_beats_natural(bench: Bench) -> None:
    world = bench(d=3)
    mixtures = [*world.problem.space.sample(24, np.random.default_rng(0)), *[world.problem.natural] * 3]
    rows = tuple(world.observe(i, m, "small", i) for i, m in enumerate(mixtures))
    chosen = pick(Evidence(history=History(observations=rows)), world.problem)
    available = np.array([world.problem.available_tokens[n] for n in world.problem.space.names])
    assert np.all(chosen * world.problem.tokens <= CAP_EPOCHS * available + 1e3)
    assert world.regret(world.problem.space.project(chosen)) < world.regret(world.problem.natural)


def test_it_begins_with_natural_five_times(bench: Bench) -> None:
    world = bench(d=3)
    first = STRATEGIES["marin"](world.problem).propose(Evidence(), n=7, seed=0)
    assert [p.mixture == world.problem.natural for p in first] == [True] * 6 + [False]
    assert [p.seed for p in first[:6] if p.fidelity == "small"] == [0, 1, 2, 3, 4]
