"""The objective from the joint posterior of the sets: what is expected of the worst is more than the worst expected.

Sets err together: on the scales of `links`, what a trial shows is normal about what is predicted, with one covariance
over the sets, found out of fold. Expectations of what is not linear are means over fixed normal draws, so that they
are functions like any other: the same at every call, and smooth in the predictions.

Shapes: B mixtures, m evaluation sets, S draws, U nodes.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from mixopt.objective import Objective
from mixopt.optimize.links import Links

Array = NDArray[np.float64]

DRAWS = 128  # a power of two, as Sobol' points want; the error of an expected maximum is then below .01 spreads
NODES = 24  # of the Gauss-Hermite rule over what all sets share
MOST_SHARED = 0.9  # correlation beyond which the rule sees steps and no slopes
PRIOR_ROWS = 8.0  # rows that "sets err by themselves" counts as; a guess
BLOCK = 1 << 22  # numbers looked at together


def expected(objective: Objective, sets: Sequence[str], values: Array, covariance: Array) -> Array:
    """Return what is expected of the objective, `B`, from the sets' means on the scales of `Links`, `B x m`.

    covariance: of what a trial shows of the sets about these means, `m x m`.
    """
    links = Links.of(sets)
    counted = objective.array(sets) > 0.0
    if objective.kind == "mean" and not links.bent[counted].any():
        return objective.of_array(links.back(values), sets)
    moves = _normals(len(sets)) @ _root(covariance).T
    found = np.empty(len(values))
    step = max(1, BLOCK // moves.size)
    for start in range(0, len(values), step):
        block = values[start : start + step, None, :] + moves
        found[start : start + step] = objective.of_array(links.back(block), sets).mean(axis=1)
    return found


def joint_errors(missed: Array, sds: Array) -> Array:
    """Return the covariance over sets, `m x m`, of errors `missed`, `n x m`, whose standard deviations are `sds`, `m`.

    Correlations are drawn to none as if `PRIOR_ROWS` rows had shown none.
    """
    scaled = np.clip(missed / np.maximum(sds, 1e-12), -3.0, 3.0)
    second = scaled.T @ scaled + PRIOR_ROWS * np.eye(len(sds))
    unit = np.sqrt(second.diagonal())
    covariance: Array = second / np.outer(unit, unit) * np.outer(sds, sds)
    return covariance


def all_below(limits: Array, means: Array, sds: Array, shared: float) -> Array:
    """Return the probability, `B`, that normal values all lie below `limits`; means and sds: all `B x m`.

    shared: the correlation of any two values, taken as 0 to MOST_SHARED: given what they share they are independent,
    which leaves one integral.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    scores = (limits - means) / np.maximum(sds, 1e-12)
    common = float(np.clip(shared, 0.0, MOST_SHARED))
    given = (scores[..., None] - np.sqrt(common) * nodes) / np.sqrt(1.0 - common)
    probability: Array = ndtr(given).prod(axis=-2) @ weights
    return probability


@cache
def _normals(m: int) -> Array:
    """Return fixed draws of `m` independent normals, `S x m`, whose means are 0: every draw with its mirror image."""
    points = qmc.Sobol(m, scramble=True, rng=np.random.default_rng(0)).random(DRAWS // 2)
    half = ndtri(np.clip(points, 1e-9, 1.0 - 1e-9))
    half /= np.sqrt((half**2).mean(0))
    draws: Array = np.vstack([half, -half])
    return draws


def _root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
