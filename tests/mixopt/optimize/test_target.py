"""Predictions at the user's own target: continuous with the top rung, and in more doubt the farther away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mixopt.evidence import Evidence
from mixopt.fidelity import Ladder, Target
from mixopt.optimize.acquisition import Belief
from mixopt.optimize.extrapolation import Place, doubts
from mixopt.optimize.fitting import fit
from mixopt.optimize.recommend import choose, recommend
from mixopt.problem import Problem

Bench = Callable[..., Any]

ROWS = np.random.default_rng(3).dirichlet(np.ones(3), 12)


def aimed(problem: Problem, scale: float) -> Problem:
    """Return `problem` with a target of `scale` times the top rung's parameters and tokens."""
    top = problem.ladder.top
    target = Target(parameters=int(top.parameters * scale), tokens=int(top.tokens * scale))
    return replace(problem, ladder=Ladder(rungs=problem.ladder.rungs, target=target))


def test_a_target_of_the_top_rungs_size_is_the_top_rung(bench: Bench) -> None:
    world = bench(d=3)
    model = fit(world.evidence(cheap=12, top=5), world.problem)
    assert model is not None
    belief = Belief.at_target(model, aimed(world.problem, 1.0), model.encoding.inputs(ROWS))
    assert belief.mean[2] == pytest.approx(belief.mean[1])
    assert belief.sd(2) == pytest.approx(belief.sd(1))
    above = Belief.at_target(model, aimed(world.problem, 1.01), model.encoding.inputs(ROWS))
    assert above.mean[2] == pytest.approx(belief.mean[1], rel=3e-3)
    assert above.sd(2) == pytest.approx(belief.sd(1), rel=0.1)


def test_the_doubt_grows_with_the_way_and_is_less_of_differences_than_of_levels(bench: Bench) -> None:
    world = bench(d=3)
    model = fit(world.evidence(cheap=12, top=5), world.problem)
    assert model is not None
    beliefs = [
        Belief.at_target(model, aimed(world.problem, k), model.encoding.inputs(ROWS)) for k in (1.0, 4.0, 100.0, 1e4)
    ]
    assert (np.diff([belief.sd(2) for belief in beliefs], axis=0) > 0.0).all()
    assert (np.diff([belief.top_mean for belief in beliefs], axis=0) < 0.0).all()
    covariance = beliefs[2].top_covariance
    contrast = np.zeros(len(ROWS))
    contrast[[0, 1]] = 1.0, -1.0
    assert contrast @ covariance @ contrast < covariance[0, 0]
    assert np.linalg.eigvalsh(beliefs[2].covariance).min() > -1e-10


def test_the_loss_of_a_hidden_target_lies_in_the_interval_and_mixtures_keep_their_order(bench: Bench) -> None:
    inside = []
    for seed in range(3):
        world = bench(d=3, seed=seed)
        model = fit(world.evidence(cheap=12, top=6, seed=seed), world.problem)
        assert model is not None
        target = aimed(world.problem, 4.0)
        belief = Belief.at_target(model, target, model.encoding.inputs(ROWS))
        size = target.ladder.target
        losses = world.law.exact(ROWS, parameters=size.parameters, tokens=size.tokens)
        true = world.problem.objective.of_array(losses, world.law.sets)
        inside.append(np.abs(true - belief.top_mean) < 1.645 * belief.sd(2))
        assert np.corrcoef(true, belief.top_mean)[0, 1] > 0.9
    assert np.mean(inside) > 0.8


def test_one_rung_alone_tells_little_of_the_target(bench: Bench) -> None:
    world = bench(d=3)
    evidence = world.evidence(cheap=12, top=5)
    both, cheap = (fit(e, world.problem) for e in (evidence, world.evidence(cheap=12, top=0)))
    assert both is not None
    assert cheap is not None
    sds = [
        Belief.at_target(model, aimed(world.problem, 10.0), model.encoding.inputs(ROWS)).sd(2)
        for model in (both, cheap)
    ]
    assert (sds[1] > sds[0]).all()


def repeated(bench: Bench, target: int, *, seed: int = 0) -> tuple[Any, Problem]:
    """Return a world whose two smallest pools repeat (up to 20 epochs in a trial), and its problem with a target."""
    world = bench(d=3, seed=seed)
    pools = {"d0": 4_000_000, "d1": 200_000, "d2": 100_000}
    law = replace(world.law, harm=0.02, onset=4.0, pools=pools)
    ladder = Ladder(
        rungs=world.problem.ladder.rungs, target=Target(parameters=world.problem.ladder.top.parameters, tokens=target)
    )
    known = {rung.name: pools for rung in ladder}
    problem = replace(world.problem, ladder=ladder, available_tokens=pools, pools=known)
    return replace(world, law=law, problem=problem), problem


def test_a_target_that_repeats_more_than_the_trials_thinks_less_of_what_repeats(bench: Bench) -> None:
    world, _ = repeated(bench, 2_000_000)
    evidence = world.evidence(cheap=16, top=12)
    rows = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    gaps = []
    for tokens in (2_000_000, 4_000_000, 16_000_000):
        problem = repeated(bench, tokens)[1]
        model = fit(evidence, problem)
        assert model is not None
        mean = Belief.at_target(model, problem, model.encoding.inputs(rows)).top_mean
        gaps.append(float(mean[1] / mean[0]))
    assert gaps[0] < gaps[1] < gaps[2]


def test_epochs_that_no_trial_had_are_doubted_and_told(bench: Bench) -> None:
    world, near = repeated(bench, 2_000_000)
    far = repeated(bench, 400_000_000)[1]
    model = fit(world.evidence(cheap=12, top=5), near)
    assert model is not None
    assert doubts(model, near) == ()
    assert "d2 (" in " ".join(doubts(model, far))
    corner = np.array([[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])
    contrast = np.array([1.0, -1.0])
    doubted, sure = (
        contrast @ Belief.at_target(model, problem, model.encoding.inputs(corner)).top_covariance @ contrast
        for problem in (far, replace(far, pools={}))
    )
    assert doubted > 1.1 * sure


def test_one_rung_says_that_it_guesses(bench: Bench) -> None:
    world = bench(d=3)
    model = fit(world.evidence(cheap=12, top=0), world.problem)
    assert model is not None
    assert "guessed" in doubts(model, aimed(world.problem, 4.0))[0]


def test_a_pick_for_a_far_target_is_as_good_there_as_one_for_the_top_rung(bench: Bench) -> None:
    lost = []
    for seed in range(3):
        world = bench(d=3, seed=seed)
        model = fit(world.evidence(cheap=16, top=6, seed=seed), world.problem)
        assert model is not None
        far = aimed(world.problem, 1_000.0)
        picks = np.array([choose(model, Evidence(), p, ROWS[:1], rounds=8) for p in (world.problem, far)])
        size = far.ladder.target
        losses = world.law.exact(picks, parameters=size.parameters, tokens=size.tokens)
        top, target = world.problem.objective.of_array(losses, world.law.sets)
        lost.append(target - top)
        assert "guessed" in doubts(model, far)[0]
    assert np.mean(lost) < 5e-4  # with all of the drift between the rungs gone on: 3.4e-3


def test_domains_that_the_target_repeats_get_less_of_the_recommendation(bench: Bench) -> None:
    world, near = repeated(bench, 2_000_000)
    evidence = world.evidence(cheap=16, top=12)
    few, many = (recommend(evidence, p).mixture for p in (near, repeated(bench, 64_000_000)[1]))
    assert many["d1"] + many["d2"] < few["d1"] + few["d2"] - 0.02


def test_mixtures_are_compared_at_one_rung_where_only_that_was_measured(bench: Bench) -> None:
    world = bench(d=3)
    model = fit(world.evidence(cheap=12, top=0), world.problem)
    assert model is not None
    far = aimed(world.problem, 1_000.0)
    assert Place.to_compare(model, far).ahead == 0.0
    belief = Belief.to_compare(model, far, model.encoding.inputs(ROWS))
    assert belief.top_mean == pytest.approx(model.means(model.encoding.inputs(ROWS))[-1])


def test_what_all_mixtures_have_alike_does_not_make_a_pick_bolder(bench: Bench) -> None:
    world = bench(d=3)
    model = fit(world.evidence(cheap=12, top=5), world.problem)
    assert model is not None
    inputs = model.encoding.inputs(ROWS)
    there = Belief.to_compare(model, aimed(world.problem, 100.0), inputs)
    own = Belief.of(model, world.problem, inputs).own_sd
    ratios = there.own_sd / own
    assert ratios == pytest.approx(np.full(len(ROWS), ratios[0]))
    assert (there.sd(2) > there.own_sd).all()
