"""Which members of a stack to trust: folds of mixtures, and weights from predictions of rows held out."""

import numpy as np
from numpy.typing import NDArray

from mixopt.optimize.encoding import Array, Indices
from proxies.experts import nonnegative_minimum

FOLDS = 8
EVENNESS = 0.1  # of the members' mean squared error; draws their weights together where errors hardly differ

POOLED_ROWS = 32.0  # of a set, from which its own errors count as much as those of all sets together; a guess


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
