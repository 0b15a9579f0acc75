"""Replayed fits: what surrogates are given, what they are scored on, and that they are paired."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mixopt.errors import ReplayError, SearchError
from mixopt.evidence import Evidence
from mixopt.optimize.encoding import Array
from mixopt.optimize.predictions import Predictions, Predictor
from mixopt.optimize.predictors import DEFAULT, SURROGATES
from mixopt.problem import Problem
from mixopt.replay.fit import Builder, FitPlan, replay_fit
from mixopt.replay.rows import RowChoice
from mixopt.runs_table import RunsTable
from tests.mixopt.replay.small_tables import LAW, SETS, SIZES, changed, small_table

KEYS = [
    "surrogate", "default", "n", "rho", "rho_se", "rmse", "coverage", "coverage_sets", "regret", "regret_se", "seconds",
    "gain", "gain_se",
]  # fmt: skip


@dataclass(frozen=True)
class Told:
    """A predictor made of functions of weights."""

    of: Callable[[Array, str], tuple[Array, float]]

    def predict(self, weights: Array, fidelity: str) -> Predictions:
        losses, sd = self.of(weights, fidelity)
        spread = np.full_like(losses, sd)
        return Predictions(sets_mean=losses, sets_sd=spread, mean=losses.mean(axis=1), sd=spread[:, 0])


def truth_teller(evidence: Evidence, problem: Problem) -> Predictor:
    def exact(weights: Array, fidelity: str) -> tuple[Array, float]:
        parameters, tokens, _ = SIZES[fidelity]
        return LAW.exact(weights, parameters=parameters, tokens=tokens), LAW.noise

    return Told(exact)


def constant(evidence: Evidence, problem: Problem) -> Predictor:
    return Told(lambda weights, _: (np.ones((len(weights), len(SETS))), float("nan")))


def refusing(evidence: Evidence, problem: Problem) -> Predictor:
    raise SearchError("it wants more rows")


def plan(table: RunsTable, train: list[str], test: str, **wishes: object) -> FitPlan:
    return FitPlan(
        table=table,
        objective=table.mean(),
        train=tuple(RowChoice.parse(text, table) for text in train),
        test=RowChoice.parse(test, table),
        **{"draws": 3, **wishes},  # type: ignore[arg-type]
    )


def recording(seen: list[Evidence]) -> Builder:
    def build(evidence: Evidence, problem: Problem) -> Predictor:
        seen.append(evidence)
        return constant(evidence, problem)

    return build


def test_the_law_itself_scores_as_the_law_must() -> None:
    table = small_table(cheap=240)
    asked = plan(table, ["small:train"], "small:test", sizes=(8,), draws=2)
    score = replay_fit(asked, {"law": truth_teller}).scores[0]
    assert score.rho.value > 0.99
    assert score.rmse.value < LAW.noise
    assert score.coverage_sets.value == pytest.approx(0.9, abs=0.06)
    assert score.regret.value < 4.0 * LAW.noise


def test_a_constant_prediction_has_rho_zero_no_coverage_and_the_mean_regret() -> None:
    table = small_table()
    score = replay_fit(plan(table, ["small:train"], "small:test"), {"constant": constant}).scores[0]
    truth = table.truth(table.mean())[table.rows("small", "test")]
    assert (score.rho.value, score.rho.error) == (0.0, 0.0)
    assert score.plain()["coverage"] is None
    assert score.regret.value == pytest.approx(float(truth.mean() - truth.min()))


def test_all_surrogates_see_the_same_rows_and_a_larger_n_sees_those_and_more() -> None:
    seen: dict[str, list[Evidence]] = {"one": [], "two": []}
    asked = plan(small_table(), ["small"], "small", sizes=(6, 12))
    replay_fit(asked, {name: recording(found) for name, found in seen.items()})
    assert seen["one"] == seen["two"]
    draws = [{o.trial for o in evidence.history.observations} for evidence in seen["one"]]
    assert [len(draw) for draw in draws] == [6, 6, 6, 12, 12, 12]
    assert all(few < many for few, many in zip(draws[:3], draws[3:], strict=True))
    assert len({frozenset(draw) for draw in draws[:3]}) == 3


def test_no_row_is_both_trained_on_and_scored() -> None:
    table = small_table(top=16)
    trained: list[Evidence] = []
    scored: list[Array] = []

    def build(evidence: Evidence, problem: Problem) -> Predictor:
        trained.append(evidence)
        return Told(lambda weights, _: (scored.append(weights) or np.ones((len(weights), len(SETS))), 1.0))

    replay_fit(plan(table, ["small", "large@6"], "large"), {"spy": build})
    for evidence, weights in zip(trained, scored, strict=True):
        own = [o.mixture.array(table.domains) for o in evidence.history.at("large")]
        assert (len(own), len(weights), len(evidence.history.at("small"))) == (6, 10, 40)
        assert min(np.abs(row - other).max() for row in own for other in weights) > 1e-6


def test_another_seed_of_a_trained_mixture_is_not_scored() -> None:
    table = small_table(cheap=12)
    twins = RunsTable.of([*table.runs, *(replace(run, run_id=f"{run.run_id}-twin", seed=1) for run in table.runs)])
    counts: list[int] = []

    def build(evidence: Evidence, problem: Problem) -> Predictor:
        return Told(lambda weights, _: (counts.append(len(weights)) or np.ones((len(weights), len(SETS))), 1.0))

    replay_fit(plan(twins, ["small@1"], "small", draws=1), {"spy": build})
    assert counts == [22]


def test_a_hidden_top_rung_is_the_problems_top_and_is_never_shown() -> None:
    problems: list[Problem] = []

    def build(evidence: Evidence, problem: Problem) -> Predictor:
        problems.append(problem)
        assert not evidence.history.at("large")
        return constant(evidence, problem)

    replay_fit(plan(small_table(), ["small"], "large", draws=1), {"spy": build})
    assert problems[0].ladder.top.name == "large"


def test_rows_without_the_objective_are_neither_trained_on_nor_scored() -> None:
    table = changed(
        small_table(), lambda run: replace(run, losses={"x": 1.0}) if run.run_id in ("small-0", "small-39") else run
    )
    seen: list[Evidence] = []
    score = replay_fit(plan(table, ["small:train"], "small:test", draws=1), {"spy": recording(seen)}).scores[0]
    assert score.n == 19
    assert all(set(o.losses) == set(SETS) for o in seen[0].history.observations)


def test_gains_are_paired_with_the_defaults_draws() -> None:
    asked = plan(small_table(), ["small"], "small", sizes=(10,))
    default, rival = replay_fit(asked, {DEFAULT: constant, "law": truth_teller}).scores
    assert default.gain is None
    assert rival.gain is not None
    assert rival.gain.value == pytest.approx(rival.rho.value - default.rho.value)


def test_a_surrogate_that_refuses_is_left_out_with_its_reason() -> None:
    report = replay_fit(plan(small_table(), ["small"], "small", sizes=(10,)), {"shy": refusing, "constant": constant})
    assert [score.surrogate for score in report.scores] == ["constant"]
    assert report.left_out == {"shy at n = 10": "it wants more rows"}


@pytest.mark.parametrize(
    ("train", "wishes"),
    [
        (["small"], {"sizes": (41,)}),
        (["small", "large"], {"sizes": (8,)}),
        (["small@9"], {"sizes": (8,)}),
        (["small"], {"draws": 0}),
        (["small", "large@15"], {}),
    ],
)
def test_what_cannot_be_replayed_is_refused(train: list[str], wishes: dict[str, object]) -> None:
    with pytest.raises(ReplayError):
        replay_fit(plan(small_table(top=16), train, "large", **wishes), {"constant": constant})


@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate_is_scored_and_only_one_is_the_default(name: str) -> None:
    asked = plan(small_table(), ["small:train"], "small:test", sizes=(16,), draws=1)
    found = replay_fit(asked, {name: SURROGATES[name]})
    if name == "mde":  # a table holds no experts
        assert "experts" in found.left_out["mde at n = 16"]
        return
    assert not found.left_out
    plain = found.scores[0].plain()
    assert list(plain) == KEYS
    assert plain["default"] == (name == DEFAULT)
    assert plain["rho"] == replay_fit(asked, {name: SURROGATES[name]}).scores[0].rho.value


def test_processes_fit_what_one_would() -> None:
    asked = plan(small_table(), ["small:train"], "small:test", sizes=(6, 12), draws=2)
    one, two = (replay_fit(asked, {"lightgbm": SURROGATES["lightgbm"]}, jobs=jobs) for jobs in (1, 2))
    timeless = [[replace(score, seconds=score.rho) for score in report.scores] for report in (one, two)]
    assert timeless[0] == timeless[1]


def test_draws_by_no_process_are_refused() -> None:
    with pytest.raises(ReplayError, match="0 jobs"):
        replay_fit(plan(small_table(), ["small"], "large"), {"constant": constant}, jobs=0)
