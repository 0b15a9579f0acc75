"""Objectives, evidence and problems as values."""

import numpy as np
import pytest

from mixopt.errors import ConfigError, SearchError
from mixopt.evidence import Evidence, Failure, History, Observation
from mixopt.fidelity import Fidelity, Ladder, Target
from mixopt.mixture import Domain, Mixture
from mixopt.objective import Objective
from mixopt.problem import Problem
from mixopt.space import SearchSpace

LOSSES = {"qa": 2.0, "code": 1.0, "web": 9.0}


def test_the_mean_is_weighted_by_normalised_weights_and_the_worst_is_the_largest_that_counts() -> None:
    mean, worst = Objective({"qa": 3, "code": 1, "web": 0}), Objective.worst(["qa", "code"])
    assert mean.value(LOSSES) == pytest.approx(1.75)
    assert worst.value(LOSSES) == 2.0
    assert mean.sets == ("qa", "code")


@pytest.mark.parametrize("objective", [Objective({"qa": 3, "code": 1}), Objective.worst(["qa", "web"])])
def test_an_array_of_losses_gives_what_each_trial_gives_alone(objective: Objective) -> None:
    rows = np.random.default_rng(0).uniform(1.0, 2.0, (5, 3))
    expected = [objective.value(dict(zip(LOSSES, row.tolist(), strict=True))) for row in rows]
    assert objective.of_array(rows, list(LOSSES)) == pytest.approx(expected)


def test_an_objective_reads_back_from_its_plain_form() -> None:
    assert Objective.from_plain({"weights": {"a": 1.0}}) == Objective({"a": 1.0})
    assert Objective.from_plain({"kind": "worst", "sets": ["a", "b"], "weights": {}}) == Objective.worst(["a", "b"])


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": -1.0}, {"a": float("nan")}, {"a": float("inf")}])
def test_weights_that_weigh_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Objective(weights)


def test_missing_losses_and_unknown_sets_are_named() -> None:
    with pytest.raises(SearchError, match="math"):
        Objective({"math": 1.0}).value(LOSSES)
    with pytest.raises(ConfigError, match=r"math.*code"):
        Objective({"math": 1.0}).array(list(LOSSES))


def test_evidence_has_seen_the_trials_with_an_end() -> None:
    mixture = Mixture({"a": 1.0})
    seen = Observation(trial=7, mixture=mixture, fidelity="s", seed=0, losses={"x": 1.0}, cost_flops=1.0)
    failed = Failure(trial=3, mixture=mixture, fidelity="s", kind="diverged")
    evidence = Evidence(history=History(observations=(seen,), failures=(failed,)))
    assert evidence.seen == (3, 7)
    assert evidence.history.at("s") == (seen,)
    assert evidence.history.at("t") == ()


def test_a_problem_names_the_same_domains_throughout() -> None:
    space = SearchSpace(domains=(Domain(name="a"), Domain(name="b")))
    rung = Fidelity(name="s", tokens=5, parameters=1, cost_flops=1.0)
    tokens = {"a": 1, "b": 3}

    def problem(available: dict[str, int], target: Target | None = None) -> Problem:
        return Problem(
            space=space,
            ladder=Ladder(rungs=(rung,), target=target),
            objective=Objective({"x": 1.0}),
            sets=("x",),
            natural=Mixture.proportional(tokens),
            available_tokens=available,
        )

    assert (problem(tokens).tokens, problem(tokens, Target(parameters=1, tokens=90)).tokens) == (5, 90)
    with pytest.raises(ConfigError, match="must name the domains"):
        problem({"a": 1})


def test_an_accuracy_is_minimized_as_the_share_of_wrong_answers() -> None:
    objective = Objective.from_plain({"weights": {"accuracy/quiz": 1.0, "qa": 3.0}})
    assert objective.of({"qa": 2.0}, {"quiz": 0.75}) == pytest.approx((0.25 + 3 * 2.0) / 4)
    assert objective.sets == ("error/quiz", "qa")


def test_an_objective_with_a_guard_reads_back_and_needs_the_sets_that_it_guards() -> None:
    plain = {"weights": {"qa": 1.0}, "no_worse_than_natural": {"delta": 0.01, "sets": ["code"], "probability": 0.9}}
    objective = Objective.from_plain(plain)
    assert (objective.sets, objective.needed) == (("qa",), ("qa", "code"))
    assert Objective.from_plain(objective.plain()) == objective


def test_a_set_that_does_not_count_may_be_missing() -> None:
    rows = np.array([[1.0, np.nan], [np.nan, 2.0]])
    found = Objective({"qa": 1.0}).of_array(rows, ["qa", "code"])
    assert found[0] == 1.0
    assert np.isnan(found[1])
