"""The ensemble of data experts (MDE, arXiv:2502.15950): the loss of any mixture without training, its exact optimum.

Notation: experts (one a domain) i = 1..d, scored tokens t = 1..T of an evaluation set, p_i(t) the probability that
expert i gives to the token that stands there, a_t what one nat at token t adds to the set's loss. The ensemble's loss
of mixture w is sum_t -a_t log(sum_i w_i p_i(t)): a mean of probabilities, not of losses or logarithms.
With `power` tau the sum is of p_i(t)^tau and the logarithm is divided by tau; tau = 1 is the paper's.

The loss is biased (either way) and ranks well: use it as a covariate, never as an estimate.

Shapes: B mixtures, d experts, m evaluation sets, T scored tokens.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.errors import ProxyError
from proxies.polytope_newton import Moments, Polytope, least

FloatArray = NDArray[np.floating]
Float64Array = NDArray[np.float64]

BLOCK_TOKENS = 4_096  # of one pass; sums within a block are no more exact than what is summed
BLOCK_MIXTURES = 128
BLOCK_PRODUCTS = 1 << 17  # of mixtures and tokens: as float32, and with their logarithms beside, they stay in the cache
COARSE = 50  # every 50th token starts the search for the optimum, where that leaves at least
COARSE_TOKENS = 2_000  # as many
COARSE_GAP = 1e-6
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

    @property
    def tokens(self) -> int:
        """How many tokens were scored, of all sets."""
        return sum(len(gold.nats) for gold in self.gold.values())

    def with_power(self, power: float) -> "Ensemble":
        """Return the ensemble with another power mean."""
        return replace(self, power=power)

    def losses(self, weights_Bd: FloatArray) -> Float64Array:
        """Return the loss of every mixture on every set, [B, m]."""
        found = np.zeros((len(weights_Bd), len(self.gold)))
        for column, name in enumerate(self.gold):
            for rows, block, nats, mixed in self._mixed(name, weights_Bd):
                del block
                found[rows, column] -= np.log(mixed, out=mixed) @ nats
        return found / self.power

    def gradients(self, weights_Bd: FloatArray, set_weights: Mapping[str, float]) -> Float64Array:
        """Return the gradient of the weighted sum of losses in the mixture's weights, [B, d]."""
        return self.values_and_gradients(weights_Bd, set_weights)[1]

    def values_and_gradients(
        self, weights_Bd: FloatArray, set_weights: Mapping[str, float]
    ) -> tuple[Float64Array, Float64Array]:
        """Return the weighted sum of losses [B] and its gradient [B, d], in one pass over the probabilities.

        With float32 probabilities, products and sums within a block are float32, sums of blocks float64: values are
        right to 1e-6, gradients to 1e-5 of their size (tested; far less in practice).
        """
        values, gradients = np.zeros(len(weights_Bd)), np.zeros(np.shape(weights_Bd))
        for name, weight in set_weights.items():
            for rows, block, nats, mixed in self._mixed(name, weights_Bd):
                values[rows] -= (weight / self.power) * (np.log(mixed) @ nats)
                ratios = np.divide(nats, mixed, out=mixed)
                gradients[rows] -= (weight / self.power) * (ratios @ block.T)
        return values, gradients

    def _mixed(self, name: str, weights_Bd: FloatArray) -> Iterator[tuple[slice, FloatArray, FloatArray, FloatArray]]:
        """Yield, block by block, rows of mixtures, powered probabilities [d, t], nats [t], and their mixtures [b, t].

        However many mixtures and tokens there are, a block of products stays in the cache.
        """
        powered = self._powered[name]
        weights, nats = np.asarray(weights_Bd, dtype=powered.dtype), self.gold[name].nats.astype(powered.dtype)
        most_tokens = min(BLOCK_TOKENS, BLOCK_PRODUCTS // max(1, min(len(weights), BLOCK_MIXTURES)))
        for tokens in _blocks(powered.shape[1], most_tokens):
            for rows in _blocks(len(weights), BLOCK_MIXTURES):
                block = powered[:, tokens]
                yield rows, block, nats[tokens], weights[rows] @ block

    def optimum(self, set_weights: Mapping[str, float], within: Polytope | None = None) -> tuple[Float64Array, float]:
        """Return the mixture [d] with the least weighted sum of losses, and how far it is at most above the least.

        `within` limits the mixture; None: weights >= 0. The gap is in nats a token, all in float64: a bound by duality.
        Newton steps (the quadratic model of "mixSQP", arXiv:1806.01412), first on every 50th token, then on all.
        """
        used = {name: weight for name, weight in set_weights.items() if weight > 0.0}
        if not used or min(set_weights.values()) < 0.0:
            raise ProxyError(f"set weights must be >= 0 and not all 0, got {dict(set_weights)}")
        mass = sum(weight * float(self.gold[name].nats.sum()) for name, weight in used.items())
        parts = [(self._powered[name], self.gold[name].nats * (weight / mass)) for name, weight in used.items()]
        limits = Polytope.simplex(len(self.domains)) if within is None else within
        start = limits.inside
        if sum(len(shares) for _, shares in parts) > COARSE * COARSE_TOKENS:
            sample = [(np.ascontiguousarray(p[:, ::COARSE]), shares[::COARSE] * COARSE) for p, shares in parts]
            start, _ = least(lambda weights: _moments(sample, weights), limits, start, gap=COARSE_GAP)
        return least(lambda weights: _moments(parts, weights), limits, start, gap=GAP)


def _powered(probabilities: FloatArray, power: float) -> FloatArray:
    clipped = np.maximum(probabilities, probabilities.dtype.type(LEAST_PROBABILITY))
    return clipped if power == 1.0 else clipped ** probabilities.dtype.type(power)


def _blocks(length: int, block: int = BLOCK_TOKENS) -> Iterator[slice]:
    return (slice(start, start + block) for start in range(0, length, block))


def _moments(parts: Sequence[tuple[FloatArray, Float64Array]], weights: Float64Array) -> Moments:
    """Return value, gradient [d] and Hessian [d, d] of -sum_t q_t log(w . p(t)), float64 throughout."""
    value, slopes, hessian = 0.0, np.zeros(len(weights)), np.zeros((len(weights), len(weights)))
    for powered, shares in parts:
        for block in _blocks(powered.shape[1]):
            columns = powered[:, block].astype(np.float64)
            mixed = weights @ columns
            value -= float(np.log(mixed) @ shares[block])
            ratios = columns / mixed
            slopes -= ratios @ shares[block]
            hessian += (ratios * shares[block]) @ ratios.T
    return value, slopes, hessian


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
