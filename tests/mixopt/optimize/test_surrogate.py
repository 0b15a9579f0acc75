"""The surrogate against the law that made its data."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mixopt.evidence import Evidence, History
from mixopt.objective import Objective
from mixopt.optimize.encoding import Encoding, groups
from mixopt.optimize.fitting import fit
from mixopt.optimize.members import MEMBERS, matern
from mixopt.optimize.stack import best_of, folds, leant, score, stack_weights

Bench = Callable[..., Any]


@pytest.mark.parametrize("seed", [0, 1])
def test_leave_out_errors_are_far_below_the_mean_predictors(bench: Bench, seed: int) -> None:
    world = bench(seed=seed)
    model = fit(world.evidence(cheap=20, top=6), world.problem)
    assert model is not None
    for rung, part in zip(model.rungs, (0.25, 0.5), strict=True):
        values = world.problem.objective.of_array(rung.table.losses, model.encoding.sets)
        assert np.sqrt(np.mean(rung.out_of_fold**2)) < part * values.std()


@pytest.mark.parametrize(("cheap", "top", "least"), [(12, 0, 0.9), (12, 3, 0.9), (24, 8, 0.93)])
def test_the_top_rung_is_ranked_from_few_trials(bench: Bench, cheap: int, top: int, least: float) -> None:
    world = bench()
    model = fit(world.evidence(cheap=cheap, top=top), world.problem)
    assert model is not None
    rows = np.random.default_rng(9).dirichlet(np.ones(7), 300)
    assert spearmanr(model.means(model.encoding.inputs(rows))[-1], world.true(rows))[0] > least


def test_standard_deviations_are_of_the_size_of_the_errors(bench: Bench) -> None:
    ratios = []
    for seed in range(6):
        world = bench(seed=seed)
        model = fit(world.evidence(cheap=20, top=6, seed=seed), world.problem)
        assert model is not None
        inputs = model.encoding.inputs(np.random.default_rng(9).dirichlet(np.ones(7), 200))
        errors = model.means(inputs)[-1] - world.true(inputs.weights)
        ratios.append(np.sqrt(np.mean(errors**2 / model.covariances(inputs)[-1].diagonal())))
    assert 0.2 < np.mean(ratios) < 1.5


def test_a_fit_that_starts_from_the_last_one_is_the_same_fit(bench: Bench) -> None:
    world = bench()
    evidence = world.evidence(cheap=24, top=8)
    rows = evidence.history.observations
    before = fit(Evidence(history=History(observations=rows[:-4])), world.problem)
    cold = fit(evidence, world.problem)
    assert before is not None
    assert cold is not None
    started = replace(evidence, last_fit=before.parameters)
    warm, again = (fit(started, world.problem) for _ in range(2))
    assert warm is not None
    assert again is not None
    inputs = cold.encoding.inputs(np.random.default_rng(9).dirichlet(np.ones(7), 200))
    expected, found = cold.means(inputs), warm.means(inputs)
    assert (again.means(inputs) == found).all()
    assert np.abs(found - expected).max() < 0.1 * expected.std()


def test_a_last_fit_of_other_sets_is_no_start(bench: Bench) -> None:
    world, other = bench(), bench(d=5)
    evidence = world.evidence(cheap=12, top=0)
    cold, strange = (
        fit(evidence, world.problem),
        fit(other.evidence(cheap=12, top=0), other.problem),
    )
    assert cold is not None
    assert strange is not None
    warm = fit(replace(evidence, last_fit=strange.parameters), world.problem)
    assert warm is not None
    inputs = cold.encoding.inputs(np.eye(7))
    assert (warm.means(inputs) == cold.means(inputs)).all()


def test_noise_is_found_from_replicates(bench: Bench) -> None:
    world = bench(noise=0.03)
    rows = [world.observe(i, world.problem.natural, "small", i) for i in range(40)]
    others = world.evidence(cheap=12, top=0).history.observations
    model = fit(Evidence(history=History(observations=(*others, *rows))), world.problem)
    assert model is not None
    expected = 0.03 * np.sqrt(0.5**2 + 2 * 0.25**2)
    assert model.rungs[0].noise_sd == pytest.approx(expected, rel=0.3)


def test_covariances_are_positive_and_small_where_measured(bench: Bench) -> None:
    world = bench()
    model = fit(world.evidence(cheap=12, top=4), world.problem)
    assert model is not None
    measured = model.rungs[-1].table.inputs.weights
    rows = np.vstack([measured, np.random.default_rng(0).dirichlet(np.ones(7), 20)])
    means, joint = model.posterior(model.encoding.inputs(rows))
    assert means.shape == (2, len(rows))
    assert np.linalg.eigvalsh(joint).min() > -1e-10
    top = joint.diagonal()[len(rows) :]
    assert top[: len(measured)].mean() < 0.6 * top[len(measured) :].mean()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_few_observations_are_enough_for_a_finite_model(bench: Bench, count: int) -> None:
    world = bench()
    found = world.evidence(cheap=5, top=0).history.observations[-count - 4 : -4]
    for experts in (None, world.experts().experts):
        model = fit(Evidence(history=History(observations=found), experts=experts), world.problem)
        assert model is not None
        assert model.fallbacks
        inputs = model.encoding.inputs(np.eye(7))
        assert np.isfinite(model.means(inputs)).all()
        assert (model.covariances(inputs)[-1].diagonal() > 0.0).all()


def test_the_same_rows_again_and_constant_losses_do_no_harm(bench: Bench) -> None:
    world = bench()
    rows = world.evidence(cheap=8, top=2).history.observations
    flat = tuple(row._replace(losses=dict.fromkeys(row.losses, 2.0)) for row in rows)
    model = fit(Evidence(history=History(observations=flat + flat)), world.problem)
    assert model is not None
    assert model.means(model.encoding.inputs(np.eye(7))) == pytest.approx(np.full((2, 7), 2.0), abs=1e-3)


def test_nothing_observed_is_no_model(bench: Bench) -> None:
    assert fit(Evidence(), bench().problem) is None


def test_the_worst_set_is_an_objective_too(bench: Bench) -> None:
    world = bench(objective=Objective.worst(["target", "d0", "d1"]))
    model = fit(world.evidence(cheap=20, top=6), world.problem)
    assert model is not None
    rows = np.random.default_rng(9).dirichlet(np.ones(7), 300)
    assert spearmanr(model.means(model.encoding.inputs(rows))[-1], world.true(rows))[0] > 0.85


def test_a_set_measured_only_lately_is_left_out_and_the_rest_is_modelled(bench: Bench) -> None:
    world = bench()
    rows = world.evidence(cheap=8, top=2).history.observations
    old = tuple(row._replace(losses={k: v for k, v in row.losses.items() if k != "d6"}) for row in rows[:5])
    encoding = Encoding.of(Evidence(history=History(observations=(*old, *rows[5:]))), world.problem)
    assert encoding.sets == ("d0", "d1", "d2", "d3", "d4", "d5", "target")


def test_a_set_that_one_row_lacks_is_modelled_from_the_others(bench: Bench) -> None:
    world = bench()
    rows = world.evidence(cheap=24, top=2).history.observations
    cut = rows[0]._replace(losses={k: v for k, v in rows[0].losses.items() if k != "d6"})
    model = fit(Evidence(history=History(observations=(cut, *rows[1:]))), world.problem)
    whole = fit(Evidence(history=History(observations=rows)), world.problem)
    assert model is not None
    assert whole is not None
    assert model.encoding.sets == world.problem.sets
    inputs = model.encoding.inputs(np.random.default_rng(4).dirichlet(np.ones(7), 50))
    lacking, known = (each.sets(inputs)[0][:, each.encoding.sets.index("d6")] for each in (model, whole))
    assert np.corrcoef(lacking, known)[0, 1] > 0.98


def test_folds_keep_a_mixture_together() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 10)[[0, 1, 2, 0, 3, 4, 0, 5, 6, 7, 8, 9]]
    held = folds(groups(rows))
    assert held[0] == held[3] == held[6]
    assert set(held) == set(range(8))


def test_stacking_trusts_the_member_that_is_right() -> None:
    y = np.random.default_rng(0).normal(size=(2, 50))
    noise = np.random.default_rng(1).normal(size=(2, 50))
    predictions = np.stack([y + 0.1 * noise, 0.0 * y, y + 2.0 * noise])
    shares = stack_weights(predictions, y, np.ones_like(y), np.full(2, 0.5))
    assert shares.sum(0) == pytest.approx(np.ones(2))
    assert shares[0].min() > 0.8


@pytest.mark.parametrize(("n", "count"), [(7, 2), (7, 3), (8, 8), (9, 1)])
def test_the_best_of_a_random_subset_has_each_rank_as_often_as_counting_says(n: int, count: int) -> None:
    subsets = list(combinations(range(n), count))
    counted = np.bincount([min(subset) for subset in subsets], minlength=n) / len(subsets)
    assert best_of(n, count) == pytest.approx(counted)


def test_the_score_is_what_it_says_of_three_simple_predictions() -> None:
    values = np.arange(16.0)
    counts = np.ones(16)
    assert score(values, values, counts) == 0.0
    assert score(values + 0.5, values, counts) == pytest.approx(0.5)
    assert score(values - 0.5, values, counts) == pytest.approx(1.0)  # as much error, and optimism beside it
    # The wrong way round: of two rows, a third of n + 1 apart on average, the worse one is taken.
    assert score(15.0 - values, values, counts) == pytest.approx(
        np.sqrt(((15.0 - 2.0 * values) ** 2).mean()) + 2 * 17.0 / 3.0 + best_of(16, 2) @ (15.0 - 2.0 * values)
    )


def test_of_members_as_exact_the_stack_leans_to_the_one_that_picks_without_optimism() -> None:
    values = np.sort(np.random.default_rng(0).normal(size=64))
    off = np.linspace(0.4, -0.2, 64)
    members = np.stack([values + off, values - off])[:, None, :]  # the second promises too much of the best rows
    start = np.full((2, 1), 0.5)
    found = leant(start, members, lambda stacked: stacked[:, 0], values, np.ones(64))
    assert found.sum() == pytest.approx(1.0)
    assert found[0, 0] == pytest.approx(0.5, abs=0.05)  # they cancel, and nothing is better than that
    worse = np.stack([values + 0.0 * off, values - off])[:, None, :]
    assert leant(start, worse, lambda stacked: stacked[:, 0], values, np.ones(64))[0, 0] > 0.6


def test_the_kernel_is_the_published_one() -> None:
    r = np.sqrt(5.0) * 0.3 / 0.7
    value = matern(np.array([[0.0, 0.3]]), np.zeros((1, 2)), 0.7)[0, 0]
    assert value == pytest.approx((1 + r + r**2 / 3) * np.exp(-r))


def test_every_member_needs_fewer_mixtures_than_the_opening_gives() -> None:
    assert max(entry.least for entry in MEMBERS.values()) <= 12


def test_noise_that_is_known_is_taken_as_it_is(bench: Bench) -> None:
    small, large = bench(d=3).problem.ladder
    world = bench(d=3, rungs=(replace(small, noise_sd=0.07), large))
    model = fit(world.evidence(cheap=8, top=4), world.problem)
    assert model is not None
    assert model.rungs[0].noise_sd == 0.07
    assert model.rungs[1].noise_sd != 0.07
