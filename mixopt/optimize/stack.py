"""Which members of a stack to trust: folds of mixtures, and weights from predictions of rows held out.

Weights start from the least squared error of every set. Then all sets together lean towards members, or away from
them, as far as it helps to predict the objective where it matters: `score` has error, rank, regret and optimism.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixopt.optimize.encoding import Array, Indices
from proxies.experts import nonnegative_minimum

FOLDS = 8
EVENNESS = 0.1  # of the members' mean squared error; draws their weights together where errors hardly differ

POOLED_ROWS = 32.0  # of a set, from which its own errors count as much as those of all sets together; a guess

# How shares lean by the score, by cross-validation on training rows of the RegMix tables and on simulated laws.
TOWARDS = 0.3  # of the shares goes to a member that is leant to
LEFT = 0.4  # of the share of a member that is leant away from
TEMPERATURE = 0.1  # in least scores: the mean of leanings forgets less than the best of them, which noise chooses
PICKED_OF = 8  # a pick is the best predicted of an eighth of the rows
LEAST = 16  # rows, below which nothing leans: the fewest that this was tried with


def folds(groups: NDArray[np.intp], count: int = FOLDS) -> Indices:
    """Return the fold of every row, `n`: a mixture's rows share one, and folds differ by one mixture in size."""
    _, places = np.unique(groups, return_inverse=True)
    distinct = int(places.max()) + 1
    order = np.random.default_rng(0).permutation(distinct)
    found: Indices = (order % min(count, distinct))[places]
    return found


def stack_weights(predictions: Array, y: Array, precision: Array, importance: Array) -> Array:
    """Return weights of the members in every set, `M x m`, >= 0 and summing to 1 over members.

    Those of least squared error, partly of the set and partly of all sets by `importance`, `m`, which sums to 1.
    predictions: `M x m x n`, out of fold; y and precision: `m x n`.
    """
    errors = (predictions - y) * np.sqrt(precision)
    own = np.einsum("kmn,lmn->mkl", errors, errors) / y.shape[1]
    pooled = np.einsum("m,mkl->kl", importance, own)
    trust = y.shape[1] / (y.shape[1] + POOLED_ROWS)
    return np.stack([_shares(trust * gram + (1.0 - trust) * pooled) for gram in own], axis=1)


def leant(shares: Array, predictions: Array, compose: Callable[[Array], Array], values: Array, counts: Array) -> Array:
    """Return `shares`, `M x m`, leaning towards members and away from them as the score of every leaning is low.

    predictions: `M x m x n`, out of fold, of which `compose` makes the objective from the stack's `n x m`; values: of
    the objective, `n`; counts: what a row counts in its error, `n`.
    """
    if len(values) < LEAST:
        return shares
    leanings = [shares]
    for member in np.eye(len(shares)):
        leanings.append((1.0 - TOWARDS) * shares + TOWARDS * member[:, None])
        away = shares * (1.0 - (1.0 - LEFT) * member[:, None])
        leanings.append(away / away.sum(0))
    scores = np.array([score(compose(combined(each, predictions)), values, counts) for each in leanings])
    trust = np.exp((scores.min() - scores) / (TEMPERATURE * scores.min() + 1e-12))
    mean: Array = np.tensordot(trust / trust.sum(), np.array(leanings), axes=1)
    return mean


def score(predicted: Array, values: Array, counts: Array) -> float:
    """Return how bad predictions of the objective are, `n` both, in its unit: the sum of four terms.

    Root mean square error, rows counting by `counts`; rank: what is lost by taking the better predicted of two rows;
    regret: the same of an eighth of the rows; optimism: how far that pick is worse than predicted, 0 if it is not.
    All but the first are means over all subsets of the rows, so that they are no lottery of a few rows.
    """
    n = len(values)
    order, pick = np.argsort(predicted, kind="stable"), best_of(n, max(2, n // PICKED_OF))
    lost = values[order] - np.sort(values)
    error = np.sqrt((counts * (predicted - values) ** 2).sum() / counts.sum())
    optimism = max(0.0, float(pick @ (values - predicted)[order]))
    return float(error + best_of(n, 2) @ lost + pick @ lost) + optimism


def best_of(n: int, count: int) -> Array:
    """Return the probability, `n`, that a row of each rank is the best of `count` of the `n` rows, drawn at random."""
    ranks = np.arange(n - 1)
    passed = np.maximum(n - count - ranks, 0) / (n - 1 - ranks)
    probability: Array = count / n * np.cumprod(np.concatenate([[1.0], passed]))
    return probability


def combined(shares: Array, predictions: Array) -> Array:
    """Return the mean of predictions `M x m x n` by `shares` `M x m`, as `n x m`."""
    mean: Array = np.einsum("km,kmn->nm", shares, predictions)
    return mean


def _shares(gram: Array) -> Array:
    count = len(gram)
    level = EVENNESS * np.median(np.diag(gram)) * np.eye(count)
    penalty = 1e4 * float(np.trace(gram + level)) + 1e-12
    weights = nonnegative_minimum(gram + level + penalty, np.full(count, penalty))
    shares: Array = weights / weights.sum()
    return shares
