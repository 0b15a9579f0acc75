"""One law over all rungs: its parameters at a rung are those at the rung below, drifted.

In the units of `surrogate.Scale` losses of a rung are those of the rung below times the ratio of their levels, so that
a law whose parameters stay says that differences of logarithms stay. What drifts: the level freely, the size of
differences by a few tenths, the worth of every domain by about a factor of two, the shape hardly.

Shapes: L problems, n rows, d domains, p parameters.
"""

from collections.abc import Mapping

import numpy as np

from mixopt.optimize.encoding import Array
from mixopt.optimize.epoch_laws import EPOCHS
from mixopt.optimize.laws import LAWS, Law, fit

RISING: Mapping[str, Law] = {**LAWS, "epochs": EPOCHS}

LEVEL, SIZE, SHAPE, WORTH = 3.0, 0.4, 0.1, 0.6  # sds of drift, by cross-validation on RegMix's 1M and 60M rows
FIXED = 1e-3  # of what this law has no use for

# The laws that are handed up, and the sds of the drift of all that is not the worth (or harm) of a domain.
DRIFTS: Mapping[str, tuple[float, ...]] = {
    "power": (LEVEL, FIXED, SIZE, SHAPE, 2.0 * SHAPE, SHAPE),
    "epochs": (LEVEL, FIXED, SIZE, 2.0 * SHAPE, SHAPE, 2.0 * SHAPE),
}


def drifted(name: str, mean: Array, w: Array, y: Array, precision: Array, *, start: Array | None = None) -> Array:
    """Return the parameters, `L x p`, of the law `name` at a rung, `mean` `L x p` being those at the rung below.

    w: rows as the law sees them; y and precision: `L x n`, standardised; start: where to begin, `mean` if None.
    """
    law = RISING[name]
    unmoved = law.evaluate(mean, w, np.zeros_like(y))[0]
    shift = (precision * (y - unmoved)).sum(1) / np.maximum(precision.sum(1), 1e-12)
    moved = np.concatenate([mean[:, :1] + shift[:, None], mean[:, 1:]], axis=1)
    sd = np.concatenate([DRIFTS[name], np.full(mean.shape[1] - len(DRIFTS[name]), WORTH)])
    return fit(law, w, np.zeros_like(y), y, precision, start=start, about=(moved, sd))


def handed_up(parameters: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return the laws that a rung hands up, of the `parameters` of its members, `m x p` each: those drifted first."""
    found = {name: parameters.get(f"drifted {name}", parameters.get(name)) for name in DRIFTS}
    return {name: theta for name, theta in found.items() if theta is not None}
