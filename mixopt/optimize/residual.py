"""What the stack misses of the objective: a Gaussian process as wide as the errors of rows held out.

Its sd at a mixture is a s(u), u the predicted objective, standardised, and s(u)^2 = exp(2 b u) + (c max(u, 0))^2
(`calibration.grown`): corners are predicted worse than good mixtures. Its correlation is a Matern of one length.

Shapes: n rows, d domains.
"""

from dataclasses import dataclass

import numpy as np

from mixopt.optimize.calibration import far, grown, growth, reached
from mixopt.optimize.encoding import Array
from mixopt.optimize.members import LENGTHS, matern

PRIOR_RUNS = 3.0  # observations that a guessed size counts as
SHORT_LENGTHS = (0.1, 0.2)  # once rows can tell: what is missed of one mixture may be its own
LEAST_TOLD, LEAST_SHORT = 8, 16  # different mixtures that tell a length, and a short one
NUGGET = 1e-3  # of the variance, beside the noise, where lengths are compared


@dataclass(frozen=True, kw_only=True)
class Residual:
    """The process: a (`amplitude`, in the unit of the objective), its `length`, b (`growth`) and c (`far`)."""

    amplitude: float
    length: float
    growth: float
    far: float

    def covariance(self, points: Array, predicted: Array, others: Array, of_others: Array) -> Array:
        """Return the covariance between rows at `points`, `n x d`, and at `others`.

        predicted, of_others: the objective that is predicted of these and of those, standardised, `n`.
        """
        sd, others_sd = (self.amplitude * grown(u, self.growth, self.far) for u in (predicted, of_others))
        found: Array = np.outer(sd, others_sd) * matern(points, others, self.length)
        return found

    @classmethod
    def of(
        cls,
        missed: Array,
        predicted: Array,
        points: Array,
        *,
        noise: Array,
        explained: Array,
        guess: float,
        distinct: int,
        apart: float,
    ) -> "Residual":
        """Return the process behind what was `missed` of rows held out, `n`.

        predicted: standardised; noise, explained: variances of a row's noise, and of what the rung below leaves open
        there, `n` all. guess: the amplitude before anything was seen. distinct: how many different mixtures there are.
        apart: the spread of mixtures that are apart, standardised.
        """
        b, c = growth(predicted, missed, distinct=distinct), far(distinct) / apart
        shape = grown(predicted, b, c)
        size = float(reached((missed / shape)[None], distinct)[0]) ** 2
        left = max(size - float(np.median((noise + explained) / shape**2)), 0.0)
        amplitude = float(np.sqrt((PRIOR_RUNS * guess**2 + distinct * left) / (PRIOR_RUNS + distinct)))
        if distinct < LEAST_TOLD:
            return cls(amplitude=amplitude, length=LENGTHS[1], growth=b, far=c)
        lengths = LENGTHS if distinct < LEAST_SHORT else (*SHORT_LENGTHS, *LENGTHS)
        processes = [cls(amplitude=amplitude, length=length, growth=b, far=c) for length in lengths]
        likely = [process.likelihood(missed, points, predicted, noise) for process in processes]
        return processes[int(np.argmax(likely))]

    def likelihood(self, missed: Array, points: Array, predicted: Array, noise: Array) -> float:
        """Return twice the logarithm of that of what was `missed`, a constant aside."""
        gram = self.covariance(points, predicted, points, predicted)
        gram = gram + np.diag(noise + NUGGET * gram.diagonal())
        return -float(missed @ np.linalg.solve(gram, missed)) - float(np.linalg.slogdet(gram)[1])
