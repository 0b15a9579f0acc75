"""The last word among measured neighbours of a pick: what trials showed of them beyond the model, smoothed locally.

Far apart, the model orders mixtures; within a few percent of each other it hardly does, and what was measured does
(a kernel over measured mixtures of total-variation width .05 ordered 79 % of close pairs of a public swarm of 280 runs,
models about half). So where the neighbours of a pick scatter about the model by more than their noise explains, that
scatter is taken for a field of its own: its variance by moments, drawn to none as rows are few, its covariance the
kernel's. It moves a mixture's score by what it is expected to be there; where nothing was measured it stays in doubt,
which is the margin that a mixture never measured must have. Without such scatter the pick stands: on smooth simulated
laws what the model finds best of the measured lies up to .9e-3 bits per byte above its pick.

Shapes: k measured neighbours, d domains.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from mixopt.optimize.encoding import Array

WIDTH = 0.05  # total variation, of the kernel: exponential, since Gaussian ones of it are not positive definite
NEAR = 0.1  # total variation from the pick, at most, of a neighbour
MOST = 20  # neighbours: those that the model finds best
LEAST = 4  # of them, below which the pick stands
PRIOR_ROWS = 3.0  # neighbours that showed no scatter; a guess
LEAST_NOISE = 1e-9  # bits per byte: what is known exactly divides by nothing
SURE = 0.95  # that noise alone would scatter less, before scatter is believed


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Mixtures trained at one rung, `weights` `k x d`, and what is known of each, `k`.

    scores: the model's, least is best; missed: mean loss above the model's mean; counts: of trainings.
    noise_sd: of one training.
    """

    weights: Array
    scores: Array
    missed: Array
    counts: Array
    noise_sd: float

    def near(self, pick: Array) -> "Measured":
        """Return the neighbours of `pick` (`d`): at most so many, those of the least scores."""
        close = np.flatnonzero(_apart(self.weights, pick[None])[:, 0] <= NEAR)
        kept = close[np.argsort(self.scores[close], kind="stable")[:MOST]]
        return Measured(
            weights=self.weights[kept],
            scores=self.scores[kept],
            missed=self.missed[kept],
            counts=self.counts[kept],
            noise_sd=self.noise_sd,
        )

    @property
    def scatter(self) -> float:
        """The variance of losses about the model that noise does not explain; 0 where chance may well explain it."""
        count = len(self.missed)
        variances = max(self.noise_sd, LEAST_NOISE) ** 2 / self.counts
        if float((self.missed**2 / variances).sum()) <= float(chi2.ppf(SURE, max(count, 1))):
            return 0.0
        left = float(np.mean(self.missed**2 - variances))
        return max(left, 0.0) * count / (count + PRIOR_ROWS)


def settled(pick: Array, score: float, measured: Measured, *, caution: float) -> Array:
    """Return the pick (`d`), whose score by the model is `score`, or the measured neighbour that is better.

    caution: standard deviations of the local field that a score rises by.
    """
    known = measured.near(pick)
    variance = known.scatter
    if len(known.weights) < LEAST or variance <= 0.0:
        return pick
    points = np.vstack([known.weights, pick[None]])
    noise = np.diag(known.noise_sd**2 / known.counts + 1e-9 * variance)
    cross = variance * _kernel(points, known.weights)
    gain = np.linalg.solve(cross[:-1] + noise, cross.T).T
    left = np.sqrt(np.maximum(variance - (gain * cross).sum(1), 0.0))
    total = np.append(known.scores, score) + gain @ known.missed + caution * left
    best: Array = points[::-1][int(total[::-1].argmin())]  # the pick comes first where it is as good
    return best


def _kernel(left: Array, right: Array) -> Array:
    shared: Array = np.exp(-_apart(left, right) / WIDTH)
    return shared


def _apart(left: Array, right: Array) -> Array:
    """Return total variations, `len(left) x len(right)`."""
    distances: Array = 0.5 * np.abs(left[:, None] - right[None]).sum(2)
    return distances
