"""Errors are modelled as logits with their items' noise; objectives are composed from the joint posterior."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from mixopt.evidence import Evidence, History, Observation
from mixopt.mixture import Mixture
from mixopt.objective import Guard, Objective
from mixopt.optimize.baselines.mde import optimum
from mixopt.optimize.composition import all_below, expected, joint_errors
from mixopt.optimize.encoding import Encoding
from mixopt.optimize.fitting import fit
from mixopt.optimize.guarding import standing
from mixopt.optimize.links import Links
from mixopt.optimize.recommend import recommend
from mixopt.problem import Problem
from tests.mixopt.optimize.conftest import Bench

LINKS = Links.of(["prose", "error/quiz"])


def test_an_error_of_half_an_item_more_is_its_logit_and_a_loss_is_itself() -> None:
    found = LINKS.to(np.array([[1.5, 0.25]]), np.array([[math.nan, 40.0]]))
    assert found[0] == pytest.approx([1.5, math.log(10.5 / 30.5)])
    assert LINKS.back(found)[0] == pytest.approx([1.5, 10.5 / 41])


def test_the_variance_is_binomial_for_many_items_and_finite_for_none_and_all() -> None:
    losses, items = np.array([[1.0, 0.3], [1.0, 0.0], [1.0, 1.0], [1.0, 0.3]]), np.full((4, 2), 1e6)
    items[1:3, 1], items[3, 1] = 20.0, math.nan
    found = LINKS.variance(losses, items)
    assert found[0] == pytest.approx([0.0, 1 / (1e6 * 0.3 * 0.7)], rel=1e-4)
    assert found[1, 1] == found[2, 1] == pytest.approx(1 / 0.5 + 1 / 20.5)
    assert found[3, 1] == 0.0
    assert np.isfinite(LINKS.to(losses, items)).all()


def test_the_variance_is_that_of_drawn_logits() -> None:
    wrong = np.random.default_rng(0).binomial(200, 0.3, 40_000)
    drawn = LINKS.to(np.stack([wrong, wrong / 200], axis=1), np.full((40_000, 2), 200.0))[:, 1]
    assert LINKS.variance(np.array([[0.0, 0.3]]), np.array([[200.0, 200.0]]))[0, 1] == pytest.approx(
        drawn.var(), rel=0.03
    )


@pytest.mark.parametrize(("correlation", "means"), [(0.0, (1.0, 1.0)), (0.8, (1.0, 1.3)), (-0.5, (2.0, 1.7))])
def test_the_expected_worst_of_two_sets_is_the_closed_form(correlation: float, means: tuple[float, float]) -> None:
    sds = np.array([0.3, 0.2])
    covariance = np.outer(sds, sds) * np.array([[1.0, correlation], [correlation, 1.0]])
    spread = math.sqrt(sds @ sds - 2.0 * covariance[0, 1])
    score = (means[0] - means[1]) / spread
    truth = means[0] * norm.cdf(score) + means[1] * norm.cdf(-score) + spread * norm.pdf(score)
    found = expected(Objective.worst(["a", "b"]), ["a", "b"], np.array([means]), covariance)
    assert found[0] == pytest.approx(truth, abs=0.01 * spread)
    assert found[0] > max(means)


def test_the_expected_mean_of_errors_is_that_of_the_logistic_normal() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = 0.5 * 2.0 + 0.5 * float(expit(logit(0.1) + 0.7 * nodes) @ weights) / weights.sum()
    objective, covariance = Objective({"prose": 1.0, "error/quiz": 1.0}), np.diag([0.04, 0.49])
    found = expected(objective, ["prose", "error/quiz"], np.array([[2.0, logit(0.1)]]), covariance)
    assert found[0] == pytest.approx(truth, abs=2e-3)


def test_a_mean_of_losses_needs_no_draws() -> None:
    values = np.random.default_rng(0).normal(size=(5, 2))
    assert (expected(Objective({"a": 1, "b": 3}), ["a", "b"], values, np.eye(2)) == values @ [0.25, 0.75]).all()


def test_the_probability_that_all_lie_below_is_that_of_draws() -> None:
    limits, means, sds = np.array([[1.0, 2.0]]), np.array([[0.5, 1.8]]), np.array([[1.0, 0.5]])
    alone = norm.cdf([0.5, 0.4])
    assert all_below(limits, means, sds, 0.0)[0] == pytest.approx(alone.prod())
    for shared in (0.5, 0.9):
        draws = np.random.default_rng(0).multivariate_normal([0, 0], [[1, shared], [shared, 1]], 200_000)
        truth = (draws < [0.5, 0.4]).all(1).mean()
        assert all_below(limits, means, sds, shared)[0] == pytest.approx(truth, abs=0.005)


def test_errors_that_go_together_are_found_to_do_so_and_few_rows_are_not_believed() -> None:
    rng, sds = np.random.default_rng(0), np.array([1.0, 2.0])
    missed = rng.multivariate_normal([0, 0], [[1.0, 1.6], [1.6, 4.0]], 2_000)
    assert joint_errors(missed, sds)[0, 1] == pytest.approx(1.6, rel=0.1)
    assert abs(joint_errors(missed[:2], sds)[0, 1]) < 0.8
    assert joint_errors(missed, sds).diagonal() == pytest.approx(sds**2)


@pytest.fixture(scope="module")
def bench_of_three(bench: Callable[..., Bench]) -> Bench:
    """A law of three domains whose objective is the loss that `quiz` turns into a share of wrong answers."""
    return bench(d=3, noise=0.002, objective=Objective({"target": 1.0}))


def share(loss: float) -> float:
    return float(expit(3.0 * (loss - 2.1)))


def asked(bench: Bench, count: int, *, items: int) -> Evidence:
    """Trials at the cheap rung with, in place of the target's loss, an error over `items` answers."""
    rng, rows = np.random.default_rng(1), []
    for o in bench.evidence(count, 0).history.observations:
        losses = {name: loss for name, loss in o.losses.items() if name != "target"}
        losses["error/quiz"] = rng.binomial(items, share(o.losses["target"])) / items
        rows.append(o._replace(losses=losses, items={"error/quiz": items}))
    return Evidence(history=History(observations=tuple(rows)))


def asking(bench: Bench) -> Problem:
    return replace(bench.problem, sets=("d0", "d1", "d2", "error/quiz"), objective=Objective({"error/quiz": 1.0}))


def test_an_accuracy_is_modelled_closer_than_its_items_show_it(bench_of_three: Bench) -> None:
    evidence, problem = asked(bench_of_three, 40, items=200), asking(bench_of_three)
    model = fit(evidence, problem)
    assert model is not None
    rows = np.array([m.array(problem.space.names) for m in problem.space.sample(60, np.random.default_rng(5))])
    small = problem.ladder.cheapest
    law = bench_of_three.law
    target = law.exact(rows, parameters=small.parameters, tokens=small.tokens)[:, law.sets.index("target")]
    truth = expit(3.0 * (target - 2.1))
    found = model.means(model.encoding.inputs(rows))[0]
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert np.sqrt(np.mean((found - truth) ** 2)) < np.sqrt(np.mean(truth * (1.0 - truth) / 200))
    assert (model.sets(model.encoding.inputs(rows))[0][:, 3] < 1.0).all()
    assert model.rungs[0].noise_sd > 0.5 * np.sqrt(np.mean(truth * (1.0 - truth) / 200))


def test_rows_that_lack_a_set_are_used_for_the_sets_that_they_have(bench_of_three: Bench) -> None:
    problem, few, count = bench_of_three.problem, 12, 40
    problem = replace(problem, objective=Objective({"target": 1.0, "d0": 1.0}))
    full = [o for o in bench_of_three.evidence(count, 0).history.observations if o.fidelity == "small"]
    cut = [o._replace(losses={k: v for k, v in o.losses.items() if k != "d0"}) for o in full[few:]]
    rows = np.array([m.array(problem.space.names) for m in problem.space.sample(60, np.random.default_rng(5))])
    small, law = problem.ladder.cheapest, bench_of_three.law
    truth = law.exact(rows, parameters=small.parameters, tokens=small.tokens)[:, law.sets.index("target")]

    def missed(observations: list[Observation]) -> float:
        model = fit(Evidence(history=History(observations=tuple(observations))), problem)
        assert model is not None
        found = model.sets(model.encoding.inputs(rows))[0][:, model.encoding.sets.index("target")]
        return float(np.sqrt(np.mean((found - truth) ** 2)))

    assert missed([*full[:few], *cut]) < 0.7 * missed(full[:few])


def test_a_guard_keeps_the_recommendation_from_giving_up_a_set(bench_of_three: Bench) -> None:
    guard = Guard(delta=0.02, sets=("d1", "d2"), probability=0.99)
    free = replace(bench_of_three.problem, objective=Objective({"d0": 1.0}))
    bound = replace(free, objective=Objective({"d0": 1.0}, guard=guard))
    evidence = bench_of_three.evidence(40, 12)
    evidence = Evidence(history=evidence.history)
    top, law = free.ladder.top, bench_of_three.law

    def worsened(mixture: Mixture) -> float:
        rows = np.array([m.array(free.space.names) for m in (mixture, free.natural)])
        losses = law.exact(rows, parameters=top.parameters, tokens=top.tokens)[
            :, [law.sets.index(s) for s in guard.sets]
        ]
        return float((losses[0] - losses[1]).max())

    greedy, kept = recommend(evidence, free), recommend(evidence, bound)
    assert greedy.guard is None
    assert worsened(greedy.mixture) > 3 * guard.delta
    assert worsened(kept.mixture) < 1.5 * guard.delta
    assert kept.guard is not None
    assert float(str(kept.guard["probability"])) >= guard.probability
    assert kept.guard["worst_set"] in guard.sets
    model = kept.fitted
    assert model is not None
    assert kept.insight is not None
    told = [*kept.insight.examples, *([kept.insight.next_trial.mixture] if kept.insight.next_trial else [])]
    around = standing(model, bound, np.array([m.array(free.space.names) for m in (kept.mixture, *told)]))
    assert around is not None
    assert around.kept.all()
    assert told
    rows = np.array([m.array(free.space.names) for m in (free.natural, greedy.mixture)])
    stand = standing(model, bound, rows)
    assert stand is not None
    assert stand.probability[0] > 0.999
    assert stand.probability[1] < 0.01


def test_probabilities_of_keeping_to_a_guard_are_kept_as_often_as_they_say(bench: Callable[..., Bench]) -> None:
    guard = Guard(delta=0.02, sets=("d1", "d2", "target"), probability=0.9)
    said, kept = [], []
    for seed in range(4):
        made = bench(d=3, noise=0.01, seed=seed)
        problem = replace(made.problem, objective=Objective({"d0": 1.0}, guard=guard))
        model = fit(Evidence(history=made.evidence(40, 12, seed=seed).history), problem)
        assert model is not None
        names, law, top = problem.space.names, made.law, problem.ladder.top
        natural = problem.natural.array(names)
        drawn = np.array([m.array(names) for m in problem.space.sample(100, np.random.default_rng(seed))])
        rows = np.vstack([0.6 * drawn + 0.4 * natural, 0.2 * drawn + 0.8 * natural])
        stand = standing(model, problem, rows)
        assert stand is not None
        losses = law.exact(np.vstack([natural, rows]), parameters=top.parameters, tokens=top.tokens)
        moves = (losses[1:] - losses[0])[:, [law.sets.index(name) for name in guard.sets]]
        said.append(stand.probability)
        kept.append((moves <= guard.delta).all(1))
    sure, truth = np.concatenate(said), np.concatenate(kept)
    assert truth[sure > 0.9].mean() > 0.9
    assert truth[sure < 0.1].mean() < 0.1
    assert truth.mean() == pytest.approx(sure.mean(), abs=0.05)


def test_experts_tell_of_an_error_by_the_loss_of_its_right_answers(bench_of_three: Bench) -> None:
    known = bench_of_three.experts().experts
    assert known is not None
    by_loss, by_error = (
        replace(bench_of_three.problem, sets=("d0", "error/d0"), objective=Objective({name: 1.0}))
        for name in ("d0", "error/d0")
    )
    assert optimum(known.ensemble, by_error).weights == pytest.approx(optimum(known.ensemble, by_loss).weights)
    encoding = Encoding.of(Evidence(experts=known), by_error)
    experts = encoding.inputs(np.full((1, 3), 1 / 3)).experts
    assert experts is not None
    assert experts[0, encoding.sets.index("d0")] == experts[0, encoding.sets.index("error/d0")]
