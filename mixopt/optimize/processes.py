"""Gaussian processes over mixtures, every domain of its own length, many fitted at once.

Notation: a batch of L problems over the same n rows; problem l belongs to set `which[l]`, and the problems of a set
differ in the rows held out only, so that they share what is fitted. Coordinates u_i = w_i^0.35, in which losses are
nearly straight; covariance s^2 k(r) with r^2 = sum_i (u_i - u'_i)^2 exp(2 t_i), k Matern 5/2; noise e^2.
theta = (log s, log e, t), unbounded, with independent normal priors: most domains hardly matter to a set.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

EXPONENT = 0.35  # this and the priors by cross-validation on training rows of the RegMix tables
ROWS = 96  # from which theta is fitted; the posterior takes all
STEPS = 30
FEW_STEPS = 6  # for a fold, from what fits all rows
START = -1.5  # of t; its prior mean is a flat place, from which no step leads away
JITTER = 1e-5
HIDDEN = 1e6  # noise of rows that are held out


def fit(weights: Array, y: Array, kept: NDArray[np.bool_], which: Indices) -> Callable[[Array, slice], Array]:
    """Return the posterior mean of any mixtures' values for some of the problems.

    weights: `n x d`; y: `L x n`, about 0; kept: `L x n`, False where a row is held out.
    """
    points = weights**EXPONENT
    few = np.random.default_rng(0).permutation(len(points))[:ROWS]
    theta = np.zeros((len(y), points.shape[1] + 2))
    solved = np.zeros_like(y)
    widths = np.zeros(len(y))
    for one in np.unique(which):
        problems = np.flatnonzero(which == one)
        whole = problems[int(kept[problems].sum(1).argmax())]
        known = few[kept[whole, few]]
        width = max(float(y[whole, known].std()), 1e-6)
        start = _likeliest(points[known], y[whole, known] / width, _start(points.shape[1]), STEPS)
        for place in problems:
            seen = few[kept[place, few]]
            theta[place] = start
            if place != whole and len(seen) < len(known):
                theta[place] = _likeliest(points[seen], y[place, seen] / width, start, FEW_STEPS)
            diagonal = np.where(kept[place], np.exp(2.0 * theta[place, 1]) + JITTER, HIDDEN)
            solved[place] = np.linalg.solve(
                _covariance(theta[place], points, points) + np.diag(diagonal), y[place] / width
            )
        widths[problems] = width

    def predict(at: Array, chosen: slice) -> Array:
        moved = at**EXPONENT
        rows = zip(theta[chosen], solved[chosen], strict=True)
        values = np.array([alpha @ _covariance(t, points, moved) for t, alpha in rows])
        scaled: Array = values * widths[chosen, None]
        return scaled

    return predict


def prior(d: int) -> tuple[Array, Array]:
    """Return means and standard deviations of theta, `d + 2`."""
    return np.concatenate([[0.0, np.log(0.08)], np.full(d, -3.5)]), np.concatenate([[1.0, 0.7], np.full(d, 2.5)])


def objective(theta: Array, points: Array, y: Array) -> tuple[float, Array]:
    """Return minus the logarithm of likelihood times prior, up to a constant, and its slopes."""
    mean, sd = prior(points.shape[1])
    lengths = np.exp(theta[2:])
    scaled = points * lengths
    distances = _distances(scaled, scaled)
    decays = np.exp(2.0 * theta[0] - distances)
    shared = (1.0 + distances + distances**2 / 3.0) * decays
    noise = np.exp(2.0 * theta[1])
    covariance = shared + (noise + JITTER) * np.eye(len(y))
    inverse = np.linalg.inv(covariance)
    alpha = inverse @ y
    value = 0.5 * float(y @ alpha) + 0.5 * float(np.linalg.slogdet(covariance)[1])
    slope = 0.5 * (inverse - np.outer(alpha, alpha))
    pull = slope * (-5.0 / 3.0) * (1.0 + distances) * decays
    moved = 2.0 * (pull.sum(1) @ scaled**2 - (scaled * (pull @ scaled)).sum(0))
    slopes = np.concatenate([[2.0 * (slope * shared).sum(), 2.0 * noise * float(np.trace(slope))], moved])
    off = (theta - mean) / sd
    return value + 0.5 * float(off @ off), slopes + off / sd


def _start(d: int) -> Array:
    return np.concatenate([prior(d)[0][:2], np.full(d, START)])


def _likeliest(points: Array, y: Array, start: Array, steps: int) -> Array:
    bounds = [(-6.0, 4.0), (-7.0, 1.0), *[(-12.0, 4.0)] * points.shape[1]]
    found: Array = minimize(
        objective, start, args=(points, y), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}
    ).x
    return found


def _covariance(theta: Array, a: Array, b: Array) -> Array:
    distances = _distances(a * np.exp(theta[2:]), b * np.exp(theta[2:]))
    covariance: Array = np.exp(2.0 * theta[0] - distances) * (1.0 + distances + distances**2 / 3.0)
    return covariance


def _distances(a: Array, b: Array) -> Array:
    """Return distances of scaled points times the square root of 5, as Matern 5/2 takes them."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T
    distances: Array = np.sqrt(5.0 * np.maximum(squares, 0.0))
    return distances
