"""What is told around a recommendation, against the closed-form law."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mixopt.fidelity import Ladder, Target
from mixopt.objective import Objective
from mixopt.optimize.insight import Insight
from mixopt.optimize.pull import STRENGTHS, divergence, picked
from mixopt.optimize.recommend import Recommendation, recommend

Bench = Callable[..., Any]


Solved = tuple[Any, Recommendation, Insight]


@pytest.fixture(scope="module")
def solved(bench: Bench) -> Solved:
    """Return a world, the recommendation made there, and what is told around it."""
    even = Objective({"d0": 1.0, "d1": 1.0, "d2": 1.0, "target": 1.0})
    world = bench(d=4, noise=0.003, bias=0.1, objective=even)
    found = recommend(world.evidence(cheap=24, top=14), world.problem)
    assert found.insight is not None
    return world, found, found.insight


def test_effects_have_the_sign_of_the_laws_own_slopes(solved: Solved) -> None:
    world, found, insight = solved
    pick = found.mixture.array(world.law.domains)
    for i, effect in enumerate(insight.effects):
        more = pick * (1.0 - pick[i] - 0.01) / (1.0 - pick[i])
        more[i] = pick[i] + 0.01
        true = float(np.diff(world.true(np.vstack([pick, more])))[0])
        assert abs(effect.change - true) < 3.0 * effect.sd + 5e-4
        assert set(effect.sets) == set(world.law.sets)


def test_what_does_as_well_is_hardly_worse_in_truth(solved: Solved) -> None:
    world, found, insight = solved
    assert all(insight.ranges[name][0] <= found.mixture[name] <= insight.ranges[name][1] for name in world.law.domains)
    assert any(high - low > 0.02 for low, high in insight.ranges.values())
    assert insight.examples
    rows = np.array([mixture.array(world.law.domains) for mixture in [found.mixture, *insight.examples]])
    drawn = [m.array(world.law.domains) for m in world.problem.space.sample(400, np.random.default_rng(0))]
    random = float(np.median(world.true(np.array(drawn)))) - world.true(rows)[0]
    assert all(mixture in world.problem.space for mixture in insight.examples)
    assert (world.true(rows)[1:] - world.true(rows)[0]).max() < 0.15 * random


def test_the_trial_that_helps_most_and_what_is_to_gain(solved: Solved) -> None:
    world, found, insight = solved
    assert 0.0 <= insight.to_gain < 0.05
    assert world.regret(found.mixture) < 10.0 * insight.to_gain + 2e-3
    trial = insight.next_trial
    assert trial is not None
    cost = world.problem.ladder.top.cost_flops / world.problem.ladder[trial.rung].cost_flops
    assert trial.gain_for_top_cost == pytest.approx(min(trial.gain * cost, insight.to_gain))
    assert trial.gain <= insight.to_gain


def test_little_is_left_to_gain_where_much_was_measured(bench: Bench) -> None:
    world = bench(d=3, noise=0.003)
    few, many = (recommend(world.evidence(cheap=4, top=k), world.problem).insight for k in (3, 30))
    assert many.to_gain < few.to_gain
    assert few.advice == "go on"
    satisfied = type(world.problem)(**{**vars(world.problem), "stop_below": 0.01})
    assert recommend(world.evidence(cheap=4, top=30), satisfied).insight.advice == "stop"


def test_the_target_is_told_beside_the_top_rung_with_more_doubt(bench: Bench) -> None:
    world = bench(d=3)
    evidence = world.evidence(cheap=10, top=8)
    ladder = Ladder(rungs=world.problem.ladder.rungs, target=Target(parameters=10**6, tokens=8 * 10**6))
    problem = type(world.problem)(**{**vars(world.problem), "ladder": ladder})
    found = recommend(evidence, problem)
    assert found.insight is not None
    target = found.insight.target
    assert target is not None
    assert target.predicted.mean < found.predicted.mean
    assert target.predicted.sd > found.predicted.sd
    assert 0.5 < target.beats_natural <= found.beats_natural + 0.05
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["insight"]["target"]["predicted"]["sd"] > 0.0


def test_the_pull_is_none_for_a_fair_model_and_strong_for_one_that_boasts_far_out() -> None:
    rng = np.random.default_rng(0)
    nats = rng.uniform(0.0, 3.0, 40)
    values = 1.0 + 0.2 * nats + 0.02 * rng.standard_normal(40)
    fair = picked(values, values + 0.002 * rng.standard_normal(40), nats, width=1.0, seed=0)
    assert fair[0] <= fair.min() + 1e-3
    boasting = picked(values, values - 0.25 * nats, nats, width=1.0, seed=0)
    assert STRENGTHS[int(boasting.argmin())] >= 0.05
    assert boasting.min() < 0.5 * boasting[0]


def test_divergence_is_that_of_kullback_and_leibler() -> None:
    natural = np.array([0.5, 0.25, 0.25])
    rows = np.array([natural, [1.0, 0.0, 0.0], [0.25, 0.5, 0.25]])
    assert divergence(rows, natural) == pytest.approx([0.0, np.log(2.0), 0.25 * np.log(2.0)])
