"""Surrogates on finished runs: fitted on some rows, scored on rows that they have not seen.

Every draw gives all surrogates the same training rows, and a larger n the rows of a smaller one and more, so that
differences are paired. Shapes: n training rows, B test rows, d domains, m evaluation sets.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mixopt.errors import MixoptError, ReplayError
from mixopt.evidence import Evidence, History
from mixopt.objective import Objective
from mixopt.optimize.encoding import Array, Indices, groups
from mixopt.optimize.predictions import Predictions, Predictor
from mixopt.optimize.predictors import DEFAULT
from mixopt.problem import Problem
from mixopt.replay.draws import replayed
from mixopt.replay.rows import RowChoice
from mixopt.replay.score import (
    Mean,
    coverage,
    least,
    plain,
    rank_correlation,
    root_mean_square_error,
    score_pick,
)
from mixopt.runs_table import RunsTable

LEAST_TEST_ROWS = 3  # below which a rank correlation says nothing

Builder = Callable[[Evidence, Problem], Predictor]


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What is fitted and scored.

    sizes: numbers n of training rows drawn from the one choice of `train`; none: the rows that `train` chooses.
    """

    table: RunsTable
    objective: Objective
    train: tuple[RowChoice, ...]
    test: RowChoice
    sizes: tuple[int, ...] = ()
    draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.train:
            raise ReplayError("name the rows to train on: --train FIDELITY")
        if self.draws < 1 or any(n < 1 for n in self.sizes):
            raise ReplayError(f"draws and numbers of rows are at least 1; got {self.draws} draws, n {list(self.sizes)}")
        if self.sizes and (len(self.train) > 1 or self.train[0].count is not None):
            got = ", ".join(choice.words for choice in self.train)
            raise ReplayError(f"--n draws from one --train without @ROWS; got {got}; say @ROWS there, or drop --n")

    @property
    def problem(self) -> Problem:
        """The problem that surrogates are told: its top rung is the test's, or a dearer one that is trained on."""
        named = {choice.fidelity for choice in (*self.train, self.test)}
        top = [name for name in self.table.fidelities if name in named][-1]
        return self.table.problem(self.objective, top, only=named)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One surrogate on one draw: as in FitScore, without errors."""

    rho: float
    rmse: float
    coverage: float
    coverage_sets: float
    regret: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FitScore:
    """One surrogate at one number of training rows: means over the draws.

    rho, rmse, coverage: of the objective; coverage_sets: pooled over evaluation sets; nan: it knows no error.
    regret: measured objective of the test row predicted best, above the best test row. seconds: of fit and prediction.
    gain: of rho over the default surrogate's on the same draws; None for the default, or where it was not asked for.
    """

    surrogate: str
    n: int
    rho: Mean
    rmse: Mean
    coverage: Mean
    coverage_sets: Mean
    regret: Mean
    seconds: Mean
    gain: Mean | None

    def plain(self) -> dict[str, object]:
        """Return the score as JSON holds it; null where nothing could be told."""
        return {
            "surrogate": self.surrogate,
            "default": self.surrogate == DEFAULT,
            "n": self.n,
            "rho": self.rho.value,
            "rho_se": plain(self.rho.error),
            "rmse": self.rmse.value,
            "coverage": plain(self.coverage.value),
            "coverage_sets": plain(self.coverage_sets.value),
            "regret": self.regret.value,
            "regret_se": plain(self.regret.error),
            "seconds": self.seconds.value,
            "gain": None if self.gain is None else self.gain.value,
            "gain_se": None if self.gain is None else plain(self.gain.error),
        }


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """Scores by n, then surrogate; `left_out`: why a surrogate has none (its name, and n where it matters)."""

    scores: tuple[FitScore, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def replay_fit(
    plan: FitPlan,
    surrogates: Mapping[str, Builder],
    *,
    jobs: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> FitReport:
    """Return how `surrogates` do, over `jobs` processes; one that fails on some draw is left out at that n."""
    draws = [(n, draw) for n in plan.sizes or (None,) for draw in range(plan.draws)]
    by_n: dict[int, list[Mapping[str, Trial | str]]] = {}
    for done in replayed(_draw, (plan, surrogates), draws, jobs=jobs):
        by_n.setdefault(done.n, []).append(done.trials)
        told(f"n = {done.n}: draw {len(by_n[done.n])} of {plan.draws}")
    scores: list[FitScore] = []
    left_out: dict[str, str] = {}
    for n, found in by_n.items():
        reasons = {name: told for trials in found for name, told in trials.items() if isinstance(told, str)}
        left_out |= {f"{name} at n = {n}": reason for name, reason in reasons.items()}
        scores += _scores({name: _trials(found, name) for name in surrogates if name not in reasons}, n)
    return FitReport(scores=tuple(scores), left_out=left_out)


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """What the surrogates did on one draw of `n` training rows; a string: why one has no score."""

    n: int
    trials: Mapping[str, Trial | str]


def _draw(asked: tuple[FitPlan, Mapping[str, Builder]], which: tuple[int | None, int]) -> _Draw:
    plan, surrogates = asked
    train, test = _rows(plan, *which)
    return _Draw(n=len(train), trials={name: _tried(plan, build, train, test) for name, build in surrogates.items()})


def _tried(plan: FitPlan, build: Builder, train: Indices, test: Indices) -> Trial | str:
    try:
        return _trial(plan, build, train, test)
    except MixoptError as error:
        return str(error)


def _trials(found: Sequence[Mapping[str, Trial | str]], name: str) -> list[Trial]:
    return [trial for trials in found if isinstance(trial := trials[name], Trial)]


def _rows(plan: FitPlan, n: int | None, draw: int) -> tuple[Indices, Indices]:
    """Return the places of training and of test rows; no test row has the mixture and rung of a training row."""
    table, truth = plan.table, plan.table.truth(plan.objective)
    rng = np.random.default_rng([plan.seed, draw])
    train = np.concatenate([choice.draw(table, truth, rng) for choice in plan.train])
    train = train[np.sort(np.unique(train, return_index=True)[1])]
    if n is not None and n > len(train):
        raise ReplayError(f"{plan.train[0].words} has {len(train)} rows that measured the objective; asked for n = {n}")
    train = train[:n]
    rungs = np.array([run.fidelity for run in table.runs])
    same = groups(table.weights)
    known = {(rungs[i], same[i]) for i in train}
    test = [i for i in plan.test.draw(table, truth, rng) if (rungs[i], same[i]) not in known]
    if len(test) < LEAST_TEST_ROWS:
        raise ReplayError(
            f"{plan.test.words} has {len(test)} rows that are not trained on; needed are {LEAST_TEST_ROWS}; "
            "train on fewer, or test elsewhere"
        )
    return train, np.array(test, dtype=np.intp)


def _trial(plan: FitPlan, build: Builder, train: Indices, test: Indices) -> Trial:
    problem, table = plan.problem, plan.table
    evidence = Evidence(history=History(observations=table.observations(train)))
    started = time.perf_counter()
    found = build(evidence, problem).predict(table.weights[test], plan.test.fidelity)
    seconds = time.perf_counter() - started
    return _scored(found, table.truth(plan.objective)[test], table.values[test], seconds)


def _scored(found: Predictions, truth: Array, values: Array, seconds: float) -> Trial:
    if not np.isfinite(found.mean).all():
        raise ReplayError(f"it predicted {found.mean[~np.isfinite(found.mean)][0]} for a test row")
    return Trial(
        rho=rank_correlation(found.mean, truth),
        rmse=root_mean_square_error(found.mean, truth),
        coverage=coverage(found.mean, found.sd, truth),
        coverage_sets=coverage(found.sets_mean, found.sets_sd, values),
        regret=score_pick(least(found.mean), truth).regret,
        seconds=seconds,
    )


def _scores(trials: Mapping[str, Sequence[Trial]], n: int) -> list[FitScore]:
    reference = [trial.rho for trial in trials.get(DEFAULT, ())]
    found = []
    for name, done in trials.items():
        rivals = zip([trial.rho for trial in done], reference, strict=True) if reference else ()
        found.append(
            FitScore(
                surrogate=name,
                n=n,
                rho=Mean.of([trial.rho for trial in done]),
                rmse=Mean.of([trial.rmse for trial in done]),
                coverage=Mean.of([trial.coverage for trial in done]),
                coverage_sets=Mean.of([trial.coverage_sets for trial in done]),
                regret=Mean.of([trial.regret for trial in done]),
                seconds=Mean.of([trial.seconds for trial in done]),
                gain=Mean.of([own - other for own, other in rivals]) if reference and name != DEFAULT else None,
            )
        )
    return found
