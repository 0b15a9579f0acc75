"""The log-linear law with shrinkage towards natural (Olmix, arXiv:2602.12237; the law from arXiv:2403.16952).

Every evaluation set j by itself is exp(c_j) + exp(A_j w), fitted with a Huber loss from many starts; the pick minimizes
the objective + 0.05 KL(w || natural) with weights of at most 4 epochs (the problem's `max_epochs`) and the space's own
limits. Everything in it is convex, so that the pick is exact.

Shapes: n observations, d domains, m evaluation sets, L = m x starts fits at once, p = 1 + d parameters (c, A).
"""

import numpy as np

from mixopt.evidence import Evidence, Strategy
from mixopt.optimize.baselines.convex import Limits, Minimum, composed, least
from mixopt.optimize.baselines.rungwise import RungwisePredictor, Trained, rungwise, swarm_rows
from mixopt.optimize.baselines.swarm import SwarmStrategy, around_natural, runs
from mixopt.optimize.design import reference
from mixopt.optimize.encoding import Array
from mixopt.problem import Problem

DELTA = 0.02  # of the Huber loss, in the unit of the losses; as released
SHRINKAGE = 0.05  # of the KL divergence; as released
FLOORS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # exp(c) of the starts, in least losses; A by least squares
CONSTANTS = np.linspace(-2.0, 1.5, 10)  # c of the random starts; with A: as released, if fewer (they take 300)
FIRST_STEPS, LAST_STEPS = 20, 300
SETTLED = 1e-7  # of its error: a fit that gains less by a step ends
KEPT = 4  # starts of each set that go on after the first steps


def law(theta: Array, weights: Array) -> Array:
    """Return exp(c) + exp(A w) of parameters `L x p`, `L x n`."""
    return np.exp(theta[:, :1]) + _grown(theta, weights)


def fit(weights: Array, losses: Array) -> Array:
    """Return the parameters of every set's law, `m x p`, from `n x d` weights and `n x m` losses."""
    starts = np.stack([_starts(weights, column, np.random.default_rng(j)) for j, column in enumerate(losses.T)])
    m, count, p = starts.shape
    targets = np.repeat(losses.T, count, axis=0)
    theta, error = _descend(starts.reshape(-1, p), weights, targets, FIRST_STEPS)
    order = error.reshape(m, count).argsort(axis=1)[:, :KEPT]
    kept = (order + count * np.arange(m)[:, None]).ravel()
    theta, error = _descend(theta[kept], weights, targets[kept], LAST_STEPS)
    best: Array = theta.reshape(m, -1, p)[np.arange(m), error.reshape(m, -1).argmin(axis=1)]
    return best


def trained(weights: Array, losses: Array) -> Trained:
    """Return the fitted law as a regressor gives it."""
    theta = fit(weights, losses)
    return Trained(predict=lambda rows: law(theta, rows).T)


def log_linear_surrogate(evidence: Evidence, problem: Problem) -> RungwisePredictor:
    """Return the law of every rung; SearchError if nothing was measured."""
    return rungwise(evidence, problem, trained)


def optimum(theta: Array, sets: tuple[str, ...], problem: Problem, *, shrinkage: float = SHRINKAGE) -> Minimum:
    """Return the least objective + `shrinkage` KL(w || natural) of the laws `theta`, `m x p`, within caps and space."""
    names = problem.space.names
    natural = np.maximum(problem.natural.array(names), 1e-9)
    available = np.array([problem.available_tokens[name] for name in names], dtype=np.float64)
    limits = Limits.of(problem.space, problem.max_epochs * available / problem.tokens)

    def value(w: Array) -> tuple[float, Array]:
        grown = np.exp(np.clip(theta[:, 1:] @ w, -40.0, 40.0))
        total, shares = composed(problem.objective, sets, np.exp(theta[:, 0]) + grown)
        logs = np.log(w / natural)
        return total + shrinkage * float(w @ logs), (shares * grown) @ theta[:, 1:] + shrinkage * (logs + 1.0)

    return least(value, limits, limits.nearest(reference(problem).array(names)))


def pick(evidence: Evidence, problem: Problem) -> Array:
    """Return the optimum of the law of the swarm's rung, `d`; SearchError if nothing was measured."""
    return optimum(fit(*swarm_rows(evidence, problem)), problem.objective.sets, problem).weights


def log_linear(problem: Problem) -> Strategy:
    """Return Olmix: a swarm at the cheapest rung, then its pick at the top."""
    return SwarmStrategy(problem=problem, pick=pick, swarm=around_natural, runs=runs(problem), method="log-linear law")


def _starts(weights: Array, y: Array, rng: np.random.Generator) -> Array:
    """Return starts, `s x p`: floors with the best A by least squares of logarithms, and random ones."""
    least_loss = max(float(y.min()), 1e-6)
    squares = []
    for floor in FLOORS:
        level = max(floor * least_loss, 1e-8)
        logs = np.log(np.maximum(y - level, 1e-3 * least_loss))
        squares.append(np.concatenate([[np.log(level)], np.linalg.lstsq(weights, logs, rcond=1e-8)[0]]))
    drawn = np.column_stack([CONSTANTS, rng.uniform(-1.0, 0.1, (len(CONSTANTS), weights.shape[1]))])
    return np.vstack([squares, drawn])


def _descend(theta: Array, weights: Array, y: Array, steps: int) -> tuple[Array, Array]:
    """Return parameters and Huber losses after Levenberg and Marquardt's steps on reweighted squares."""
    theta, damping = theta.copy(), np.full(len(theta), 1e-3)
    error = _huber(law(theta, weights) - y)
    going = np.arange(len(theta))  # fits that have not settled
    for _ in range(steps):
        trial = theta[going] - _step(theta[going], weights, y[going], damping[going])
        moved = _huber(law(trial, weights) - y[going])
        better = moved < error[going]
        little = error[going] - moved < SETTLED * error[going]
        theta[going[better]], error[going[better]] = trial[better], moved[better]
        damping[going] = np.clip(np.where(better, damping[going] / 4.0, damping[going] * 6.0), 1e-9, 1e9)
        going = going[~(better & little) & (damping[going] < 1e6)]
        if not len(going):
            break
    return theta, error


def _step(theta: Array, weights: Array, y: Array, damping: Array) -> Array:
    """Return what to take from the parameters, `L x p`; residuals above DELTA count for less, as Huber has it."""
    grown, floor = _grown(theta, weights), np.exp(theta[:, :1])
    missed = floor + grown - y
    counts = 1.0 / np.maximum(np.abs(missed) / DELTA, 1.0)
    slopes = np.concatenate([np.broadcast_to(floor[..., None], (*y.shape, 1)), grown[..., None] * weights], axis=2)
    weighted = (slopes * counts[..., None]).transpose(0, 2, 1)
    curvature, gradient = weighted @ slopes, weighted @ missed[..., None]
    diagonal = np.einsum("lpp->lp", curvature)
    diagonal += damping[:, None] * (diagonal + 1e-6 * diagonal.max(axis=1, keepdims=True) + 1e-12)
    return np.clip(np.linalg.solve(curvature, gradient)[..., 0], -2.0, 2.0)


def _grown(theta: Array, weights: Array) -> Array:
    """Return exp(A w), `L x n`."""
    values: Array = np.exp(np.clip(theta[:, 1:] @ weights.T, -40.0, 40.0))
    return values


def _huber(missed: Array) -> Array:
    size = np.abs(missed)
    total: Array = np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)).sum(axis=1)
    return total
