"""Parametric mixing laws: mean functions with few parameters, many fitted at once.

Notation: a batch of L problems (evaluation sets, and folds of them) over the same n rows; w weights `n x d`; z a
covariate `L x n` that every law adds with its own slope b; theta the parameters `L x p`, unbounded, with independent
normal priors.
Losses are standardised (about 0 in the middle, about 1 wide), so that one prior serves every set.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEPS = 40
SETTLED = 1e-6  # of the loss: a step that gains less is the last
MISFIT = 0.12  # standardised; what a law misses by itself, beside the noise (residuals of laws on the RegMix tables)


@dataclass(frozen=True, kw_only=True)
class Law:
    """A law: `evaluate(theta, w, z)` gives values `L x n` and slopes `L x n x p`; `prior(d)` means and sds, `p`."""

    evaluate: Callable[[Array, Array, Array], tuple[Array, Array]]
    prior: Callable[[int], tuple[Array, Array]]


def power(theta: Array, w: Array, z: Array) -> tuple[Array, Array]:
    """Effective data: c + A (eps + sum_i t_i w_i^p)^-alpha + b z.

    theta = (c, b, log A, log alpha, log eps, log p, log t).
    """
    scale, alpha, epsilon, shape = (np.exp(theta[:, k, None]) for k in (2, 3, 4, 5))
    logs = np.log(np.maximum(w, 1e-9))
    parts = np.exp(theta[:, None, 6:] + shape[..., None] * logs)
    worth = epsilon + parts.sum(-1)
    term = scale * worth**-alpha
    steep = -alpha * term / worth
    bent = steep * (parts * logs).sum(-1) * shape
    fixed = [np.ones_like(term), z, term, -alpha * term * np.log(worth), steep * epsilon, bent]
    derivatives = np.concatenate([np.stack(fixed, -1), steep[..., None] * parts], axis=-1)
    return theta[:, 0, None] + theta[:, 1, None] * z + term, derivatives


def additive(theta: Array, w: Array, z: Array) -> tuple[Array, Array]:
    """Saturating benefits: phi + exp(c - sum_i a_i (1 - exp(-(rho w_i)^p))) + b z.

    theta = (phi, b, c, log rho, log p, log a): Marin's MARINER law without harm, one rho and p for all domains.
    """
    rate, shape = np.exp(theta[:, 3, None, None]), np.exp(theta[:, 4, None, None])
    logs = np.log(np.maximum(rate * w, 1e-12))
    powers = np.exp(shape * logs)
    decays = np.exp(-powers)
    worth = np.exp(theta[:, None, 5:])
    term = np.exp(np.clip(theta[:, 2, None] - (worth * (1.0 - decays)).sum(-1), -20.0, 20.0))
    slopes = worth * decays * powers * shape
    fixed = [np.ones_like(term), z, term, -term * slopes.sum(-1), -term * (slopes * logs).sum(-1)]
    derivatives = np.concatenate([np.stack(fixed, -1), -term[..., None] * worth * (1.0 - decays)], axis=-1)
    return theta[:, 0, None] + theta[:, 1, None] * z + term, derivatives


# Priors of standardised losses, by cross-validation on rows of the RegMix tables that nothing else is fitted to. Most
# domains hardly help a set, a few do: the worth of a domain is spread over decades, and small until rows say otherwise.


def _power_prior(d: int) -> tuple[Array, Array]:
    mean = np.concatenate([[-3.0, 0.0, 1.2, -0.8, -3.0, -0.4], np.full(d, -5.0)])
    return mean, np.concatenate([[1.5, 0.4, 0.7, 0.5, 1.0, 0.5], np.full(d, 3.0)])


def _additive_prior(d: int) -> tuple[Array, Array]:
    mean = np.concatenate([[-1.5, 0.0, 1.3, 0.0, -0.6], np.full(d, -4.0)])
    return mean, np.concatenate([[1.0, 0.4, 0.5, 0.7, 0.25], np.full(d, 3.0)])


def fit(
    law: Law,
    w: Array,
    z: Array,
    y: Array,
    precision: Array,
    *,
    slope: float = 0.0,
    start: Array | None = None,
    about: tuple[Array, Array] | None = None,
) -> Array:
    """Return the most probable parameters, `L x p`, of `y` `L x n` with `precision` `L x n` (0: the row is held out).

    slope: prior mean of the covariate's slope b. start: `L x p`, parameters to begin from instead of the prior means.
    about: prior means `L x p` and sds `p` in place of the law's own.
    Levenberg and Marquardt's method, every problem with its own damping; problems that have settled cost no more.
    """
    mean, sd = law.prior(w.shape[1]) if about is None else about
    if about is None:
        mean[1] = slope
    mean = np.broadcast_to(mean, (len(y), len(sd)))
    theta = (mean if start is None else start).copy()
    prior = 1.0 / sd**2
    damping = np.full(len(y), 1e-2)
    values, slopes = law.evaluate(theta, w, z)
    loss = _loss(values, y, precision, theta, mean, prior)
    left = np.arange(len(y))  # the problems that have not settled, whose values and slopes are kept
    for _ in range(STEPS):
        step = _step(
            slopes, precision[left], values - y[left], prior, prior * (theta[left] - mean[left]), damping[left]
        )
        trial = theta[left] - np.clip(step, -2.0, 2.0)
        moved_values, moved_slopes = law.evaluate(trial, w, z[left])
        moved = _loss(moved_values, y[left], precision[left], trial, mean[left], prior)
        better = moved < loss[left]
        settled = better & (loss[left] - moved < SETTLED * loss[left])
        theta[left[better]], loss[left[better]] = trial[better], moved[better]
        values = np.where(better[:, None], moved_values, values)
        slopes = np.where(better[:, None, None], moved_slopes, slopes)
        damping[left] = np.clip(np.where(better, damping[left] / 4.0, damping[left] * 6.0), 1e-8, 1e8)
        going = ~settled & (damping[left] < 1e8)
        left, values, slopes = left[going], values[going], slopes[going]
        if not len(left):
            break
    return theta


def _step(slopes: Array, precision: Array, errors: Array, prior: Array, pull: Array, damping: Array) -> Array:
    """Return the damped Gauss-Newton step of every problem, `L x p`, to be taken away."""
    weighted = slopes * precision[..., None]
    gradient = np.matmul(errors[:, None, :], weighted)[:, 0] + pull
    curvature = np.matmul(weighted.transpose(0, 2, 1), slopes) + np.diag(prior)
    diagonal = np.einsum("lpp->lp", curvature).copy()
    np.einsum("lpp->lp", curvature)[...] += damping[:, None] * diagonal
    step: Array = np.linalg.solve(curvature, gradient[..., None])[..., 0]
    return step


def _loss(values: Array, y: Array, precision: Array, theta: Array, mean: Array, prior: Array) -> Array:
    total: Array = (precision * (values - y) ** 2).sum(1) + (prior * (theta - mean) ** 2).sum(1)
    return np.where(np.isfinite(total), total, np.inf)


LAWS: Mapping[str, Law] = {
    "power": Law(evaluate=power, prior=_power_prior),
    "additive": Law(evaluate=additive, prior=_additive_prior),
}
