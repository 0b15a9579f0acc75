"""A search that has closed in on its optimum knows its noise and its doubts as one that has not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mixopt.evidence import Evidence, History
from mixopt.mixture import Mixture
from mixopt.optimize.fitting import fit
from mixopt.optimize.recommend import recommend
from mixopt.optimize.strategies import STRATEGIES
from mixopt.optimize.surrogate import Surrogate
from mixopt.replay.landscapes import Landscape
from mixopt.replay.simulated import recommended, search
from tests.mixopt.optimize.conftest import Bench

NOISE = 0.02


@pytest.fixture
def world(bench: Callable[..., Bench]) -> Bench:
    made = bench(d=4)
    return replace(made, law=replace(made.law, noise=NOISE))


def closed_in(world: Bench) -> Evidence:
    """Return the evidence of a start, and sixty mixtures within .02 of one another at the cheap rung."""
    start, rng = world.evidence(cheap=24, top=2), np.random.default_rng(0)
    center = np.array([0.4, 0.3, 0.2, 0.1])
    near = [Mixture.from_array(world.law.domains, w) for w in rng.dirichlet(4_000 * center, 60)]
    rows = [world.observe(1_000 + i, mixture, "small") for i, mixture in enumerate(near)]
    return replace(start, history=History(observations=(*start.history.observations, *rows)))


def fitted(evidence: Evidence, world: Bench) -> Surrogate:
    model = fit(evidence, world.problem)
    assert model is not None
    return model


def test_what_is_guessed_of_a_rung_stays_as_wide_where_its_rows_crowd(world: Bench) -> None:
    before, after = (fitted(e, world).rungs[0].scale for e in (world.evidence(cheap=24, top=2), closed_in(world)))
    assert after.coarse * after.width == pytest.approx(before.coarse * before.width, rel=0.25)
    wide, was = (scale.objective_coarse * scale.objective_width for scale in (after, before))
    assert wide == pytest.approx(was, rel=0.25)
    assert after.objective_width < 0.8 * before.objective_width  # in which its own rung is fitted


def test_the_noise_of_a_rung_without_replicates_is_that_of_the_rung_below(world: Bench) -> None:
    small, large = fitted(closed_in(world), world).rungs
    assert large.noise_sd == pytest.approx(large.scale.objective_ratio * small.noise_sd)
    assert large.sets_noise == pytest.approx(large.scale.ratio * small.sets_noise)
    assert np.median(small.sets_noise) == pytest.approx(NOISE, rel=0.5)  # four seeds of natural, and a guess


def test_what_is_told_of_the_pick_is_within_its_doubt() -> None:
    landscape = Landscape(d=3, seed=7)
    strategy = STRATEGIES["bayesian"](landscape.problem)
    evidence = search(strategy, landscape, budget=6.0, batch=8)
    told = recommend(evidence, landscape.problem)
    assert told.mixture == recommended(strategy, evidence, landscape.problem)
    true = float(landscape.true(told.mixture.array(landscape.problem.space.names)[None])[0])
    assert abs(true - told.predicted.mean) < 3.0 * told.predicted.sd
