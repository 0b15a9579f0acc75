"""A weighted sample of the tokens that stands for all of them: the losses of mixtures ten or twenty times faster.

Tokens are sampled evenly along an order in which neighbours are alike to the experts, so that the sample's error is
far below that of a random one. What error is left in the values is mostly linear in the mixture (each expert's own
loss has one); it is fitted on exact losses and taken off. The error that remains is measured on other mixtures.

Shapes: B mixtures, d experts, m evaluation sets, T tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from proxies.errors import ProxyError
from proxies.experts import Ensemble, Float64Array, FloatArray, GoldTokens

FIT_DRAWS = 4  # times d: mixtures that the correction is fitted on, beside the single experts
ERROR_DRAWS = 100  # fresh mixtures that the error is measured on
FEWEST = 16_384  # tokens: fewer would hardly be quicker than what is done beside them
LEAST_RATIO = 1e-6  # the order of tokens need not tell smaller ones apart


@dataclass(frozen=True, kw_only=True)
class Coreset:
    """Losses of an ensemble by a sample of its tokens. `correction` [d, m] is added to them by the mixture's weights.

    error: the largest seen on any set for 100 mixtures drawn after the correction was fitted, half near the corners.
    """

    sample: Ensemble
    correction: Float64Array
    error: float

    @property
    def domains(self) -> tuple[str, ...]:
        """The order of weights."""
        return self.sample.domains

    @property
    def sets(self) -> tuple[str, ...]:
        """The order of losses."""
        return self.sample.sets

    def losses(self, weights_Bd: FloatArray) -> Float64Array:
        """Return the loss of every mixture on every set, [B, m]."""
        return self.sample.losses(weights_Bd) + weights_Bd @ self.correction

    def gradients(self, weights_Bd: FloatArray, set_weights: Mapping[str, float]) -> Float64Array:
        """Return the gradient of the weighted sum of losses in the mixture's weights, [B, d]."""
        return self.values_and_gradients(weights_Bd, set_weights)[1]

    def values_and_gradients(
        self, weights_Bd: FloatArray, set_weights: Mapping[str, float]
    ) -> tuple[Float64Array, Float64Array]:
        """Return the weighted sum of losses [B] and its gradient [B, d]."""
        values, gradients = self.sample.values_and_gradients(weights_Bd, set_weights)
        slope = self.correction @ np.array([set_weights.get(name, 0.0) for name in self.sets])
        return values + weights_Bd @ slope, gradients + slope


def coreset(ensemble: Ensemble, *, tokens: int, seed: int) -> Coreset:
    """Return a coreset of at most `tokens` in all, shared among the sets by their numbers of tokens."""
    return _Sampling(ensemble, seed).coreset(tokens)


def coreset_within(ensemble: Ensemble, *, error: float, seed: int) -> Coreset | None:
    """Return a coreset whose error is at most `error` (bits per byte), with as few tokens as are soon found to do.

    None where that needs a quarter of all tokens: it gains little.
    """
    tokens = max(FEWEST, len(ensemble.gold))
    if tokens > ensemble.tokens / 4:
        return None
    sampling = _Sampling(ensemble, seed)
    while tokens <= ensemble.tokens / 4:
        found = sampling.coreset(tokens)
        if found.error <= error:
            return found
        tokens *= 2 ** max(1, math.floor(math.log2(found.error / error)))  # the error falls no faster than this
    return None


class _Sampling:
    """What coresets of all sizes share: the mixtures that they are judged by, and the orders of tokens."""

    def __init__(self, ensemble: Ensemble, seed: int) -> None:
        rng, d = np.random.default_rng(seed), len(ensemble.domains)
        self._ensemble, self._seed = ensemble, seed
        self._fitted, self._fresh = np.vstack([np.eye(d), _draws(d, FIT_DRAWS * d, rng)]), _draws(d, ERROR_DRAWS, rng)
        self._exact_fitted, self._exact_fresh = ensemble.losses(self._fitted), ensemble.losses(self._fresh)
        self._orders = {name: _Order(gold) for name, gold in ensemble.gold.items()}

    def coreset(self, tokens: int) -> Coreset:
        """Return the coreset of at most `tokens`."""
        whole = self._ensemble
        if tokens < len(whole.gold):
            raise ProxyError(f"a coreset of {tokens} tokens for {len(whole.gold)} sets; take at least one a set")
        rng = np.random.default_rng((self._seed, tokens))
        gold = {
            name: order.sampled(max(1, len(order.gold.nats) * tokens // whole.tokens), rng)
            for name, order in self._orders.items()
        }
        sample = Ensemble(domains=whole.domains, gold=gold, power=whole.power)
        off = self._exact_fitted - sample.losses(self._fitted)
        correction = np.linalg.lstsq(self._fitted, off, rcond=None)[0].astype(np.float64)
        left = self._exact_fresh - sample.losses(self._fresh) - self._fresh @ correction
        return Coreset(sample=sample, correction=correction, error=float(np.abs(left).max()))


def _draws(d: int, count: int, rng: np.random.Generator) -> Float64Array:
    return np.vstack([rng.dirichlet(np.ones(d), count - count // 2), rng.dirichlet(np.full(d, 0.2), count // 2)])


class _Order:
    """Orders of a set's tokens in which neighbours are alike to the experts.

    along: tokens by the direction in which experts differ most. across: where each token is along the second.
    """

    def __init__(self, gold: GoldTokens) -> None:
        self.gold = gold
        ratios_dT = np.log(np.maximum(gold.probabilities / gold.probabilities.mean(0), LEAST_RATIO))
        ratios_dT -= ratios_dT.mean(1, keepdims=True)
        directions = np.linalg.eigh(np.cov(ratios_dT))[1].astype(ratios_dT.dtype)
        self._along = np.argsort(directions[:, -1] @ ratios_dT, kind="stable")
        self._across = directions[:, -2 % len(directions)] @ ratios_dT

    def sampled(self, count: int, rng: np.random.Generator) -> GoldTokens:
        """Return `count` tokens at even steps of nats along an order, all with the same nats; all tokens if so few."""
        if count >= len(self.gold.nats):
            return self.gold
        order = self._up_and_down(slabs=max(1, round(count**0.5)))
        passed = np.cumsum(self.gold.nats[order])
        places = (np.arange(count) + rng.random(count)) * (passed[-1] / count)
        chosen = order[np.minimum(np.searchsorted(passed, places), len(order) - 1)]
        return GoldTokens(
            probabilities=np.ascontiguousarray(self.gold.probabilities[:, chosen]),
            nats=np.full(count, passed[-1] / count),
        )

    def _up_and_down(self, *, slabs: int) -> np.typing.NDArray[np.intp]:
        """Return tokens in `slabs` along the first direction, each in order of the second, up and down in turns."""
        pieces = np.array_split(self._along, slabs)
        ways = [piece[np.argsort(self._across[piece], kind="stable")] for piece in pieces]
        return np.concatenate([way[::-1] if at % 2 else way for at, way in enumerate(ways)])
