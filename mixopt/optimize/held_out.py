"""What a rung showed of its mixtures, beside what is predicted of each by fits that have not seen it.

Shapes: k mixtures, d domains.
"""

from dataclasses import dataclass

import numpy as np

from mixopt.optimize.encoding import Array
from mixopt.optimize.surrogate import RungFit, Surrogate


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Mixtures that could be held out, `weights` `k x d`: the objective `measured` and `predicted`, means, `k` each."""

    weights: Array
    measured: Array
    predicted: Array


def held_out(model: Surrogate, rung: RungFit) -> HeldOut:
    """Return every mixture of the rung whose trials all have a prediction out of fold."""
    values = model.objective.of_array(rung.table.losses, model.encoding.sets)
    groups = rung.table.groups
    kept = [np.flatnonzero(groups == g) for g in np.unique(groups) if np.isfinite(rung.out_of_fold[groups == g]).all()]
    return HeldOut(
        weights=rung.table.inputs.weights[[rows[0] for rows in kept]],
        measured=np.array([values[rows].mean() for rows in kept]),
        predicted=np.array([(values - rung.out_of_fold)[rows].mean() for rows in kept]),
    )
