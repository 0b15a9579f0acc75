"""Which members of a stack to trust: folds of mixtures, and weights from predictions of rows held out."""

import numpy as np
from numpy.typing import NDArray

from mixopt.optimize.encoding import Array, Indices
from proxies.experts import nonnegative_minimum

FOLDS = 8
EVENNESS = 0.1  # of the members' mean squared error; draws their weights together where errors hardly differ


def folds(groups: NDArray[np.intp], count: int = FOLDS) -> Indices:
    """Return the fold of every row, `n`: a mixture's rows share one, and folds differ by one mixture in size."""
    _, places = np.unique(groups, return_inverse=True)
    distinct = int(places.max()) + 1
    order = np.random.default_rng(0).permutation(distinct)
    found: Indices = (order % min(count, distinct))[places]
    return found


def stack_weights(predictions: Array, y: Array, precision: Array) -> Array:
    """Return weights of the members, `M`, >= 0 and summing to 1, with the least squared error of their mean.

    predictions: `M x m x n`, out of fold; y and precision: `m x n`.
    """
    count = len(predictions)
    errors = ((predictions - y) * np.sqrt(precision)).reshape(count, -1)
    gram = errors @ errors.T / errors.shape[1]
    gram += EVENNESS * np.median(np.diag(gram)) * np.eye(count)
    penalty = 1e4 * float(np.trace(gram)) + 1e-12
    weights = nonnegative_minimum(gram + penalty, np.full(count, penalty))
    shares: Array = weights / weights.sum()
    return shares
