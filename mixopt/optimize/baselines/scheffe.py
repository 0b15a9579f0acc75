"""Scheffe's second-order mixture polynomial with the lasso (arXiv:2608.23922), a model a set.

y = sum_i beta_i w_i + sum_(i<j) beta_ij w_i w_j; the penalty is chosen by cross-validation. Since weights sum to one,
an intercept and penalised linear terms are the same family. The swarm begins with the support of optimal designs:
corners and half-and-half mixtures; the rest are random ones around natural.

Shapes: n observations, d domains, m evaluation sets, t = d + d (d - 1) / 2 terms.
"""

import numpy as np
from sklearn.linear_model import lasso_path

from mixopt.evidence import Evidence, Proposal, Strategy
from mixopt.mixture import Mixture
from mixopt.optimize import candidates
from mixopt.optimize.baselines.rungwise import RungwisePredictor, Trained, rungwise, swarm_rows
from mixopt.optimize.baselines.swarm import SwarmStrategy, around_natural, cloud, runs
from mixopt.optimize.encoding import Array, Indices, groups
from mixopt.optimize.stack import folds
from mixopt.optimize.trials import search_trial
from mixopt.problem import Problem

FOLDS = 5
PENALTIES = np.logspace(0.0, -3.0, 40)  # of the least that leaves no term
ITERATIONS, TOLERANCE = 20_000, 1e-3
CANDIDATES, POLISHED, ROUNDS = 4_000, 3, 12
LATTICE_SHARE = 0.5  # of the swarm at most; a guess


def terms(weights: Array) -> Array:
    """Return weights and products of two of them, `n x t`."""
    first, second = np.triu_indices(weights.shape[1], k=1)
    columns: Array = np.hstack([weights, weights[:, first] * weights[:, second]])
    return columns


def train(weights: Array, losses: Array) -> Trained:
    """Return every set's polynomial with its best penalty, and what the folds said of rows left out."""
    rows = terms(weights)
    held = folds(groups(weights), FOLDS)
    fitted = [_fit(rows, column, held) for column in losses.T]
    constants = np.array([constant for constant, _, _ in fitted])
    slopes = np.stack([slope for _, slope, _ in fitted], axis=1)
    left_out = np.stack([column for _, _, column in fitted], axis=1)
    return Trained(predict=lambda at: constants + terms(at) @ slopes, left_out=left_out)


def scheffe_surrogate(evidence: Evidence, problem: Problem) -> RungwisePredictor:
    """Return the polynomials of every rung; SearchError if nothing was measured."""
    return rungwise(evidence, problem, train)


def pick(evidence: Evidence, problem: Problem) -> Array:
    """Return the best mixture that descent finds by the polynomials of the swarm's rung, `d`."""
    rng = np.random.default_rng(problem.seed)
    predict = train(*swarm_rows(evidence, problem)).predict

    def score(rows: Array) -> Array:
        return problem.objective.of_array(predict(rows), problem.objective.sets)

    rows = cloud(problem, CANDIDATES, rng)
    best = rows[np.argsort(score(rows), kind="stable")[:POLISHED]]
    found = [candidates.polish(problem.space, row, score, rounds=ROUNDS) for row in best]
    return min(found, key=lambda pair: pair[1])[0]


def lattice(problem: Problem, count: int) -> list[Mixture]:
    """Return `count` corners and half-and-half mixtures of two of them, in an order drawn from the problem's seed."""
    space = problem.space
    corners = [mixture.array(space.names) for mixture in space.corners()]
    halves = [0.5 * (a + b) for i, a in enumerate(corners) for b in corners[:i]]
    order = np.random.default_rng(problem.seed).permutation(len(halves))
    wanted = [*corners, *(halves[k] for k in order)][:count]
    return list(dict.fromkeys(space.project(row) for row in wanted))


def scheffe(problem: Problem) -> Strategy:
    """Return the designed experiment as a strategy."""
    cheap, count = problem.ladder.cheapest.name, runs(problem)
    design: tuple[Proposal, ...] = tuple(
        search_trial(mixture, cheap, 0, "Scheffe: the design's support")
        for mixture in lattice(problem, int(LATTICE_SHARE * count))
    )
    return SwarmStrategy(problem=problem, pick=pick, swarm=around_natural, runs=count, method="Scheffe", opening=design)


def _fit(rows: Array, y: Array, held: Indices) -> tuple[float, Array, Array]:
    """Return constant, slopes `t` and out-of-fold predictions `n` of one set."""
    center, width = rows.mean(axis=0), rows.std(axis=0)
    scaled = (rows - center) / np.where(width > 1e-9, width, 1.0)
    most = float(np.abs(scaled.T @ (y - y.mean())).max()) / len(y)
    if most < 1e-12 or held.max() < 1:
        return float(y.mean()), np.zeros(rows.shape[1]), np.full(len(y), y.mean())
    penalties = most * PENALTIES
    predicted = np.empty((len(y), len(penalties)))
    for fold in np.unique(held):
        kept = held != fold
        predicted[~kept] = _paths(scaled[kept], y[kept], penalties, scaled[~kept])
    best = int(((predicted - y[:, None]) ** 2).sum(axis=0).argmin())
    slopes = _path(scaled, y, penalties[: best + 1])[:, -1] / np.where(width > 1e-9, width, 1.0)
    return float(y.mean() - center @ slopes), slopes, predicted[:, best]


def _paths(rows: Array, y: Array, penalties: Array, at: Array) -> Array:
    center = rows.mean(axis=0)
    predicted: Array = y.mean() + (at - center) @ _path(rows - center, y, penalties)
    return predicted


def _path(rows: Array, y: Array, penalties: Array) -> Array:
    """Return slopes at every penalty, `t x penalties`."""
    centered = np.asfortranarray(rows - rows.mean(axis=0))
    found = lasso_path(centered, y - y.mean(), alphas=penalties, max_iter=ITERATIONS, tol=TOLERANCE)
    slopes: Array = found[1]
    return slopes
