"""The fit of the multi-fidelity model: rung by rung, members by cross-validation, and what they miss of the objective.

Shapes: n observations at a rung, d domains, m evaluation sets, B mixtures, M members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mixopt.evidence import Evidence
from mixopt.optimize.calibration import Errors, learn
from mixopt.optimize.composition import expected, joint_errors
from mixopt.optimize.encoding import Array, Encoding, Indices, Table
from mixopt.optimize.item_counts import with_items
from mixopt.optimize.members import MEMBERS, Entry, Features, Fitted
from mixopt.optimize.residual import PRIOR_RUNS, Residual
from mixopt.optimize.scale import Scale, features_of, first_scale, moved_scale
from mixopt.optimize.scale_law import handed_up
from mixopt.optimize.stack import combined, folds, leant, stack_weights
from mixopt.optimize.surrogate import OfRows, RungFit, Surrogate, spread_of
from mixopt.optimize.threads import one_thread
from mixopt.problem import Problem

MISFIT = 0.12  # of members, in spreads of the losses; GUESSED_NOISE of it is noise
GUESSED_DRIFT = 0.15  # likewise, of what a rung adds to the one below; a guess
GUESSED_NOISE = 0.06  # in spreads of the objective; a guess until mixtures are replicated
GUESSED_RESIDUAL = 0.2  # in spreads of the objective; a guess until there are out-of-fold residuals
UNEXPLAINED = 1.0  # likewise, where no member knows of mixtures
STALE = 3.0  # spreads of the losses that an observation misses of which all tokens are stale; see STALE_LIMIT
FARTHEST = 50.0  # spreads of mixtures that are apart from the middle: of a corner that it hardly knows, a law says any
TAIL = 3.0  # spreads above the middle from which losses count less: a corner's loss tells little about good mixtures


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
    features = features_of(every.inputs, lower, scale, every.passes)
    if below.rungs:
        features = replace(features, inherited=handed_up(below.rungs[-1].parameters))
    y = np.nan_to_num((linked - scale.center) / scale.linked_width).T
    sets_noise = _sets_noise(linked, every, scale, below)
    precision = _precision(y, every, sets_noise, scale, below) * np.isfinite(linked).T
    names = _applicable(table.distinct, features)
    reach = FARTHEST * scale.coarse[:, None]
    fitted, held_out, parameters = _fit_members(names, features, y, precision, every.groups, start, reach)
    held_out = held_out[..., :n]
    tail = _tail(values, table, scale, below)
    shares = stack_weights(held_out, y[:, :n], precision[:, :n], _importance(below))
    shares = _leant(shares, held_out, linked[:n], values, tail, scale, below)
    unseen, errors = _unseen(shares, held_out, linked[:n], scale)
    at_rows = np.stack([member(features)[:, :n] for member in fitted])
    losses = combined(shares, at_rows) * scale.linked_width + scale.center
    missed = values - expected(below.objective, below.encoding.sets, unseen, errors)
    noise = _noise_sd(table, values, scale, below) if table.noise_sd is None else table.noise_sd
    guessed = GUESSED_RESIDUAL if names != ("constant",) else UNEXPLAINED
    residual, slope = _residual(table, values, missed, noise**2 * tail, scale, below, guessed)
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
        doubt=_doubt(shares, held_out, y[:, :n], table.distinct, guessed, scale.coarse),
        errors=errors,
        sets_left=linked[:n] - losses,
        noise_sd=noise,
        sets_noise=sets_noise,
        row_noise=noise**2 * tail + (residual.amplitude * 0.5) ** 2 * (tail - 1.0),
        residual=residual,
        slope=slope,
        left=values - expected(below.objective, below.encoding.sets, losses, errors),
        lower=None if at_table is None else links.back(at_table),
        fallback=_fallback(name, table.distinct, names),
    )


def _precision(y: Array, every: Table, sets_noise: Array, scale: Scale, below: Surrogate) -> Array:
    """Return what rows count in the fit of the members, `m x n`: by their noise and age, and the less the worse.

    At the lowest rung in its own unit, so that a search that closes in is fitted best there; above, in a coarse one.
    """
    explained = (below.encoding.links.variance(every.losses, every.items) / scale.linked_width**2).T
    seeds = (sets_noise / scale.linked_width)[:, None] ** 2 - GUESSED_NOISE**2
    unit = scale.coarse[:, None] if below.rungs else np.ones((len(y), 1))
    misfit = (MISFIT * unit) ** 2 * (1.0 + (np.maximum(y / unit, 0.0) / TAIL) ** 2)
    precision: Array = 1.0 / (misfit + np.maximum(seeds, explained) + (STALE * every.stale) ** 2)
    return precision


def _tail(values: Array, table: Table, scale: Scale, below: Surrogate) -> Array:
    """Return how many times the variance of a good and fresh row's the one of each row is, `n`."""
    unit = scale.objective_coarse if below.rungs else 1.0
    above = np.maximum(values - scale.objective_center, 0.0) / (TAIL * unit * scale.objective_width)
    tail: Array = 1.0 + above**2 + (STALE * table.stale) ** 2 / MISFIT**2
    return tail


def _scale(table: Table, values: Array, linked: Array, lower: Array | None, below: Surrogate) -> Scale:
    links = below.encoding.links
    if lower is None:
        return first_scale(table.inputs, values, linked, links)
    lower_values = below.objective.of_array(links.back(lower), below.encoding.sets)
    return moved_scale(below.rungs[-1].scale, values, linked, lower, lower_values, links)


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
    names: Sequence[str],
    features: Features,
    y: Array,
    precision: Array,
    groups: Indices,
    start: Mapping[str, Array],
    reach: Array,
) -> tuple[tuple[OfRows, ...], Array, Mapping[str, Array]]:
    """Return every member fitted to all rows, what it predicts of rows that its fit has not seen, and its parameters.

    Predictions are `M x m x n`, from fits without the row's mixture, and none is beyond `reach`, `m x 1`; parameters
    `m x p` each. One batch of problems: every fold held out of every set, and last every set with nothing held out.
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
    return tuple(_of_rows(member, last, reach) for member in members), np.clip(result, -reach, reach), parameters


def _of_rows(member: Fitted, chosen: slice, reach: Array) -> OfRows:
    return lambda at: np.clip(member.predict(at, chosen), -reach, reach)


def _leant(
    shares: Array, held_out: Array, linked: Array, values: Array, tail: Array, scale: Scale, below: Surrogate
) -> Array:
    """Return `shares`, `M x m`, leaning towards members by how well the objective is predicted of rows held out."""
    _, errors = _unseen(shares, held_out, linked, scale)

    def objective(stacked: Array) -> Array:
        losses = stacked * scale.linked_width + scale.center
        return expected(below.objective, below.encoding.sets, losses, errors)

    return leant(shares, held_out, objective, values, 1.0 / tail)


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


def _doubt(shares: Array, held_out: Array, y: Array, distinct: int, guessed: float, apart: Array) -> Errors:
    predicted, spread = spread_of(shares, held_out)
    return learn(predicted, spread, predicted - y, distinct=distinct, guess=guessed, runs=PRIOR_RUNS, apart=apart)


def _known_noise(table: Table, model: Surrogate) -> float:
    """Return the variance of the objective that the items behind its errors explain, the mean over rows."""
    links, objective = model.encoding.links, model.objective
    shares = objective.array(model.encoding.sets)
    slopes = links.slope(links.to(table.losses, table.items))
    explained = (links.variance(table.losses, table.items) * slopes**2).mean(0)
    return float(explained[shares > 0.0].max() if objective.kind == "worst" else shares**2 @ explained)


def _sets_noise(linked: Array, every: Table, scale: Scale, below: Surrogate) -> Array:
    """Return the sd over seeds of every set, `m`, on the scale of its link; to begin with, as at the rung below."""
    guess = scale.ratio * below.rungs[-1].sets_noise if below.rungs else GUESSED_NOISE * scale.linked_width
    fresh = every.stale == 0.0
    return _seeds_sd(linked[fresh], every.groups[fresh], guess**2)


def _noise_sd(table: Table, values: Array, scale: Scale, below: Surrogate) -> float:
    """Return the sd over seeds of the objective, `values` being that of the rows, `n`."""
    guess = _known_noise(table, below) + _guessed_noise(scale, below) ** 2
    fresh = table.stale == 0.0
    return float(_seeds_sd(values[fresh, None], table.groups[fresh], np.array([guess]))[0])


def _guessed_noise(scale: Scale, below: Surrogate) -> float:
    """Return the sd over seeds to begin with: as at the rung below, where mixtures may have been replicated."""
    if below.rungs:
        return scale.objective_ratio * below.rungs[-1].noise_sd
    return GUESSED_NOISE * scale.objective_width


def _seeds_sd(values: Array, groups: Indices, guess: Array) -> Array:
    """Return the sds over seeds, `k`, of mixtures trained more than once, and of a guess that counts as a few.

    values: `n x k`, nan where nothing was measured. groups: `n`, equal for equal mixtures. guess: variances, `k`.
    """
    squares, freedom = PRIOR_RUNS * guess, np.full(len(guess), PRIOR_RUNS)
    for group in np.unique(groups):
        repeated = values[groups == group]
        counts = np.isfinite(repeated).sum(0)
        means = np.nansum(repeated, axis=0) / np.maximum(counts, 1)
        squares = squares + np.nansum((repeated - means) ** 2, axis=0)
        freedom = freedom + np.maximum(counts - 1, 0)
    sds: Array = np.sqrt(squares / freedom)
    return sds


def _residual(
    table: Table, values: Array, missed: Array, noise: Array, scale: Scale, below: Surrogate, guessed: float
) -> tuple[Residual, float]:
    """Return the process of what the stack misses of `values`, and the slope on the rung below.

    missed, noise: of rows held out, and the variance of their noise, `n`. guessed: its sd at the lowest rung, in
    spreads of the objective, before anything was held out.
    """
    shares = below.objective.array(below.encoding.sets)
    width = scale.objective_coarse * scale.objective_width
    of_sets = shares * scale.coarse * scale.width
    by_sets = float(np.sqrt((of_sets**2).sum()))  # as they err each by itself, also where they trade off
    slope, explained, guess = 0.0, np.zeros(len(values)), guessed * max(width, by_sets)
    if below.rungs:
        slope = _slope(table, below, scale.objective_ratio)
        explained = slope**2 * below.covariances(table.inputs)[-1].diagonal()
        guess = GUESSED_DRIFT * max(slope * width, by_sets)
    residual = Residual.of(
        missed,
        (values - missed - scale.objective_center) / scale.objective_width,
        table.inputs.coordinates,
        noise=noise,
        explained=explained,
        guess=guess,
        distinct=table.distinct,
        apart=scale.objective_coarse,
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
    mixtures = "one mixture" if distinct == 1 else f"{distinct} different mixtures"
    return f"rung {name!r} has {mixtures}, too few for a mixing law: modelled by {', '.join(names)}"
