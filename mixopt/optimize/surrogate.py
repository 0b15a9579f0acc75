"""The multi-fidelity model of every evaluation set, once fitted (`fitting.py`): what it predicts of mixtures.

Each rung is modelled set by set as a stack of members (`members.py`) weighed by cross-validation; the prediction of
the rung below is a covariate of the next. The objective is composed from the sets' predictions. What the stack misses
of the objective is a Gaussian process whose size comes from out-of-fold residuals, so that it is honest about the
misfit of laws (`residual.py`), and joins the rungs (`conditioning.py`).

Shapes: n observations at a rung, d domains, m evaluation sets, B mixtures, R rungs, M members.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixopt.evidence import LastFit
from mixopt.objective import Objective
from mixopt.optimize.calibration import Errors
from mixopt.optimize.composition import expected
from mixopt.optimize.conditioning import At, Conditioned, Told
from mixopt.optimize.encoding import Encoding, Inputs, Table
from mixopt.optimize.members import Features
from mixopt.optimize.residual import Residual
from mixopt.optimize.scale import Scale, features_of
from mixopt.optimize.stack import combined

Array = NDArray[np.float64]

OfRows = Callable[[Features], Array]  # a member fitted to every set, `m x B`

JITTER = 1e-6  # of the residual's variance, on top of noise


@dataclass(frozen=True, kw_only=True)
class RungFit:
    """The model of one rung.

    members: names, and their `shares` in the stack of every set, `M x m`; fitted: each on all rows; parameters: of
    each, `m x p`, from which the next fit starts.
    scale: as rows were standardised.
    out_of_fold: residuals of the objective, `n`, nan where none could be had; rmse, per set, `m`.
    noise_sd: of the objective, seed to seed; sets_noise: of every set, on the scale of its link, `m`. residual: the
    process of what is missed of the objective; slope: b_r of the rung below.
    lower: the sets as the rung below predicts them at the rows, `n x m`; None at the first rung.
    errors: covariance over sets of what the members miss out of fold, `m x m`, and sets_left: what they leave of the
    rows, `n x m`, both on the scales of the links.
    doubt: sds of sets, mixture by mixture, noise included, standardised.
    fallback: why a simpler model than wanted stands here, or None.
    """

    name: str
    table: Table
    scale: Scale
    members: tuple[str, ...]
    shares: Array
    fitted: tuple[OfRows, ...]
    parameters: Mapping[str, Array]
    out_of_fold: Array
    rmse: Array
    doubt: Errors
    noise_sd: float
    sets_noise: Array
    row_noise: Array
    residual: Residual
    slope: float
    left: Array
    lower: Array | None
    errors: Array
    sets_left: Array
    fallback: str | None


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The rungs that have observations, cheap to expensive; what lies above them is predicted by the last."""

    encoding: Encoding
    objective: Objective
    rungs: tuple[RungFit, ...]

    def sets(self, inputs: Inputs) -> list[Array]:
        """Return the predicted losses and errors at every rung, `R` arrays `B x m`."""
        return [self.encoding.links.back(values) for values in self.linked(inputs)]

    def sets_sd(self, inputs: Inputs) -> list[Array]:
        """Return the sds of what trials would show of every set, noise included, at every rung, `R` arrays `B x m`."""
        deviations = []
        lowers = [None, *self.linked(inputs)]
        for rung, lower in zip(self.rungs, lowers, strict=False):
            features = features_of(inputs, lower, rung.scale, rung.table.passes)
            predicted, spread = spread_of(rung.shares, _members(rung, features))
            linked = predicted.T * rung.scale.linked_width + rung.scale.center
            slopes = self.encoding.links.slope(linked)
            deviations.append(rung.doubt.sd(predicted, spread).T * rung.scale.linked_width * slopes)
        return deviations

    def linked(self, inputs: Inputs) -> list[Array]:
        """Return the predictions at every rung on the scales of `links`, `R` arrays `B x m`."""
        predictions: list[Array] = []
        for rung in self.rungs:
            lower = predictions[-1] if predictions else None
            predictions.append(_stacked(rung, features_of(inputs, lower, rung.scale, rung.table.passes)))
        return predictions

    def means(self, inputs: Inputs) -> Array:
        """Return the predicted objective at every rung, `R x B`, the residual processes included."""
        return self.posterior(inputs)[0]

    def covariances(self, inputs: Inputs) -> Array:
        """Return the covariance of the objective among mixtures at every rung, `R x B x B`."""
        joint, count = self.posterior(inputs)[1], len(inputs)
        return np.array([joint[k : k + count, k : k + count] for k in range(0, len(joint), count)])

    def posterior(self, inputs: Inputs) -> tuple[Array, Array]:
        """Return means, `R x B`, and the covariance of all rungs and mixtures, `R B x R B`, rung by rung."""
        losses = self._expected(inputs)
        mean, joint = self._conditioned.posterior(At(points=inputs.coordinates, predicted=self._standardised(losses)))
        return losses + mean, joint

    def _expected(self, inputs: Inputs) -> Array:
        """Return the objective that the members alone predict at every rung, `R x B`."""
        pairs = zip(self.rungs, self.linked(inputs), strict=True)
        return np.array([expected(self.objective, self.encoding.sets, values, rung.errors) for rung, values in pairs])

    def _standardised(self, losses: Array) -> Array:
        center = np.array([[rung.scale.objective_center] for rung in self.rungs])
        result: Array = (losses - center) / np.array([[rung.scale.objective_width] for rung in self.rungs])
        return result

    @cached_property
    def _conditioned(self) -> Conditioned:
        """The residual processes, given all rows."""
        tables = [rung.table for rung in self.rungs]
        ends = np.cumsum([0, *(len(table.inputs) for table in tables)])
        told = [
            Told(
                residual=rung.residual,
                slope=rung.slope,
                own=slice(start, end),
                left=rung.left,
                noise=rung.row_noise + JITTER * rung.residual.amplitude**2,
            )
            for rung, start, end in zip(self.rungs, ends, ends[1:], strict=False)
        ]
        losses = np.hstack([self._expected(table.inputs) for table in tables])
        points = np.vstack([table.inputs.coordinates for table in tables])
        return Conditioned.on(told, At(points=points, predicted=self._standardised(losses)))

    @property
    def parameters(self) -> LastFit:
        """What the members have found, rung by rung: the next evidence's `last_fit`."""
        return {rung.name: rung.parameters for rung in self.rungs}

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Why simpler models stand in, a sentence each."""
        return tuple(rung.fallback for rung in self.rungs if rung.fallback is not None)


def _stacked(rung: "RungFit", features: Features) -> Array:
    losses = combined(rung.shares, _members(rung, features))
    scaled: Array = losses * rung.scale.linked_width + rung.scale.center
    return scaled


def _members(rung: "RungFit", features: Features) -> Array:
    return np.stack([member(features) for member in rung.fitted])


def spread_of(shares: Array, predictions: Array) -> tuple[Array, Array]:
    """Return the stack's predictions and how far its members are apart by their shares, `m x B` both."""
    middle = combined(shares, predictions).T
    return middle, np.sqrt(np.einsum("km,kmn->mn", shares, (predictions - middle) ** 2))
