"""The ensemble of data experts (MDE, arXiv:2502.15950): the loss of any mixture without training, its exact optimum.

Notation: experts (one a domain) i = 1..d, scored tokens t = 1..T of an evaluation set, p_i(t) the probability that
expert i gives to the token that stands there, a_t what one nat at token t adds to the set's loss. The ensemble's loss
of mixture w is sum_t -a_t log(sum_i w_i p_i(t)): a mean of probabilities, not of losses or logarithms.
With `power` tau the sum is of p_i(t)^tau and the logarithm is divided by tau; tau = 1 is the paper's.

The loss is biased (either way) and ranks well: use it as a covariate, never as an estimate.

Shapes: B mixtures, d experts, m evaluation sets, T scored tokens.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.errors import ProxyError

FloatArray = NDArray[np.floating]
Float64Array = NDArray[np.float64]

BLOCK_TOKENS = 4_096  # a block of float32 products of this length stays in the cache
LEAST_PROBABILITY = 1e-30  # keeps log(0) and float32 underflow away; no trained expert is as sure as this
GAP = 1e-9  # nats; the certificate at which the optimum is taken as exact


@dataclass(frozen=True, kw_only=True)
class GoldTokens:
    """What the experts say of one evaluation set.

    probabilities: [d, T], of the token that stands there, in (0, 1].
    nats: [T], what a nat at the token adds to the set's loss.
    """

    probabilities: FloatArray
    nats: Float64Array

    def __post_init__(self) -> None:
        """Refuse arrays whose lengths differ or that hold no token."""
        shape, weights = self.probabilities.shape, self.nats.shape
        if len(shape) != 2 or shape[1:] != weights or not shape[-1]:
            raise ProxyError(f"gold tokens need probabilities [d, T] and nats [T], got {shape} and {weights}")

    @classmethod
    def from_logs(cls, logs_dT: Sequence[FloatArray], *, scored_bytes: float) -> "GoldTokens":
        """Return one set from natural log-probabilities, an array [T] an expert; losses in bits per byte."""
        if len({logs.shape for logs in logs_dT}) != 1:
            raise ProxyError(
                f"experts scored different tokens: {[logs.shape for logs in logs_dT]}; score one text with all"
            )
        probabilities = np.exp(np.stack(logs_dT).astype(np.float32))
        share = 1.0 / (math.log(2.0) * scored_bytes)
        return cls(probabilities=probabilities, nats=np.full(probabilities.shape[1], share))


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The losses of mixtures of experts. Probabilities are kept in the precision they come in; sums are float64."""

    domains: tuple[str, ...]
    gold: Mapping[str, GoldTokens]
    power: float = 1.0
    _powered: Mapping[str, FloatArray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse sets scored by another number of experts; raise the probabilities to the power once."""
        for name, tokens in self.gold.items():
            if len(tokens.probabilities) != len(self.domains):
                count = len(tokens.probabilities)
                raise ProxyError(
                    f"set {name!r} was scored by {count} experts, but there are {len(self.domains)} domains"
                )
        if not self.power > 0.0:
            raise ProxyError(f"the power must be above 0, got {self.power}")
        powered = {name: _powered(tokens.probabilities, self.power) for name, tokens in self.gold.items()}
        object.__setattr__(self, "_powered", powered)

    @classmethod
    def load(cls, folders: Mapping[str, Path], scored_bytes: Mapping[str, int]) -> "Ensemble":
        """Return the ensemble from a folder a domain holding `<set>.npy`, and every set's number of scored bytes."""
        missing = [
            str(folder / f"{s}.npy")
            for folder in folders.values()
            for s in scored_bytes
            if not (folder / f"{s}.npy").is_file()
        ]
        if missing:
            raise ProxyError(
                f"experts have not been evaluated: no {missing[0]} (and {len(missing) - 1} more); evaluate them again"
            )
        gold = {
            name: GoldTokens.from_logs([np.load(f / f"{name}.npy") for f in folders.values()], scored_bytes=count)
            for name, count in scored_bytes.items()
        }
        return cls(domains=tuple(folders), gold=gold)

    @property
    def sets(self) -> tuple[str, ...]:
        """The evaluation sets, in the order of the columns of `losses`."""
        return tuple(self.gold)

    def with_power(self, power: float) -> "Ensemble":
        """Return the ensemble with another power mean."""
        return replace(self, power=power)

    def losses(self, weights_Bd: FloatArray) -> Float64Array:
        """Return the loss of every mixture on every set, [B, m]."""
        columns = []
        for name, tokens in self.gold.items():
            powered = self._powered[name]
            rows = np.asarray(weights_Bd, dtype=powered.dtype)
            total = np.zeros(len(rows))
            for block in _blocks(powered.shape[1]):
                total -= np.log(rows @ powered[:, block]) @ tokens.nats[block]
            columns.append(total / self.power)
        return np.stack(columns, axis=1)

    def gradients(self, weights_Bd: FloatArray, set_weights: Mapping[str, float]) -> Float64Array:
        """Return the gradient of the weighted sum of losses in the mixture's weights, [B, d]."""
        gradient = np.zeros(np.shape(weights_Bd))
        for name, weight in set_weights.items():
            powered, nats = self._powered[name], self.gold[name].nats
            rows = np.asarray(weights_Bd, dtype=powered.dtype)
            for block in _blocks(powered.shape[1]):
                ratios = nats[block] / (rows @ powered[:, block])
                gradient -= (weight / self.power) * (ratios @ powered[:, block].T)
        return gradient

    def optimum(self, set_weights: Mapping[str, float]) -> tuple[Float64Array, float]:
        """Return the mixture [d] with the least weighted sum of losses (weights >= 0), and its gap to the least.

        The gap is max_i g_i - 1 with g_i = sum_t q_t p_i(t) / p(t), q summing to 1: nats a token, summed in float64.
        Newton steps with an active set (the quadratic model of "mixSQP", arXiv:1806.01412) on the whole text.
        """
        used = {name: weight for name, weight in set_weights.items() if weight > 0.0}
        if not used or min(set_weights.values()) < 0.0:
            raise ProxyError(f"set weights must be >= 0 and not all 0, got {dict(set_weights)}")
        mass = sum(weight * float(self.gold[name].nats.sum()) for name, weight in used.items())
        parts = [(self._powered[name], self.gold[name].nats * (weight / mass)) for name, weight in used.items()]
        return _newton(lambda weights: _moments(parts, weights), len(self.domains))


def _powered(probabilities: FloatArray, power: float) -> FloatArray:
    clipped = np.maximum(probabilities, probabilities.dtype.type(LEAST_PROBABILITY))
    return clipped if power == 1.0 else clipped ** probabilities.dtype.type(power)


def _blocks(tokens: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK_TOKENS) for start in range(0, tokens, BLOCK_TOKENS))


Moments = tuple[float, Float64Array, Float64Array]


def _moments(parts: Sequence[tuple[FloatArray, Float64Array]], weights: Float64Array) -> Moments:
    """Return value, -gradient [d] and Hessian [d, d] of -sum_t q_t log(w . p(t)), float64 throughout."""
    value, slopes, hessian = 0.0, np.zeros(len(weights)), np.zeros((len(weights), len(weights)))
    for powered, shares in parts:
        for block in _blocks(powered.shape[1]):
            columns = powered[:, block].astype(np.float64)
            mixed = weights @ columns
            value -= float(np.log(mixed) @ shares[block])
            ratios = columns / mixed
            slopes += ratios @ shares[block]
            hessian += (ratios * shares[block]) @ ratios.T
    return value, slopes, hessian


def _newton(moments: Callable[[Float64Array], Moments], d: int) -> tuple[Float64Array, float]:
    weights = np.full(d, 1.0 / d)
    value, slopes, hessian = moments(weights)
    for _ in range(100):
        if slopes.max() - 1.0 <= GAP:
            break
        # With sum(w) added to the objective its minimum over w >= 0 lies on the simplex, so only the signs constrain.
        step = nonnegative_minimum(hessian, 2.0 * slopes - 1.0)
        step = np.where(step > 0.0, step, 0.0) / max(step.sum(), LEAST_PROBABILITY) - weights
        length, descent = 1.0, float(slopes @ step)
        while length > 1e-10:
            trial = np.maximum(weights + length * step, 0.0)
            trial /= trial.sum()
            moved = moments(trial)
            if moved[0] <= value - 1e-4 * length * descent:
                break
            length /= 2.0
        else:
            break  # no step improves the value: float64 is exhausted
        weights, (value, slopes, hessian) = trial, moved
    return weights, max(0.0, float(slopes.max() - 1.0))


def nonnegative_minimum(quadratic: Float64Array, linear: Float64Array) -> Float64Array:
    """Return the x >= 0 that minimizes x.Q.x / 2 - c.x, Q [d, d] positive semi-definite (Lawson and Hanson)."""
    d = len(linear)
    ridge = quadratic + np.eye(d) * (1e-12 * np.trace(quadratic) / d)
    x, free = np.zeros(d), np.zeros(d, dtype=bool)
    for _ in range(10 * d):
        slack = linear - ridge @ x
        if free.all() or slack[~free].max() <= 1e-13 * max(1.0, float(np.abs(linear).max())):
            break
        free[int(np.where(free, -np.inf, slack).argmax())] = True
        while True:
            inner = np.zeros(d)
            inner[free] = np.linalg.solve(ridge[np.ix_(free, free)], linear[free])
            if not free.any() or inner[free].min() > 0.0:
                break
            blocked = free & (inner <= 0.0)
            shrink = np.min(x[blocked] / np.maximum(x[blocked] - inner[blocked], 1e-300))
            x = x + shrink * (inner - x)
            free &= x > 1e-15
            x[~free] = 0.0
        x = inner
    return x
