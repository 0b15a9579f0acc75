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
    total = ensemble.tokens
    if tokens < len(ensemble.gold):
        raise ProxyError(f"a coreset of {tokens} tokens for {len(ensemble.gold)} sets; take at least one a set")
    rng = np.random.default_rng(seed)
    gold = {name: _sampled(each, max(1, len(each.nats) * tokens // total), rng) for name, each in ensemble.gold.items()}
    sample = Ensemble(domains=ensemble.domains, gold=gold, power=ensemble.power)
    d = len(ensemble.domains)
    fitted = np.vstack([np.eye(d), _draws(d, FIT_DRAWS * d, rng)])
    correction: Float64Array = np.linalg.lstsq(fitted, ensemble.losses(fitted) - sample.losses(fitted), rcond=None)[
        0
    ].astype(np.float64)
    fresh = _draws(d, ERROR_DRAWS, rng)
    left = ensemble.losses(fresh) - sample.losses(fresh) - fresh @ correction
    return Coreset(sample=sample, correction=correction, error=float(np.abs(left).max()))


def coreset_within(ensemble: Ensemble, *, error: float, seed: int) -> Coreset | None:
    """Return a coreset whose error is at most `error` (bits per byte), with as few tokens as are soon found to do.

    None where that needs a quarter of all tokens: it gains little.
    """
    tokens = max(FEWEST, len(ensemble.gold))
    while tokens <= ensemble.tokens / 4:
        found = coreset(ensemble, tokens=tokens, seed=seed)
        if found.error <= error:
            return found
        tokens *= 2 ** max(1, math.floor(math.log2(found.error / error)))  # the error falls no faster than this
    return None


def _draws(d: int, count: int, rng: np.random.Generator) -> Float64Array:
    return np.vstack([rng.dirichlet(np.ones(d), count - count // 2), rng.dirichlet(np.full(d, 0.2), count // 2)])


def _sampled(gold: GoldTokens, count: int, rng: np.random.Generator) -> GoldTokens:
    """Return `count` tokens at even steps of nats along the order, all with the same nats; all tokens if so few."""
    if count >= len(gold.nats):
        return gold
    order = _order(gold, slabs=max(1, round(count**0.5)))
    passed = np.cumsum(gold.nats[order])
    places = (np.arange(count) + rng.random(count)) * (passed[-1] / count)
    chosen = order[np.minimum(np.searchsorted(passed, places), len(order) - 1)]
    return GoldTokens(
        probabilities=np.ascontiguousarray(gold.probabilities[:, chosen]), nats=np.full(count, passed[-1] / count)
    )


def _order(gold: GoldTokens, *, slabs: int) -> np.typing.NDArray[np.intp]:
    """Return tokens in `slabs` of the direction in which experts differ most, each along the second, up and down."""
    ratios_dT = np.log(np.maximum(gold.probabilities / gold.probabilities.mean(0), LEAST_RATIO))
    ratios_dT -= ratios_dT.mean(1, keepdims=True)
    directions = np.linalg.eigh(np.cov(ratios_dT))[1].astype(ratios_dT.dtype)
    first, second = directions[:, -1] @ ratios_dT, directions[:, -2 % len(directions)] @ ratios_dT
    slab = np.empty(len(first), dtype=np.int64)
    slab[np.argsort(first, kind="stable")] = np.arange(len(first)) * slabs // len(first)
    return np.lexsort((np.where(slab % 2, -second, second), slab))
