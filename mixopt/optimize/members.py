"""The models that a rung's surrogate is stacked from; each fits many problems (evaluation sets, folds of them) at once.

Notation: L problems over the same n rows; problem l belongs to set `which[l]`; `precision` `L x n` is what a row counts
(0: held out). A row's features: weights `n x d`, their square roots, and k covariates of every set `m x n x k`: the
prediction of the rung below first where there is one, then the ensemble's loss. All standardised.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mixopt.optimize import epoch_laws, processes, scale_law
from mixopt.optimize.epoch_laws import EPOCHS
from mixopt.optimize.laws import LAWS, Law, fit

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

LENGTHS = (0.35, 0.7, 1.4)  # of the kernel, on square roots of weights, whose largest distance is sqrt(2)
FLOOR = 1.0  # how far below the least loss, standardised, logarithms of losses begin
ALL = slice(None)
ABOVE = 32  # mixtures of a rung from which it knows better than the law of the rung below; RegMix's 60M rows
CARRIED = 0.5  # of what a law misses of the rung below: the other half is of that rung, or chance
AMPLITUDE = 0.7  # of the kernel, standardised: what is left once the covariates are known


@dataclass(frozen=True, kw_only=True)
class Features:
    """Rows as members see them.

    slopes: prior mean of every covariate's slope, `k`. inherited: parameters of laws at the rung below, `m x p` each.
    passes: epochs of a domain that has all the weight, `d`; None where nobody knows.
    """

    weights: Array
    covariates: Array
    slopes: Array
    inherited: Mapping[str, Array] = field(default_factory=dict)
    passes: Array | None = None

    @property
    def coordinates(self) -> Array:
        """Square roots of the weights, `n x d`."""
        return np.sqrt(self.weights)

    def rows(self, places: Indices) -> "Features":
        """Return the features of some rows."""
        return replace(self, weights=self.weights[places], covariates=self.covariates[:, places])


Predicting = Callable[[Features, slice], Array]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A member fitted: `predict` values of some of the problems; `theta` `L x p`, a start for the next fit of it."""

    predict: Predicting
    theta: Array


Member = Callable[[Features, Array, Array, Indices, Array | None], Fitted]  # the last: where to start, `m x p`


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A member, the numbers of different mixtures that it is trusted with, and what it needs of the rung below.

    least_above, most_above: those numbers where the rung below hands up a law, None as elsewhere. inherits: that law.
    passes: whether it is for rungs whose epochs are known, or unknown; None for both. law: whether it is a mixing law.
    """

    member: Member
    least: int
    most: float = np.inf
    needs_covariate: bool = False
    least_above: int | None = None
    most_above: float | None = None
    inherits: str | None = None
    law: bool = False
    passes: bool | None = None


def constant(_features: Features, y: Array, precision: Array, _which: Indices, _start: Array | None) -> Fitted:
    """The weighted mean."""
    level = (precision * y).sum(1) / precision.sum(1)
    return _exact(lambda at, chosen: np.tile(level[chosen, None], (1, len(at.weights))), len(y))


def affine(features: Features, y: Array, precision: Array, which: Indices, _start: Array | None) -> Fitted:
    """Affine in the covariates, slopes drawn towards their prior means."""
    return _exact(_linear(features, y, precision, which, with_weights=0.0), len(y))


def ridge(features: Features, y: Array, precision: Array, which: Indices, _start: Array | None) -> Fitted:
    """Linear in the square roots of the weights and the covariates."""
    return _exact(_linear(features, y, precision, which, with_weights=1.0), len(y))


def gaussian(features: Features, y: Array, precision: Array, which: Indices, _start: Array | None) -> Fitted:
    """A Gaussian process around the affine member: Matern 5/2 on square roots, the likeliest of three lengths."""
    mean = _linear(features, y, precision, which, with_weights=0.0)
    residual = y - mean(features, ALL)
    variance = np.where(precision > 0.0, 1.0 / np.maximum(precision, 1e-12), 1e6)
    best, likelihood = LENGTHS[1], -np.inf
    for length in LENGTHS:
        covariance = AMPLITUDE**2 * matern(features.coordinates, features.coordinates, length) + _diagonal(variance)
        _, logdet = np.linalg.slogdet(covariance)
        solved = np.linalg.solve(covariance, residual[..., None])[..., 0]
        value = -0.5 * float((residual * solved * (precision > 0.0)).sum() + logdet.sum())
        if value > likelihood:
            best, likelihood, alpha = length, value, solved
    return _exact(
        lambda at, chosen: (
            mean(at, chosen) + AMPLITUDE**2 * alpha[chosen] @ matern(features.coordinates, at.coordinates, best)
        ),
        len(y),
    )


def anisotropic(features: Features, y: Array, precision: Array, which: Indices, start: Array | None) -> Fitted:
    """A process in the logarithm of the loss, every domain of its own length, around the affine member or constant."""
    covariates = features.covariates.shape[2]
    mean = affine if covariates else constant
    base = mean(features, y, precision, which, None).predict
    floor = y.min(1) - FLOOR

    def logs(values: Array, chosen: slice) -> Array:
        shifted: Array = np.log(np.maximum(values - floor[chosen, None], 0.2 * FLOOR))
        return shifted

    left = logs(y, ALL) - logs(base(features, ALL), ALL)
    fitted, theta = processes.fit(features.weights, left, precision > 0.0, which, start)
    return Fitted(
        predict=lambda at, chosen: (
            np.exp(np.minimum(logs(base(at, chosen), chosen) + fitted(at.weights, chosen), 5.0)) + floor[chosen, None]
        ),
        theta=theta,
    )


def matern(a: Array, b: Array, length: float) -> Array:
    """Return the Matern 5/2 kernel of rows `a` and `b`, `len(a) x len(b)`, 1 at distance 0."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T
    scaled = np.sqrt(5.0 * np.maximum(squares, 0.0)) / length
    kernel: Array = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return kernel


def _exact(predict: Predicting, count: int) -> Fitted:
    """A member that is solved in one step, from nowhere: no start helps it."""
    return Fitted(predict=predict, theta=np.zeros((count, 0)))


def _law(law: Law) -> Member:
    def member(features: Features, y: Array, precision: Array, which: Indices, start: Array | None) -> Fitted:
        theta = _likeliest(law, features.weights, np.zeros_like(y), y, precision, which, 0.0, start)
        return Fitted(
            predict=lambda at, chosen: law.evaluate(
                theta[chosen], at.weights, np.zeros((len(theta[chosen]), len(at.weights)))
            )[0],
            theta=theta,
        )

    return member


def _epochs(features: Features, y: Array, precision: Array, which: Indices, start: Array | None) -> Fitted:
    """The additive law in epochs, with harm."""
    theta = _likeliest(EPOCHS, _seen("epochs", features), np.zeros_like(y), y, precision, which, 0.0, start)
    return _of_law("epochs", theta)


def _drifted(name: str) -> Member:
    """The law of the rung below, its parameters drawn towards what they are there.

    Half of what that law misses of the rung below, where more rows and other members correct it, is carried along.
    """

    def member(features: Features, y: Array, precision: Array, which: Indices, start: Array | None) -> Fitted:
        mean, wholes = features.inherited[name], processes.wholes(precision > 0.0, which)
        begin = start if start is not None and start.shape == mean.shape else None
        law, x = scale_law.RISING[name], _seen(name, features)

        def missed(at: Features, problems: Indices) -> Array:
            rows = _seen(name, at)
            below: Array = law.evaluate(mean[problems], rows, np.zeros((len(problems), len(rows))))[0]
            carried: Array = CARRIED * (at.covariates[problems, :, 0] - below)
            return carried

        left = y - missed(features, which)
        first = scale_law.drifted(name, mean, x, left[wholes], precision[wholes], start=begin)
        theta, others = first[which], np.setdiff1d(np.arange(len(y)), wholes)
        theta[others] = scale_law.drifted(
            name, mean[which[others]], x, left[others], precision[others], start=theta[others]
        )
        drifted = _of_law(name, theta)
        return replace(drifted, predict=lambda at, chosen: drifted.predict(at, chosen) + missed(at, which[chosen]))

    return member


def _of_law(name: str, theta: Array) -> Fitted:
    law = scale_law.RISING[name]
    return Fitted(
        predict=lambda at, chosen: law.evaluate(
            theta[chosen], _seen(name, at), np.zeros((len(theta[chosen]), len(at.weights)))
        )[0],
        theta=theta,
    )


def _seen(name: str, features: Features) -> Array:
    """Return rows as the law sees them: weights, or epochs."""
    if name != "epochs":
        return features.weights
    assert features.passes is not None, "trusted only where epochs are known"
    return epoch_laws.rows(features.weights, features.passes)


def _law_and_covariate(law: Law) -> Member:
    """The law, and a slope on the first covariate."""

    def member(features: Features, y: Array, precision: Array, which: Indices, start: Array | None) -> Fitted:
        covariate, slope = features.covariates[which, :, 0], float(features.slopes[0])
        theta = _likeliest(law, features.weights, covariate, y, precision, which, slope, start)
        return Fitted(
            predict=lambda at, chosen: law.evaluate(theta[chosen], at.weights, at.covariates[which[chosen], :, 0])[0],
            theta=theta,
        )

    return member


def _likeliest(
    law: Law, w: Array, z: Array, y: Array, precision: Array, which: Indices, slope: float, start: Array | None
) -> Array:
    """Return theta, `L x p`: first of every set with the most rows, from there of its other problems."""
    wholes = processes.wholes(precision > 0.0, which)
    begin = start if start is not None and start.shape == (len(wholes), len(law.prior(w.shape[1])[0])) else None
    first = fit(law, w, z[wholes], y[wholes], precision[wholes], slope=slope, start=begin)
    theta = first[which]
    others = np.setdiff1d(np.arange(len(y)), wholes)
    theta[others] = fit(law, w, z[others], y[others], precision[others], slope=slope, start=theta[others])
    return theta


def _linear(features: Features, y: Array, precision: Array, which: Indices, *, with_weights: float) -> Predicting:
    d, k = features.weights.shape[1], features.covariates.shape[2]
    columns = d if with_weights else 0
    mean = np.concatenate([[0.0], features.slopes, np.zeros(columns)])
    sd = np.concatenate([[3.0], np.full(k, 0.4), np.full(columns, 1.5)])

    def design(at: Features, chosen: slice) -> Array:
        problems = which[chosen]
        parts = [np.ones((len(problems), len(at.weights), 1)), at.covariates[problems]]
        if columns:
            parts.append(np.tile(at.coordinates, (len(problems), 1, 1)))
        return np.concatenate(parts, axis=2)

    rows = design(features, ALL)
    weighted = rows * precision[..., None]
    curvature = np.matmul(weighted.transpose(0, 2, 1), rows) + np.diag(1.0 / sd**2)
    target = np.einsum("lnp,ln->lp", weighted, y - rows @ mean)
    theta = mean + np.linalg.solve(curvature, target[..., None])[..., 0]
    return lambda at, chosen: np.einsum("lnp,lp->ln", design(at, chosen), theta[chosen])


def _diagonal(variance: Array) -> Array:
    return variance[:, :, None] * np.eye(variance.shape[1])


MEMBERS: Mapping[str, Entry] = {
    "constant": Entry(member=constant, least=1),
    "affine": Entry(member=affine, least=1, needs_covariate=True),
    "ridge": Entry(member=ridge, least=5, most=64, most_above=0),
    "gaussian": Entry(member=gaussian, least=5, most=32, most_above=128),
    "anisotropic": Entry(member=anisotropic, least=12, least_above=ABOVE),
    "power": Entry(member=_law(LAWS["power"]), least=8, least_above=ABOVE, law=True),
    "additive": Entry(member=_law(LAWS["additive"]), least=8, least_above=ABOVE, passes=False, law=True),
    "epochs": Entry(member=_epochs, least=8, least_above=ABOVE, passes=True, law=True),
    "drifted power": Entry(member=_drifted("power"), least=3, inherits="power", law=True),
    "drifted epochs": Entry(member=_drifted("epochs"), least=3, inherits="epochs", passes=True, law=True),
    "power and covariate": Entry(
        member=_law_and_covariate(LAWS["power"]), least=8, least_above=ABOVE, needs_covariate=True, law=True
    ),
    "additive and covariate": Entry(
        member=_law_and_covariate(LAWS["additive"]), least=8, least_above=ABOVE, needs_covariate=True, law=True
    ),
}
