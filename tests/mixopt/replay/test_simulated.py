"""Landscapes with a known optimum, and searches of them."""

import numpy as np
import pytest

from mixopt.errors import ReplayError
from mixopt.mixture import Mixture
from mixopt.optimize.strategies import STRATEGIES, FixedStrategy
from mixopt.replay.landscapes import NOISE, SETS, SHAPES, Landscape
from mixopt.replay.simulated import SimulatedPlan, recommended, replay_simulated, search


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("d", [3, 9])
def test_nothing_in_the_space_is_below_the_optimum_and_something_is_near(d: int, seed: int) -> None:
    landscape = Landscape(d=d, seed=seed)
    space = landscape.problem.space
    drawn = space.sample(3_000, np.random.default_rng(1))
    values = landscape.true(np.array([mixture.array(space.names) for mixture in drawn]))
    assert landscape.shape == SHAPES[seed]
    assert landscape.optimum <= values.min() + 1e-7
    assert values.min() - landscape.optimum < 0.25 * (np.median(values) - landscape.optimum)


def test_the_optimum_of_an_additive_landscape_is_where_slopes_are_equal() -> None:
    landscape = Landscape(d=5, seed=1)
    law, space = landscape._law, landscape.problem.space
    worth = (law["scales"][:, None] * law["affinities"] / law["affinities"].sum(1, keepdims=True)).mean(0) * law[
        "rates"
    ]
    low, high = -50.0, 50.0
    for _ in range(200):  # water filling: rates and worth give every weight at a price, which is found by halving
        price = 0.5 * (low + high)
        weights = np.clip(np.log(worth / np.exp(price)) / law["rates"], 0.0, space.upper)
        low, high = (price, high) if weights.sum() > 1.0 else (low, price)
    assert landscape.optimum == pytest.approx(float(landscape.true(weights[None])[0]), abs=1e-6)


def test_noise_is_of_its_size_and_the_same_for_the_same_trial() -> None:
    landscape = Landscape(d=3, seed=0)
    mixture = landscape.problem.natural
    exact = landscape.exact(mixture.array(landscape.problem.space.names)[None], "large")[0]
    seen = [landscape.observe(0, mixture, "large", seed) for seed in range(200)]
    missed = np.array([list(one.losses.values()) for one in seen]) - exact
    assert missed.shape == (200, SETS)
    assert missed.std() == pytest.approx(NOISE, rel=0.1)
    assert seen[3] == landscape.observe(0, mixture, "large", 3)


@pytest.mark.parametrize("name", ["bayesian", "random", "regmix", "uniform"])
def test_searches_keep_to_their_budget_and_recommend_a_mixture_of_the_space(name: str) -> None:
    landscape = Landscape(d=3, seed=3)
    strategy = STRATEGIES[name](landscape.problem)
    evidence = search(strategy, landscape, budget=2.2, batch=8)
    assert sum(seen.cost_flops for seen in evidence.history.observations) <= 2.2 * (1.0 + 1e-9)
    assert recommended(strategy, evidence, landscape.problem) in landscape.problem.space


def test_knowing_the_best_of_many_loses_less_than_uniform_and_differences_are_paired() -> None:
    def knowing(problem: object) -> FixedStrategy:
        landscape = next(place for place in places if place.problem == problem)
        space = landscape.problem.space
        rows = np.array([mixture.array(space.names) for mixture in space.sample(2_000, np.random.default_rng(0))])
        best = Mixture.from_array(space.names, rows[landscape.true(rows).argmin()])
        return FixedStrategy(problem=landscape.problem, mixture=best, reason="known")

    places = [Landscape(d=3, seed=seed) for seed in range(2)]
    plan = SimulatedPlan(domains=(3,), seeds=2, budget=1.5)
    report = replay_simulated(plan, {"bayesian": knowing, "uniform": STRATEGIES["uniform"]})
    own, other = report.scores
    assert 0.0 <= own.regret.value < 0.1 * other.regret.value
    assert own.behind is None
    assert other.behind is not None
    assert other.behind.value == pytest.approx(other.regret.value - own.regret.value)


def test_a_strategy_that_cannot_search_is_left_out_with_its_reason() -> None:
    report = replay_simulated(SimulatedPlan(domains=(3,), seeds=1, budget=1.5), {"mde": STRATEGIES["mde"]})
    assert report.scores == ()
    assert "experts" in report.left_out["mde at d = 3"]


@pytest.mark.parametrize("wishes", [{"domains": ()}, {"domains": (1,)}, {"seeds": 0}, {"budget": -1.0}, {"batch": 0}])
def test_plans_that_say_nothing_are_refused(wishes: dict[str, object]) -> None:
    with pytest.raises(ReplayError):
        SimulatedPlan(**{"domains": (3,), **wishes})  # type: ignore[arg-type]
