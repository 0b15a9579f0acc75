"""Models of one rung at a time: a fit for a rung with many trials, an affine correction of it for one with few.

The authors of these methods fit the rung that they train at. Where trials at another rung are known, their fit is
corrected set by set, y = a + b f(w). None of them states an error, so that the standard deviations here are root mean
squares of residuals of rows left out of the fit (which hold the noise of a training too), the same for every mixture.

Shapes: n observations at a rung, d domains, m evaluation sets, B mixtures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mixopt.errors import SearchError
from mixopt.evidence import Evidence
from mixopt.optimize.encoding import Array, Encoding, Table, groups
from mixopt.optimize.predictions import Predictions
from mixopt.optimize.stack import folds
from mixopt.problem import Problem

FOLDS = 3
PRIOR_RUNS = 3.0  # observations that the error of the rung below, or the slope 1, counts as; a guess
REMEMBERED = 64  # fits; a replay plays several strategies at several costs in turn
FLAT = 1e-12  # variance below which a fit says the same of all mixtures

Fit = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A fit: losses `B x m` of weights `B x d`; and what it said of its own rows, each left out once, `n x m`."""

    predict: Fit
    left_out: Array | None = None


Regressor = Callable[[Array, Array], Trained]


@dataclass(frozen=True, kw_only=True)
class Level:
    """What is known of a rung: its fit, and the errors of sets, `m`, and of the objective, noise included."""

    predict: Fit
    sets_error: Array
    error: float
    spread: Array


@dataclass(frozen=True, kw_only=True)
class RungwisePredictor:
    """A model of every rung of the ladder."""

    problem: Problem
    encoding: Encoding
    levels: Mapping[str, Level]

    def predict(self, weights: Array, fidelity: str) -> Predictions:
        """Return what trials of `weights` would show; sets that were not measured throughout are nan."""
        level, sets = self.levels[fidelity], self.encoding.sets
        losses = level.predict(weights)
        places = [self.problem.sets.index(name) for name in sets]
        sets_mean, sets_sd = np.full((2, len(weights), len(self.problem.sets)), np.nan)
        sets_mean[:, places], sets_sd[:, places] = losses, level.sets_error
        mean = self.problem.objective.of_array(losses, sets)
        return Predictions(sets_mean=sets_mean, sets_sd=sets_sd, mean=mean, sd=np.full(len(weights), level.error))


def rungwise(evidence: Evidence, problem: Problem, regressor: Regressor) -> RungwisePredictor:
    """Return the model whose rungs with 3 (d + 1) different mixtures, and the best observed one, are fitted alone.

    SearchError if nothing was measured. (3 (d + 1) is what arXiv:2602.12237 asks of a log-linear law at least.)
    """
    encoding, tables = observed(evidence, problem)
    most = max(table.distinct for table in tables.values())
    enough = min(most, 3 * (problem.space.d + 1))
    levels = {
        name: fitted(table, regressor, encoding, problem) for name, table in tables.items() if table.distinct >= enough
    }
    return RungwisePredictor(problem=problem, encoding=encoding, levels=completed(levels, tables, encoding, problem))


def observed(evidence: Evidence, problem: Problem) -> tuple[Encoding, dict[str, Table]]:
    """Return the encoding, and the table of every rung; SearchError if all are empty."""
    encoding = Encoding.of(evidence, problem)
    tables = {rung.name: encoding.table(evidence, rung.name) for rung in problem.ladder}
    if not any(len(table.losses) for table in tables.values()):
        raise SearchError("no trial has losses of every set that the objective counts; nothing can be fitted")
    return encoding, tables


def swarm_rows(evidence: Evidence, problem: Problem) -> tuple[Array, Array]:
    """Return what a pick is made from, weights `n x d` and the losses of the objective's sets, `n x k`.

    Of the cheapest rung; where it has no trials, of the best observed one. SearchError if nothing was measured.
    """
    encoding, tables = observed(evidence, problem)
    cheapest = tables[problem.ladder.cheapest.name]
    table = cheapest if len(cheapest.losses) else max(tables.values(), key=lambda table: table.distinct)
    columns = [encoding.sets.index(name) for name in problem.objective.sets]
    return table.inputs.weights, table.losses[:, columns]


def completed(
    levels: Mapping[str, Level], tables: Mapping[str, Table], encoding: Encoding, problem: Problem
) -> dict[str, Level]:
    """Return a level for every rung: its own, or the nearest one (below, if there is one), corrected by its trials."""
    names = [rung.name for rung in problem.ladder]
    known = [k for k, name in enumerate(names) if name in levels]
    found = {}
    for k, name in enumerate(names):
        below = [place for place in known if place <= k]
        source = levels[names[below[-1] if below else known[0]]]
        found[name] = levels[name] if name in levels else corrected(source, tables[name], encoding, problem)
    return found


def fitted(table: Table, regressor: Regressor, encoding: Encoding, problem: Problem) -> Level:
    """Return the regressor's fit of a rung, with the errors of rows left out."""
    weights, losses = table.inputs.weights, table.losses
    trained, left_out = _once(
        regressor, weights.shape[1], np.ascontiguousarray(weights).tobytes(), np.ascontiguousarray(losses).tobytes()
    )
    spread = trained.predict(weights).var(axis=0)
    return _level(trained.predict, left_out, losses, spread, encoding, problem)


def corrected(source: Level, table: Table, encoding: Encoding, problem: Problem) -> Level:
    """Return `source` made affine, set by set, for a rung with few trials; the slope is drawn towards 1."""
    seen, losses = source.predict(table.inputs.weights), table.losses
    if not len(losses):
        return source
    shift, slope = _affine(seen, losses, source.spread)
    rows = np.arange(len(losses))
    left_out = np.empty_like(losses)
    for row in rows:
        a, b = _affine(seen[rows != row], losses[rows != row], source.spread)
        left_out[row] = a + b * seen[row]

    def predict(weights: Array) -> Array:
        return shift + slope * source.predict(weights)

    level = _level(predict, left_out, losses, source.spread * slope**2, encoding, problem)
    n = len(losses) if len(losses) > 1 else 0  # one row alone says nothing of errors
    share = n / (n + PRIOR_RUNS)
    return Level(
        predict=predict,
        sets_error=_blended(share, level.sets_error, source.sets_error),
        error=float(_blended(share, np.array(level.error), np.array(source.error))),
        spread=level.spread,
    )


def _affine(seen: Array, losses: Array, spread: Array) -> tuple[Array, Array]:
    """Return shifts and slopes, `m` each, of `losses` on `seen`, `n x m`."""
    if not len(seen):
        return np.zeros(losses.shape[1]), np.ones(losses.shape[1])
    centered, left = seen - seen.mean(axis=0), losses - seen
    prior = PRIOR_RUNS * np.maximum(spread, FLAT)
    slope = 1.0 + (centered * (left - left.mean(axis=0))).sum(axis=0) / ((centered**2).sum(axis=0) + prior)
    return losses.mean(axis=0) - slope * seen.mean(axis=0), slope


def _blended(share: float, own: Array, prior: Array) -> Array:
    """Return root mean squares of both, `own` alone where there is no prior."""
    return np.where(np.isnan(prior), own, np.sqrt(share * own**2 + (1.0 - share) * np.nan_to_num(prior) ** 2))


@lru_cache(maxsize=REMEMBERED)
def _once(regressor: Regressor, d: int, weights: bytes, losses: bytes) -> tuple[Trained, Array]:
    """Return the fit of rows, and what it says of each left out; a search asks for one rung's fit at every trial."""
    inputs = np.frombuffer(weights).reshape(-1, d)
    values = np.frombuffer(losses).reshape(len(inputs), -1)
    trained = regressor(inputs, values)
    return trained, trained.left_out if trained.left_out is not None else _left_out(inputs, values, regressor)


def _left_out(weights: Array, losses: Array, regressor: Regressor) -> Array:
    """Return predictions of all rows from fits without their mixture, `n x m`."""
    same = groups(weights)
    held = folds(same, FOLDS)
    result = np.tile(losses.mean(axis=0), (len(losses), 1))
    for fold in range(FOLDS if len(np.unique(same)) >= FOLDS else 0):
        kept = held != fold
        result[~kept] = regressor(weights[kept], losses[kept]).predict(weights[~kept])
    return result


def _level(predict: Fit, left_out: Array, losses: Array, spread: Array, encoding: Encoding, problem: Problem) -> Level:
    objective = problem.objective
    missed = objective.of_array(losses, encoding.sets) - objective.of_array(left_out, encoding.sets)
    sets_error = np.sqrt(np.mean((losses - left_out) ** 2, axis=0))
    return Level(predict=predict, sets_error=sets_error, error=float(np.sqrt(np.mean(missed**2))), spread=spread)
