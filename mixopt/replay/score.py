"""How good predictions and picks are, and what many draws say of it together.

Shapes: B mixtures whose truth is known, m evaluation sets. Truth and predictions are losses: less is better.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from mixopt.optimize.encoding import Array, Indices

INTERVAL = 0.9  # of the predictive interval whose coverage is told
ALIKE = 1e-12  # of the largest magnitude: predictions that differ by less are one


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over draws and its standard error; nan where no draw, or a single one, could tell."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Return the mean of `values`; nan among them makes both nan."""
        found = np.asarray(values, dtype=np.float64)
        if not len(found):
            return cls(value=math.nan, error=math.nan)
        error = float(found.std(ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else math.nan
        return cls(value=float(found.mean()), error=error)


@dataclass(frozen=True, kw_only=True)
class Pick:
    """What shipping a mixture costs: its loss above the best, that in interquartile ranges, and its rank from 1."""

    regret: float
    regret_iqr: float
    rank: float


def rank_correlation(predicted: Array, truth: Array) -> float:
    """Return Spearman's rho of two columns, `B`; 0 where either is constant, which ranks nothing."""
    if _constant(predicted) or _constant(truth):
        return 0.0
    ranks = np.stack([rankdata(predicted), rankdata(truth)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    return float(ranks[0] @ ranks[1] / np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1])))


def root_mean_square_error(predicted: Array, truth: Array) -> float:
    """Return the root mean square error, in the unit of the losses."""
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def coverage(mean: Array, sd: Array, truth: Array) -> float:
    """Return the share of measured values inside the central 90 % interval, any shape; nan where no sd is known."""
    known = np.isfinite(truth) & np.isfinite(mean) & np.isfinite(sd)
    if not known.any():
        return math.nan
    reach = norm.ppf(0.5 + INTERVAL / 2.0) * sd[known]
    return float(np.mean(np.abs(truth[known] - mean[known]) <= reach))


def least(scores: Array) -> Indices:
    """Return the places of the least score, all of them where several share it; infinite scores are no choice."""
    found = float(scores.min())
    if not math.isfinite(found):
        return np.arange(len(scores))
    slack = ALIKE * float(np.abs(scores[np.isfinite(scores)]).max())
    return np.flatnonzero(scores <= found + slack)


def score_pick(picked: Indices, truth: Array) -> Pick:
    """Return what shipping one of `picked` costs; where several are equally good by the chooser's lights, the mean.

    Rank 1 is the best of `truth` (`B`); equal truths share the best rank that one of them has.
    """
    regret = float(np.mean(truth[picked]) - truth.min())
    low, high = np.quantile(truth, [0.25, 0.75])
    ranks = rankdata(truth, method="min")
    width = float(high - low)
    return Pick(
        regret=regret,
        regret_iqr=regret / width if width > 0.0 else (0.0 if regret == 0.0 else math.nan),
        rank=float(ranks[picked].mean()),
    )


def plain(value: float) -> float | None:
    """Return a number as JSON holds it: null for nan."""
    return None if math.isnan(value) else value


def _constant(values: Array) -> bool:
    return float(np.ptp(values)) <= ALIKE * float(np.abs(values).max())
