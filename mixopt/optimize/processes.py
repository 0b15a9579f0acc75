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
ROWS = (96, 192)  # at least and at most, theta is fitted to half of the rows; the posterior takes all
STEPS = 30
MANY = 96  # rows, from which theta hardly remembers a single one: folds take that of all
FOLD_STEPS = 15  # for a fold of fewer
START = -1.5  # of t; its prior mean is a flat place, from which no step leads away
JITTER = 1e-5


def fit(
    weights: Array, y: Array, kept: NDArray[np.bool_], which: Indices, start: Array | None = None
) -> tuple[Callable[[Array, slice], Array], Array]:
    """Return the posterior mean of any mixtures' values for some of the problems, and theta, `L x (d + 2)`.

    weights: `n x d`; y: `L x n`, about 0; kept: `L x n`, False where a row is held out; start: `m x (d + 2)`, theta of
    every set to begin from. With few rows a fold has its own theta, from where no row has been seen: one that begins
    from the fit of all rows and stops early remembers those held out.
    """
    points = weights**EXPONENT
    few = np.random.default_rng(0).permutation(len(points))[: int(np.clip(len(points) // 2, *ROWS))]
    theta = np.zeros((len(y), points.shape[1] + 2))
    solved = np.zeros_like(y)
    widths = np.zeros(len(y))
    for one, whole in enumerate(wholes(kept, which)):
        known = few[kept[whole, few]]
        width = max(float(y[whole, known].std()), 1e-6)
        cold = _start(points.shape[1])
        begin = start[one] if start is not None and start.shape == (int(which.max()) + 1, len(cold)) else cold
        found = _likeliest(points[known], y[whole, known] / width, begin, STEPS)
        problems = np.flatnonzero(which == one)
        theta[problems] = found
        if len(known) < MANY:
            for place in problems[problems != whole]:
                seen = few[kept[place, few]]
                theta[place] = _likeliest(points[seen], y[place, seen] / width, cold, FOLD_STEPS)
                solved[place] = _solved(theta[place], points, y[place] / width, kept[place])
            solved[whole] = _solved(found, points, y[whole] / width, kept[whole])
        else:
            solved[problems] = _solved_alike(found, points, y[problems] / width, kept[problems])
        widths[which == one] = width

    def predict(at: Array, chosen: slice) -> Array:
        moved = at**EXPONENT
        rows = zip(theta[chosen], solved[chosen], strict=True)
        values = np.array([alpha @ _covariance(t, points, moved) for t, alpha in rows])
        scaled: Array = values * widths[chosen, None]
        return scaled

    return predict, theta


def _solved(theta: Array, points: Array, y: Array, kept: NDArray[np.bool_]) -> Array:
    """Return what the rows kept weigh in predictions, `n`; 0 for the others."""
    seen = points[kept]
    covariance = _covariance(theta, seen, seen)
    np.einsum("nn->n", covariance)[...] += np.exp(2.0 * theta[1]) + JITTER
    weights = np.zeros(len(y))
    weights[kept] = np.linalg.solve(covariance, y[kept])
    return weights


def _solved_alike(theta: Array, points: Array, y: Array, kept: NDArray[np.bool_]) -> Array:
    """Return the same of problems that share theta and differ in what they hold out, `L x n`, from one inverse."""
    covariance = _covariance(theta, points, points)
    np.einsum("nn->n", covariance)[...] += np.exp(2.0 * theta[1]) + JITTER
    inverse = np.linalg.inv(covariance)
    weights = y @ inverse
    for place, rows in enumerate(kept):
        if not rows.all():
            block = inverse[:, ~rows]
            weights[place] -= block @ np.linalg.solve(block[~rows], weights[place, ~rows])
            weights[place, ~rows] = 0.0
    return weights


def wholes(kept: NDArray[np.bool_], which: Indices) -> Indices:
    """Return the problem of every set that keeps the most rows, `m`; sets are numbered from 0."""
    counts = kept.sum(1)
    problems = [np.flatnonzero(which == one) for one in range(int(which.max()) + 1)]
    return np.array([places[int(counts[places].argmax())] for places in problems], dtype=np.intp)


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
