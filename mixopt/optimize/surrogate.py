"""The multi-fidelity model of every evaluation set: fit, predict, cross-validate.

Each rung is modelled set by set as a stack of members (`members.py`) weighed by cross-validation; the prediction of
the rung below is a covariate of the next. The objective is composed from the sets' predictions. What the stack misses
of the objective is a Gaussian process whose size comes from out-of-fold residuals, so that it is honest about the
misfit of laws (`residual.py`), and joins the rungs (`conditioning.py`).

Shapes: n observations at a rung, d domains, m evaluation sets, B mixtures, R rungs, M members.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixopt.evidence import Evidence, LastFit
from mixopt.objective import Objective
from mixopt.optimize.calibration import Errors, learn
from mixopt.optimize.composition import expected, joint_errors
from mixopt.optimize.conditioning import At, Conditioned, Told
from mixopt.optimize.encoding import Encoding, Indices, Inputs, Table
from mixopt.optimize.item_counts import with_items
from mixopt.optimize.members import MEMBERS, Entry, Features, Fitted
from mixopt.optimize.residual import PRIOR_RUNS, Residual
from mixopt.optimize.scale_law import handed_up
from mixopt.optimize.stack import combined, folds, leant, stack_weights
from mixopt.optimize.threads import one_thread
from mixopt.problem import Problem

Array = NDArray[np.float64]

OfRows = Callable[[Features], Array]  # a member fitted to every set, `m x B`

MISFIT = 0.12  # of members, in spreads of the losses
GUESSED_DRIFT = 0.15  # likewise, of what a rung adds to the one below; a guess
GUESSED_NOISE = 0.06  # in spreads of the objective; a guess until mixtures are replicated
GUESSED_RESIDUAL = 0.2  # in spreads of the objective; a guess until there are out-of-fold residuals
RATIOS = (0.1, 3.0)  # bounds of the ratio of levels of neighbouring rungs
JITTER = 1e-6  # of the residual's variance, on top of noise
STALE = 3.0  # spreads of the losses that an observation misses of which all tokens are stale; see STALE_LIMIT
TAIL = 3.0  # spreads above the middle from which losses count less: a corner's loss tells little about good mixtures


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Losses of a rung to about 0 in the middle, 1 wide; objective and experts alike.

    center, linked_width: of every set on the scale of its link, `m`. width: and as loss or error.
    ratio, objective_ratio: of levels, to those of the rung below (1 at the first, and of errors); `m` and a number.
    """

    center: Array
    linked_width: Array
    width: Array
    objective_center: float
    objective_width: float
    experts_center: Array
    experts_width: Array
    ratio: Array
    objective_ratio: float


@dataclass(frozen=True, kw_only=True)
class RungFit:
    """The model of one rung.

    members: names, and their `shares` in the stack of every set, `M x m`; fitted: each on all rows; parameters: of
    each, `m x p`, from which the next fit starts.
    scale: as rows were standardised.
    out_of_fold: residuals of the objective, `n`, nan where none could be had; rmse, per set, `m`.
    noise_sd: of the objective, seed to seed. residual: the process of what is missed of it; slope: b_r of the rung
    below.
    lower: the sets as the rung below predicts them at the rows, `n x m`; None at the first rung.
    errors: covariance over sets of what the members miss out of fold, `m x m`, and sets_left: what they leave of the
    rows, `n x m`, both on the scales of the links.
    doubt: sds of sets, mixture by mixture, noise included, standardised.
    fallback: why a simpler model than wanted stands here, or None.
    """

    name: str
    table: Table
    scale: Scale
    members: tuple[str, ...]
    shares: Array
    fitted: tuple[OfRows, ...]
    parameters: Mapping[str, Array]
    out_of_fold: Array
    rmse: Array
    doubt: Errors
    noise_sd: float
    row_noise: Array
    residual: Residual
    slope: float
    left: Array
    lower: Array | None
    errors: Array
    sets_left: Array
    fallback: str | None


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The rungs that have observations, cheap to expensive; what lies above them is predicted by the last."""

    encoding: Encoding
    objective: Objective
    rungs: tuple[RungFit, ...]

    def sets(self, inputs: Inputs) -> list[Array]:
        """Return the predicted losses and errors at every rung, `R` arrays `B x m`."""
        return [self.encoding.links.back(values) for values in self.linked(inputs)]

    def sets_sd(self, inputs: Inputs) -> list[Array]:
        """Return the sds of what trials would show of every set, noise included, at every rung, `R` arrays `B x m`."""
        deviations = []
        lowers = [None, *self.linked(inputs)]
        for rung, lower in zip(self.rungs, lowers, strict=False):
            features = _features(inputs, lower, rung.scale, rung.table.passes)
            predicted, spread = _spread(rung.shares, _members(rung, features))
            linked = predicted.T * rung.scale.linked_width + rung.scale.center
            slopes = self.encoding.links.slope(linked)
            deviations.append(rung.doubt.sd(predicted, spread).T * rung.scale.linked_width * slopes)
        return deviations

    def linked(self, inputs: Inputs) -> list[Array]:
        """Return the predictions at every rung on the scales of `links`, `R` arrays `B x m`."""
        predictions: list[Array] = []
        for rung in self.rungs:
            lower = predictions[-1] if predictions else None
            predictions.append(_stacked(rung, _features(inputs, lower, rung.scale, rung.table.passes)))
        return predictions

    def means(self, inputs: Inputs) -> Array:
        """Return the predicted objective at every rung, `R x B`, the residual processes included."""
        return self.posterior(inputs)[0]

    def covariances(self, inputs: Inputs) -> Array:
        """Return the covariance of the objective among mixtures at every rung, `R x B x B`."""
        joint, count = self.posterior(inputs)[1], len(inputs)
        return np.array([joint[k : k + count, k : k + count] for k in range(0, len(joint), count)])

    def posterior(self, inputs: Inputs) -> tuple[Array, Array]:
        """Return means, `R x B`, and the covariance of all rungs and mixtures, `R B x R B`, rung by rung."""
        losses = self._expected(inputs)
        mean, joint = self._conditioned.posterior(At(points=inputs.coordinates, predicted=self._standardised(losses)))
        return losses + mean, joint

    def _expected(self, inputs: Inputs) -> Array:
        """Return the objective that the members alone predict at every rung, `R x B`."""
        pairs = zip(self.rungs, self.linked(inputs), strict=True)
        return np.array([expected(self.objective, self.encoding.sets, values, rung.errors) for rung, values in pairs])

    def _standardised(self, losses: Array) -> Array:
        center = np.array([[rung.scale.objective_center] for rung in self.rungs])
        result: Array = (losses - center) / np.array([[rung.scale.objective_width] for rung in self.rungs])
        return result

    @cached_property
    def _conditioned(self) -> Conditioned:
        """The residual processes, given all rows."""
        tables = [rung.table for rung in self.rungs]
        ends = np.cumsum([0, *(len(table.inputs) for table in tables)])
        told = [
            Told(
                residual=rung.residual,
                slope=rung.slope,
                own=slice(start, end),
                left=rung.left,
                noise=rung.row_noise + JITTER * rung.residual.amplitude**2,
            )
            for rung, start, end in zip(self.rungs, ends, ends[1:], strict=False)
        ]
        losses = np.hstack([self._expected(table.inputs) for table in tables])
        points = np.vstack([table.inputs.coordinates for table in tables])
        return Conditioned.on(told, At(points=points, predicted=self._standardised(losses)))

    @property
    def parameters(self) -> LastFit:
        """What the members have found, rung by rung: the next evidence's `last_fit`."""
        return {rung.name: rung.parameters for rung in self.rungs}

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Why simpler models stand in, a sentence each."""
        return tuple(rung.fallback for rung in self.rungs if rung.fallback is not None)


@one_thread
def fit(evidence: Evidence, problem: Problem) -> Surrogate | None:
    """Return the model of all rungs with observations, or None where there are none at all.

    It starts from the evidence's last fit where that knows the rung, the member and the sets.
    """
    encoding = Encoding.of(evidence, problem)
    rungs: list[RungFit] = []
    for fidelity in problem.ladder:
        table = encoding.table(evidence, fidelity.name)
        if len(table.losses):
            below = Surrogate(encoding=encoding, objective=problem.objective, rungs=tuple(rungs))
            start = (evidence.last_fit or {}).get(fidelity.name, {})
            rungs.append(_fit_rung(fidelity.name, table, encoding.every(evidence, fidelity.name), below, start))
    return Surrogate(encoding=encoding, objective=problem.objective, rungs=tuple(rungs)) if rungs else None


def _fit_rung(name: str, table: Table, every: Table, below: Surrogate, start: Mapping[str, Array]) -> RungFit:
    """Return the model of a rung: members fitted to `every` row, all else to `table`, the first of them, all whole."""
    links, n = below.encoding.links, len(table.losses)
    every = with_items(every, links)
    table = replace(table, items=every.items[:n])
    lower = below.linked(every.inputs)[-1] if below.rungs else None
    values = below.objective.of_array(table.losses, below.encoding.sets)
    linked = links.to(every.losses, every.items)
    at_table = None if lower is None else lower[:n]
    scale = _scale(table, values, linked[:n], at_table, below)
    features = _features(every.inputs, lower, scale, every.passes)
    if below.rungs:
        features = replace(features, inherited=handed_up(below.rungs[-1].parameters))
    y = np.nan_to_num((linked - scale.center) / scale.linked_width).T
    explained = (links.variance(every.losses, every.items) / scale.linked_width**2).T
    doubted = (STALE * every.stale) ** 2
    precision = 1.0 / (MISFIT**2 * (1.0 + (np.maximum(y, 0.0) / TAIL) ** 2) + explained + doubted)
    precision *= np.isfinite(linked).T
    names = _applicable(table.distinct, features)
    fitted, held_out, parameters = _fit_members(names, features, y, precision, every.groups, start)
    held_out = held_out[..., :n]
    tail = 1.0 + (np.maximum(values - scale.objective_center, 0.0) / (TAIL * scale.objective_width)) ** 2
    tail = tail + doubted[:n] / MISFIT**2
    shares = stack_weights(held_out, y[:, :n], precision[:, :n], _importance(below))
    _, errors = _unseen(shares, held_out, linked[:n], scale)
    shares = leant(
        shares,
        held_out,
        lambda stacked: expected(
            below.objective, below.encoding.sets, stacked * scale.linked_width + scale.center, errors
        ),
        values,
        1.0 / tail,
    )
    unseen, errors = _unseen(shares, held_out, linked[:n], scale)
    at_rows = np.stack([member(features)[:, :n] for member in fitted])
    losses = combined(shares, at_rows) * scale.linked_width + scale.center
    missed = values - expected(below.objective, below.encoding.sets, unseen, errors)
    known = _known_noise(table, below) + (GUESSED_NOISE * scale.objective_width) ** 2
    fresh = table.stale == 0.0
    noise = _noise_sd(values[fresh], table.groups[fresh], known) if table.noise_sd is None else table.noise_sd
    residual, slope = _residual(table, values, missed, noise**2 * tail, scale, below)
    return RungFit(
        name=name,
        table=table,
        scale=scale,
        members=names,
        shares=shares,
        fitted=fitted,
        parameters=parameters,
        out_of_fold=missed,
        rmse=_rmse(links.back(unseen) - table.losses, scale.width),
        doubt=_doubt(shares, held_out, y[:, :n], table.distinct),
        errors=errors,
        sets_left=linked[:n] - losses,
        noise_sd=noise,
        row_noise=noise**2 * tail + (residual.amplitude * 0.5) ** 2 * (tail - 1.0),
        residual=residual,
        slope=slope,
        left=values - expected(below.objective, below.encoding.sets, losses, errors),
        lower=None if at_table is None else links.back(at_table),
        fallback=_fallback(name, table.distinct, names),
    )


def _scale(table: Table, values: Array, linked: Array, lower: Array | None, model: Surrogate) -> Scale:
    """Return robust centers and widths; above the first rung those of the rung below, which has more rows, moved.

    linked, lower: rows, and what the rung below predicts of them, on the scales of the links.
    """
    center, links = np.median(linked, axis=0), model.encoding.links
    middle = float(np.median(values))
    experts = table.inputs.experts if table.inputs.experts is not None else np.zeros_like(table.losses)
    if lower is not None:
        below = model.rungs[-1].scale
        ratio = np.where(links.bent, 1.0, _ratio(linked, lower))
        moved = model.objective.of_array(links.back(lower), model.encoding.sets)
        whole = float(_ratio(values[:, None], moved[:, None])[0])
        center = ratio * below.center + np.median(linked - ratio * lower, axis=0)
        return replace(
            below,
            center=center,
            linked_width=ratio * below.linked_width,
            width=ratio * below.linked_width * links.slope(center),
            objective_center=middle,
            objective_width=whole * below.objective_width,
            ratio=ratio,
            objective_ratio=whole,
        )
    width = _width(linked - center)
    return Scale(
        center=center,
        linked_width=width,
        width=width * links.slope(center),
        objective_center=middle,
        objective_width=float(_width(values[:, None] - middle)[0]),
        experts_center=np.median(experts, axis=0),
        experts_width=_width(experts - np.median(experts, axis=0)),
        ratio=np.ones_like(center),
        objective_ratio=1.0,
    )


def _ratio(losses: Array, lower: Array) -> Array:
    """Return the ratio of levels of columns, 1 where they are not positive throughout: differences shrink alike."""
    positive = (losses > 0.0).all(0) & (lower > 0.0).all(0)
    levels = np.median(losses, axis=0) / np.where(positive, np.median(lower, axis=0), 1.0)
    ratio: Array = np.where(positive, np.clip(levels, *RATIOS), 1.0)
    return ratio


def _width(deviations: Array) -> Array:
    spread = np.maximum(1.4826 * np.median(np.abs(deviations), axis=0), 0.25 * deviations.std(axis=0))
    # Where all losses are one, a hundredth of a bit is as good a unit as any.
    return np.where(spread > 1e-9, spread, 1e-2)


def _features(inputs: Inputs, lower: Array | None, scale: Scale, passes: Array | None) -> Features:
    columns, slopes = [], []
    if lower is not None:
        columns.append(((lower * scale.ratio - scale.center) / scale.linked_width).T)
        slopes.append(1.0)
    if inputs.experts is not None:
        columns.append(((inputs.experts - scale.experts_center) / scale.experts_width).T)
        slopes.append(0.0 if lower is not None else 0.7)
    shape = (len(scale.center), len(inputs), 0)
    covariates = np.stack(columns, axis=2) if columns else np.zeros(shape)
    return Features(
        weights=inputs.weights,
        covariates=np.clip(covariates, -50.0, 50.0),
        slopes=np.array(slopes),
        passes=passes,
    )


def _applicable(distinct: int, features: Features) -> tuple[str, ...]:
    names = [name for name, entry in MEMBERS.items() if name != "constant" and _trusted(entry, distinct, features)]
    return tuple(names) or ("constant",)


def _trusted(entry: Entry, distinct: int, features: Features) -> bool:
    least, most = entry.least, entry.most
    if features.inherited:
        least = least if entry.least_above is None else entry.least_above
        most = most if entry.most_above is None else entry.most_above
    has_covariate = features.covariates.shape[2] > 0 or not entry.needs_covariate
    has_passes = entry.passes in (None, features.passes is not None)
    return least <= distinct <= most and has_covariate and has_passes and entry.inherits in (None, *features.inherited)


def _fit_members(
    names: Sequence[str], features: Features, y: Array, precision: Array, groups: Indices, start: Mapping[str, Array]
) -> tuple[tuple[OfRows, ...], Array, Mapping[str, Array]]:
    """Return every member fitted to all rows, what it predicts of rows that its fit has not seen, and its parameters.

    Predictions are `M x m x n`, from fits without the row's mixture; parameters `m x p` each. One batch of problems:
    every fold held out of every set, and last every set with nothing held out.
    """
    held, m = folds(groups), len(y)
    count = int(held.max()) + 1
    which, last = np.tile(np.arange(m), count + 1), slice(count * m, None)
    kept = np.repeat(np.arange(count + 1), m)[:, None] != held[None, :]
    counted = precision[which] * kept
    if count < 2:  # one mixture: nothing to hold out; the prior slopes predict it
        counted[:m] = 1e-6 * precision
    members = [MEMBERS[name].member(features, y[which], counted, which, start.get(name)) for name in names]
    result = np.empty((len(names), m, y.shape[1]))
    for k, member in enumerate(members):
        for fold in range(count):
            unseen = np.flatnonzero(held == fold)
            result[k][:, unseen] = member.predict(features.rows(unseen), slice(fold * m, (fold + 1) * m))
    parameters = {name: member.theta[last] for name, member in zip(names, members, strict=True)}
    return tuple(_of_rows(member, last) for member in members), result, parameters


def _of_rows(member: Fitted, chosen: slice) -> OfRows:
    return lambda at: member.predict(at, chosen)


def _unseen(shares: Array, held_out: Array, linked: Array, scale: Scale) -> tuple[Array, Array]:
    """Return what the stack predicts of rows held out, `n x m`, and the covariance of its errors, `m x m`."""
    unseen = combined(shares, held_out) * scale.linked_width + scale.center
    missed = unseen - linked
    return unseen, joint_errors(missed, _rmse(missed, scale.linked_width))


def _importance(below: Surrogate) -> Array:
    """Return what a set counts in weighing members, `m`: half by the objective, half equally."""
    m = len(below.encoding.sets)
    share: Array = 0.5 * below.objective.array(below.encoding.sets) + 0.5 / m
    return share


def _stacked(rung: "RungFit", features: Features) -> Array:
    losses = combined(rung.shares, _members(rung, features))
    scaled: Array = losses * rung.scale.linked_width + rung.scale.center
    return scaled


def _members(rung: "RungFit", features: Features) -> Array:
    return np.stack([member(features) for member in rung.fitted])


def _spread(shares: Array, predictions: Array) -> tuple[Array, Array]:
    """Return the stack's predictions and how far its members are apart by their shares, `m x B` both."""
    middle = combined(shares, predictions).T
    return middle, np.sqrt(np.einsum("km,kmn->mn", shares, (predictions - middle) ** 2))


def _doubt(shares: Array, held_out: Array, y: Array, distinct: int) -> Errors:
    predicted, spread = _spread(shares, held_out)
    return learn(predicted, spread, predicted - y, distinct=distinct, guess=GUESSED_RESIDUAL, runs=PRIOR_RUNS)


def _known_noise(table: Table, model: Surrogate) -> float:
    """Return the variance of the objective that the items behind its errors explain, the mean over rows."""
    links, objective = model.encoding.links, model.objective
    shares = objective.array(model.encoding.sets)
    slopes = links.slope(links.to(table.losses, table.items))
    explained = (links.variance(table.losses, table.items) * slopes**2).mean(0)
    return float(explained[shares > 0.0].max() if objective.kind == "worst" else shares**2 @ explained)


def _noise_sd(values: Array, groups: Indices, guess: float) -> float:
    """Return the sd over seeds, from mixtures trained more than once and a `guess` (variance) that counts as a few."""
    squares, freedom = PRIOR_RUNS * guess, PRIOR_RUNS
    for group in np.unique(groups):
        repeated = values[groups == group]
        squares += float(((repeated - repeated.mean()) ** 2).sum())
        freedom += len(repeated) - 1
    return float(np.sqrt(squares / freedom))


def _residual(
    table: Table, values: Array, missed: Array, noise: Array, scale: Scale, below: Surrogate
) -> tuple[Residual, float]:
    """Return the process of what the stack misses of `values`, and the slope on the rung below.

    missed, noise: of rows held out, and the variance of their noise, `n`.
    """
    slope, explained = 0.0, np.zeros(len(values))
    if below.rungs:
        slope = _slope(table, below, scale.objective_ratio)
        explained = slope**2 * below.covariances(table.inputs)[-1].diagonal()
    residual = Residual.of(
        missed,
        (values - missed - scale.objective_center) / scale.objective_width,
        table.inputs.coordinates,
        noise=noise,
        explained=explained,
        guess=(GUESSED_DRIFT * slope if below.rungs else GUESSED_RESIDUAL) * scale.objective_width,
        distinct=table.distinct,
    )
    return residual, slope


def _slope(table: Table, below: Surrogate, expected: float) -> float:
    """Return how large differences between mixtures are, beside the rung below; `expected` counts as a few runs."""
    spreads = [
        float(below.objective.of_array(losses, below.encoding.sets).std())
        for losses in (table.losses, below.sets(table.inputs)[-1])
    ]
    ratio = float(np.clip(spreads[0] / max(spreads[1], 1e-12), 0.1, 3.0)) if spreads[1] > 0.0 else expected
    seen = table.distinct - 1
    return (PRIOR_RUNS * expected + seen * ratio) / (PRIOR_RUNS + seen)


def _rmse(errors: Array, width: Array) -> Array:
    guess = (GUESSED_RESIDUAL * width) ** 2
    clipped = np.minimum(np.abs(errors), TAIL * width)
    result: Array = np.sqrt((PRIOR_RUNS * guess + (clipped**2).sum(0)) / (PRIOR_RUNS + len(errors)))
    return result


def _fallback(name: str, distinct: int, names: tuple[str, ...]) -> str | None:
    """Return that `distinct` mixtures were too few for any law, where none is among the members `names`."""
    if any(MEMBERS[member].law for member in names):
        return None
    return f"rung {name!r} has {distinct} different mixtures, too few for a mixing law: modelled by {', '.join(names)}"
