"""MARINER as Marin froze it ("lwspu"): saturating benefit and rising harm of every domain's epochs, a law a set.

f = phi + exp(eta), eta = c - sum_i a_i b(E_i) + sum_i g_i h(E_i) with b(E) = 1 - exp(-(rho E)^p),
h(E) = softplus(log(1 + E) - tau)^2 and a, g >= 0, fitted by centred non-negative least squares on log(y - phi). The
floor is phi = prop - max(G (prop - min y), 3 sigma): prop is the mean of natural's repeats and sigma their standard
deviation. rho, p, tau and the ridge (on the sum of squares; columns are not scaled) are chosen by 3-fold
cross-validation at G = 2.5, then G; natural stays in every training fold.

What the procedure leaves open: without a run of natural the run nearest to it stands for it; where the table knows no
tokens of the domains, or a training too short to see any of them once, natural counts as one epoch of each.

Shapes: n observations, d domains, m evaluation sets; designs X `n x 2d`, the columns -b(E_i), then h(E_i).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar, nnls

from mixopt.optimize.encoding import SAME_WEIGHT, Array
from mixopt.problem import Problem

RATES, POWERS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0), (0.3, 0.5, 0.7, 1.0)
ONSETS, RIDGES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), (0.0, 1e-3, 0.01, 0.1, 1.0)
FOLDS = 3
FIRST_REACH, LARGEST_REACH, SOUND_REACH = 2.5, 6.0, 1.5  # G: for the shapes, at most, and where the search ends there
JITTER = 1e-9  # of the mean diagonal: keeps Cholesky's factor where the ridge is 0 and rows are few
LEAST_DEFICIT = 1e-3  # of prop - phi: log(y - phi) where y is the floor itself


def benefit(epochs: Array, rate: float, power: float) -> Array:
    """Return b(E), 0 at none and 1 at many epochs."""
    saturated: Array = -np.expm1(-((rate * epochs) ** power))
    return saturated


def harm(epochs: Array, onset: float) -> Array:
    """Return h(E), which rises from about `onset` in log(1 + E)."""
    rise: Array = np.logaddexp(0.0, np.log1p(epochs) - onset) ** 2
    return rise


def floor(prop: float, least: float, sigma: float, reach: float) -> float:
    """Return phi, the loss that no mixture gets below."""
    return prop - max(reach * (prop - least), 3.0 * sigma)


def epochs_of_one(problem: Problem) -> Array:
    """Return how often each domain is seen at weight 1, `d`."""
    available = np.array([problem.available_tokens[name] for name in problem.space.names], dtype=np.float64)
    passes: Array = problem.tokens / available
    return passes if passes.max() >= 1.0 else available.sum() / available


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the domains share: rho, p, tau."""

    rate: float
    power: float
    onset: float

    def design(self, epochs: Array) -> Array:
        """Return the columns, `n x 2d`."""
        columns: Array = np.hstack([-benefit(epochs, self.rate, self.power), harm(epochs, self.onset)])
        return columns

    def slopes(self, epochs: Array) -> Array:
        """Return the derivatives of the columns in the epochs, `n x 2d`."""
        grown = (self.rate * epochs) ** self.power
        falling = -np.exp(-grown) * self.power * grown / epochs
        above = np.log1p(epochs) - self.onset
        rising = 2.0 * np.logaddexp(0.0, above) / (1.0 + np.exp(-above)) / (1.0 + epochs)
        columns: Array = np.hstack([falling, rising])
        return columns


@dataclass(frozen=True, kw_only=True)
class Law:
    """One set's law: theta `2d` holds a, then g."""

    shape: Shape
    ridge: float
    phi: float
    constant: float
    theta: Array

    def predict(self, epochs: Array) -> Array:
        """Return f, `n`, of epochs `n x d`."""
        return deficit_to_loss(self.constant + self.shape.design(epochs) @ self.theta, self.phi)

    def slope(self, epochs: Array) -> Array:
        """Return the derivative of f in the epochs, `d`, at one row `d`."""
        d = len(epochs)
        pulled = self.shape.slopes(epochs[None])[0] * self.theta
        grown = self.predict(epochs[None])[0] - self.phi
        slope: Array = grown * (pulled[:d] + pulled[d:])
        return slope


def deficit_to_loss(eta: Array, phi: float | Array) -> Array:
    """Return phi + exp(eta)."""
    losses: Array = phi + np.exp(np.clip(eta, -40.0, 40.0))
    return losses


def fit(weights: Array, losses: Array, natural: Array, passes: Array) -> tuple[list[Law], Array]:
    """Return every set's law, and what the folds said of rows left out, `n x m` (of natural's rows: the law itself)."""
    epochs, pinned = weights * passes, _pinned(weights, natural)
    folds = _folds(pinned)
    props, least = losses[pinned].mean(axis=0), losses.min(axis=0)
    sigmas = losses[pinned].std(axis=0, ddof=1) if pinned.sum() > 1 else np.zeros(losses.shape[1])
    first = np.array([_floor(*one, FIRST_REACH) for one in zip(props, least, sigmas, strict=True)])
    laws, left_out = [], np.empty_like(losses)
    for j, (shape, ridge) in enumerate(_shapes(epochs, losses, first, folds)):
        design, y = shape.design(epochs), losses[:, j]
        terms = float(props[j]), float(least[j]), float(sigmas[j])
        phi = _floor(*terms, _reach(design, y, terms, ridge, folds))
        constant, theta = _solve(design, _deficit(y[:, None], phi), ridge)
        laws.append(Law(shape=shape, ridge=ridge, phi=phi, constant=float(constant[0]), theta=theta[:, 0]))
        left_out[:, j] = laws[-1].predict(epochs)
        for kept, held in folds:
            left_out[held, j] = _held_out(design, y[:, None], np.array([phi]), ridge, kept, held)[:, 0]
    return laws, left_out


def _pinned(weights: Array, natural: Array) -> NDArray[np.bool_]:
    """Return which rows are natural's, or else nearest to it, `n`."""
    distances = np.abs(weights - natural).sum(axis=1)
    found: NDArray[np.bool_] = distances <= max(float(distances.min()), 10 * SAME_WEIGHT)
    return found


def _folds(pinned: NDArray[np.bool_]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return (kept, held out) rows of every fold."""
    rows = np.flatnonzero(~pinned)
    fold = np.full(len(pinned), -1)
    fold[np.random.default_rng(0).permutation(rows)] = np.arange(len(rows)) % FOLDS
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(min(FOLDS, len(rows)))]


def _floor(prop: float, least: float, sigma: float, reach: float) -> float:
    """Return phi below every loss, even where natural is the best of all and was run once."""
    phi = floor(prop, least, sigma, reach)
    return min(phi, least - 1e-3 * max(abs(least), 1e-3)) if phi >= least and reach > 1.0 else min(phi, least)


def _shapes(
    epochs: Array, losses: Array, phi: Array, folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
) -> Iterator[tuple[Shape, float]]:
    """Return the shape and ridge of every set with the least error of rows left out."""
    best = np.full(losses.shape[1], np.inf)
    chosen: list[tuple[Shape, float]] = [(Shape(rate=0.5, power=0.5, onset=2.0), RIDGES[-1])] * losses.shape[1]
    for rate, power, onset in product(RATES, POWERS, ONSETS) if len(folds) == FOLDS else ():
        shape = Shape(rate=rate, power=power, onset=onset)
        design = shape.design(epochs)
        squares = np.zeros((len(RIDGES), losses.shape[1]))
        for kept, held in folds:
            center, factors = _factors(design[kept])
            for k, (ridge, factor) in enumerate(zip(RIDGES, factors, strict=True)):
                del ridge
                constant, theta = _solved(design[kept], _deficit(losses[kept], phi), center, factor)
                predicted = deficit_to_loss(constant + design[held] @ theta, phi)
                squares[k] += ((predicted - losses[held]) ** 2).sum(axis=0)
        for j in np.flatnonzero(squares.min(axis=0) < best):
            best[j] = squares[:, j].min()
            chosen[j] = shape, RIDGES[int(squares[:, j].argmin())]
    return iter(chosen)


def _reach(
    design: Array,
    y: Array,
    terms: tuple[float, float, float],
    ridge: float,
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> float:
    """Return G with the least error of rows left out; one near the upper end is not believed."""
    if len(folds) < FOLDS:
        return SOUND_REACH

    def error(log_reach: float) -> float:
        phi = np.array([_floor(*terms, float(np.exp(log_reach)))])
        missed = [_held_out(design, y[:, None], phi, ridge, kept, held)[:, 0] - y[held] for kept, held in folds]
        return float(np.mean(np.concatenate(missed) ** 2))

    found = minimize_scalar(error, bounds=(0.0, np.log(LARGEST_REACH)), method="bounded", options={"xatol": 1e-2})
    reach = float(np.exp(found.x))
    return SOUND_REACH if reach > 0.9 * LARGEST_REACH else reach


def _held_out(
    design: Array, y: Array, phi: Array, ridge: float, kept: NDArray[np.intp], held: NDArray[np.intp]
) -> Array:
    constant, theta = _solve(design[kept], _deficit(y[kept], phi), ridge)
    return deficit_to_loss(constant + design[held] @ theta, phi)


def _deficit(y: Array, phi: float | Array) -> Array:
    """Return log(y - phi), kept finite."""
    gap = y - phi
    logs: Array = np.log(np.maximum(gap, np.maximum(LEAST_DEFICIT * gap.mean(axis=0), 1e-12)))
    return logs


def _solve(design: Array, targets: Array, ridge: float) -> tuple[Array, Array]:
    """Return constants, `m`, and theta >= 0, `2d x m`, of one ridge."""
    center, factors = _factors(design, (ridge,))
    return _solved(design, targets, center, factors[0])


def _factors(design: Array, ridges: tuple[float, ...] = RIDGES) -> tuple[Array, list[Array]]:
    """Return column means, and Cholesky's lower factor of the centred Gram matrix with every ridge."""
    center = design.mean(axis=0)
    gram = (design - center).T @ (design - center)
    least = JITTER * float(np.trace(gram)) / len(gram) + 1e-12
    return center, [np.linalg.cholesky(gram + (ridge + least) * np.eye(len(gram))) for ridge in ridges]


def _solved(design: Array, targets: Array, center: Array, factor: Array) -> tuple[Array, Array]:
    """Return constants and theta: non-negative least squares on the factor in place of the rows."""
    middle = targets.mean(axis=0)
    right = solve_triangular(factor, (design - center).T @ (targets - middle), lower=True)
    theta = np.stack([nnls(factor.T, column, maxiter=50 * len(factor))[0] for column in right.T], axis=1)
    return middle - center @ theta, theta
