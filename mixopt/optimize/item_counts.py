"""How many answers an error is a share of, where nobody says: as many as explain what no smooth function of w does.

A share of wrong answers e has on its logit the variance 1 / (n e (1 - e)), so that the noise of a set tells n. Noise is
told from shape by the likelihood of a Gaussian process, half linear or not, at a few lengths and shares of noise,
weighed with a prior of n that is wide and about `ASSUMED`: where rows are too few to tell, that guess stays.

Shapes: n rows, d domains, m evaluation sets.
"""

from dataclasses import replace

import numpy as np

from mixopt.optimize.encoding import Array, Table
from mixopt.optimize.links import ASSUMED, Links
from mixopt.optimize.members import matern

LENGTHS = (0.2, 0.35, 0.7, 1.4)  # of the kernel, on square roots of weights
STRAIGHT = (0.0, 0.5)  # of the variance that is linear in these
NOISES = (*np.geomspace(0.002, 0.5, 12), 0.6, 0.7, 0.8, 0.9, 0.97)  # of the variance
SPREAD = 1.5  # of the prior of log n: from 50 to 20,000 items for nine tables of ten
ROWS = 128  # that are looked at, at most
LEAST = 8  # rows, below which nothing is told
SURE = 0.02  # errors below it, and right answers: their logits tell little


def with_items(table: Table, links: Links) -> Table:
    """Return the table with an estimate of `items` of the sets that are errors where there are none."""
    unknown = links.bent & ~np.isfinite(table.items).all(0)
    if not unknown.any():
        return table
    items, logits, measured = table.items.copy(), links.to(table.losses), np.isfinite(table.losses)
    chosen = np.flatnonzero(unknown)
    patterns, which = np.unique(measured[:, chosen], axis=1, return_inverse=True)
    for place, rows in enumerate(patterns.T):
        sets = chosen[which.ravel() == place]
        known = np.flatnonzero(rows)
        known = known[np.random.default_rng(0).permutation(len(known))[:ROWS]]
        at = np.ix_(known, sets)
        found = likely_items(table.inputs.coordinates[known], logits[at], table.losses[at])
        items[:, sets] = np.where(np.isfinite(items[:, sets]), items[:, sets], found)
    return replace(table, items=items)


def likely_items(coordinates: Array, logits: Array, errors: Array) -> Array:
    """Return the numbers of items of sets, `m`; coordinates: square roots of weights, `n x d`; the others `n x m`."""
    count = len(coordinates)
    if count < LEAST:
        return np.full(logits.shape[1], ASSUMED)
    shares = np.clip(errors, SURE, 1.0 - SURE)
    of_one = (1.0 / (shares * (1.0 - shares))).mean(0)
    centering = np.eye(count) - 1.0 / count
    linear = _unit(centering @ coordinates @ coordinates.T @ centering)
    y = centering @ logits
    scores, logs = [], []
    for length in LENGTHS:
        curved = _unit(centering @ matern(coordinates, coordinates, length) @ centering)
        for straight in STRAIGHT:
            values, vectors = np.linalg.eigh((1.0 - straight) * curved + straight * linear)
            squares = (vectors[:, 1:].T @ y) ** 2  # the first: the constant, which centering took away
            for noise in NOISES:
                variances = (1.0 - noise) * np.maximum(values[1:], 0.0) + noise
                total = np.maximum((squares / variances[:, None]).mean(0), 1e-12)
                logs.append(np.log(of_one / (noise * total)))
                likelihood = -0.5 * (count - 1) * np.log(total) - 0.5 * np.log(variances).sum()
                scores.append(likelihood - 0.5 * ((logs[-1] - np.log(ASSUMED)) / SPREAD) ** 2)
    weights = np.exp(np.array(scores) - np.max(scores, axis=0))
    found: Array = np.exp((weights * np.array(logs)).sum(0) / weights.sum(0))
    return found


def _unit(covariance: Array) -> Array:
    """Return a covariance whose mean variance is 1; all zeros as they are."""
    scaled: Array = covariance / max(float(np.trace(covariance)) / len(covariance), 1e-12)
    return scaled
