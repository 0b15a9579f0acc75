"""The recommendation: near the optimum, honest about itself, and there even when little was measured."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mixopt.evidence import Evidence, History
from mixopt.mixture import Mixture
from mixopt.optimize.fitting import fit
from mixopt.optimize.recommend import describe, predict, recommend, spearman, without_traces

Bench = Callable[..., Any]


def test_it_beats_natural_and_says_so(bench: Bench) -> None:
    world = bench()
    found = recommend(world.evidence(cheap=20, top=8), world.problem)
    assert world.regret(found.mixture) < 0.2 * world.regret(world.problem.natural)
    assert found.beats_natural > 0.9
    assert found.predicted.mean < found.natural.mean
    assert found.mixture in world.problem.space


def test_the_prediction_of_the_pick_is_not_a_boast(bench: Bench) -> None:
    scores = []
    for seed in range(5):
        world = bench(seed=seed, noise=0.02)
        found = recommend(world.evidence(cheap=16, top=6, seed=seed), world.problem)
        true = world.true(found.mixture.array(world.law.domains)[None])[0]
        scores.append((true - found.predicted.mean) / found.predicted.sd)
    assert np.mean(scores) < 1.5
    assert max(scores) < 4.0


def test_any_mixture_is_predicted_as_the_recommended_one_is(bench: Bench) -> None:
    world = bench(d=3)
    evidence = world.evidence(cheap=8, top=3)
    found = recommend(evidence, world.problem)
    again = predict(found.fitted, world.problem, [found.mixture, world.problem.natural])
    assert [p.mean for p in again] == pytest.approx([found.predicted.mean, found.natural.mean], rel=1e-9)
    assert [p.sd for p in again] == pytest.approx([found.predicted.sd, found.natural.sd], rel=1e-6)


def test_constraints_hold_and_cost_only_what_they_must(bench: Bench) -> None:
    world = bench(constraints=["d0 + d2 <= 0.3"], pinned={"d4": 0.1})
    found = recommend(world.evidence(cheap=20, top=8), world.problem).mixture
    assert found in world.problem.space
    assert found["d4"] == pytest.approx(0.1)
    rows = np.array([m.array(world.law.domains) for m in world.problem.space.sample(4_000, np.random.default_rng(0))])
    assert world.true(found.array(world.law.domains)[None])[0] < np.quantile(world.true(rows), 0.02)


def test_without_top_trials_it_falls_back_and_says_why(bench: Bench) -> None:
    world = bench()
    found = recommend(world.evidence(cheap=12, top=0), world.problem)
    assert found.fallback is not None
    assert "nothing was measured at the top rung 'large'" in found.fallback
    assert world.regret(found.mixture) < world.regret(world.problem.natural)


def test_without_any_trial_it_is_natural(bench: Bench) -> None:
    world = bench()
    found = recommend(Evidence(), world.problem)
    assert found.mixture == world.problem.natural
    assert found.beats_natural == 0.5
    assert found.fallback is not None
    assert "nothing was measured" in found.fallback


def test_agreement_of_the_rungs_is_spearmans_with_an_interval(bench: Bench) -> None:
    world = bench()
    mixtures = world.problem.space.sample(8, np.random.default_rng(0))
    rows = [world.observe(i, m, f) for i, (m, f) in enumerate((m, f) for m in mixtures for f in ("small", "large"))]
    (agreement,) = recommend(Evidence(history=History(observations=tuple(rows))), world.problem).agreement
    values = np.array([world.problem.objective.value(row.losses) for row in rows]).reshape(8, 2)
    assert agreement.spearman == pytest.approx(spearmanr(values[:, 0], values[:, 1])[0])
    assert agreement.low <= agreement.spearman <= agreement.high
    assert (agreement.mixtures, agreement.shared) == (8, 8)


def test_rank_correlation_counts_ties_as_scipy_does() -> None:
    pairs = np.random.default_rng(0).integers(0, 4, (30, 2)).astype(float)
    assert spearman(pairs) == pytest.approx(spearmanr(pairs[:, 0], pairs[:, 1])[0])


def test_what_is_stored_is_plain(bench: Bench) -> None:
    world = bench(d=3)
    evidence = world.evidence(cheap=8, top=3)
    model = fit(evidence, world.problem)
    assert model is not None
    found = recommend(evidence, world.problem)
    again = json.loads(json.dumps({"model": describe(model), "pick": found.plain()}, allow_nan=False))
    assert again["model"]["rungs"][0]["observations"] == 15
    assert Mixture(again["pick"]["mixture"]) == found.mixture


def test_traces_go_to_the_others() -> None:
    assert list(without_traces(np.array([0.6, 0.397, 0.003]))) == pytest.approx([0.6 / 0.997, 0.397 / 0.997, 0.0])
