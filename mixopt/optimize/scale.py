"""Losses of a rung brought to about 0 in the middle and 1 wide, and what the members of its model see.

Shapes: n observations at a rung, d domains, m evaluation sets, B mixtures.
"""

from dataclasses import dataclass, replace

import numpy as np

from mixopt.optimize.encoding import Array, Inputs
from mixopt.optimize.links import Links
from mixopt.optimize.members import Features

APART = 0.1  # total variation
RATIOS = (0.1, 3.0)  # bounds of the ratio of levels of neighbouring rungs


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Losses of a rung to about 0 in the middle, 1 wide; objective and experts alike.

    center, linked_width: of every set on the scale of its link, `m`. width: and as loss or error. They shrink as a
    search closes in on its optimum, so that its rung is fitted best there. coarse, objective_coarse: how many of these
    the widths of mixtures are that are apart, which do not shrink; `m` and a number.
    ratio, objective_ratio: of levels, to those of the rung below (1 at the first, and of errors); `m` and a number.
    """

    center: Array
    linked_width: Array
    width: Array
    objective_center: float
    objective_width: float
    coarse: Array
    objective_coarse: float
    experts_center: Array
    experts_width: Array
    ratio: Array
    objective_ratio: float


def first_scale(inputs: Inputs, values: Array, linked: Array, links: Links) -> Scale:
    """Return robust centers and widths of the lowest rung.

    values: the objective, `n`. linked: losses on the scales of `links`, `n x m`.
    """
    center, middle = np.median(linked, axis=0), float(np.median(values))
    width, objective_width = _width(linked), float(_width(values[:, None])[0])
    apart = _apart(inputs.weights)
    known = np.zeros_like(linked) if inputs.experts is None else inputs.experts
    return Scale(
        center=center,
        linked_width=width,
        width=width * links.slope(center),
        objective_center=middle,
        objective_width=objective_width,
        coarse=np.maximum(_width(linked[apart]) / width, 1.0),
        objective_coarse=max(float(_width(values[apart, None])[0]) / objective_width, 1.0),
        experts_center=np.median(known, axis=0),
        experts_width=_width(known),
        ratio=np.ones_like(center),
        objective_ratio=1.0,
    )


def moved_scale(below: Scale, values: Array, linked: Array, lower: Array, lower_values: Array, links: Links) -> Scale:
    """Return the scale of a rung from that of the rung below, which has more rows, moved.

    lower, lower_values: what the rung below predicts, in the place of `linked`, `n x m`, and of `values`, `n`.
    """
    ratio = np.where(links.bent, 1.0, _ratio(linked, lower))
    whole = float(_ratio(values[:, None], lower_values[:, None])[0])
    center = ratio * below.center + np.median(linked - ratio * lower, axis=0)
    return replace(
        below,
        center=center,
        linked_width=ratio * below.linked_width,
        width=ratio * below.linked_width * links.slope(center),
        objective_center=float(np.median(values)),
        objective_width=whole * below.objective_width,
        ratio=ratio,
        objective_ratio=whole,
    )


def features_of(inputs: Inputs, lower: Array | None, scale: Scale, passes: Array | None) -> Features:
    """Return what members see of `inputs`; lower: what the rung below predicts of them, on the scales of the links."""
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


def _apart(weights: Array) -> list[int]:
    """Return rows of `weights`, `n x d`, that are apart: each one that is, from those kept before it."""
    kept: list[int] = []
    for row in range(len(weights)):
        if not kept or 0.5 * np.abs(weights[kept] - weights[row]).sum(1).min() > APART:
            kept.append(row)
    return kept


def _ratio(losses: Array, lower: Array) -> Array:
    """Return the ratio of levels of columns, 1 where they are not positive throughout: differences shrink alike."""
    positive = (losses > 0.0).all(0) & (lower > 0.0).all(0)
    levels = np.median(losses, axis=0) / np.where(positive, np.median(lower, axis=0), 1.0)
    ratio: Array = np.where(positive, np.clip(levels, *RATIOS), 1.0)
    return ratio


def _width(values: Array) -> Array:
    deviations = values - np.median(values, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(deviations), axis=0), 0.25 * deviations.std(axis=0))
    # Where all losses are one, a hundredth of a bit is as good a unit as any.
    return np.where(spread > 1e-9, spread, 1e-2)
