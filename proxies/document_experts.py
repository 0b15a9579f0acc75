"""The ensemble of data experts document by document (MixMin, arXiv:2502.10510): which expert wrote all of this text?

Notation: documents D with tokens t, P_i(D) = prod_t p_i(t) the probability that expert i gives to all of D. The loss of
mixture w is sum_D -a_D log(sum_i w_i P_i(D)): a posterior over experts a document, where `proxies.experts` has one and
the same mixture for every token. Probabilities of documents underflow, so that only their logarithms are kept.

Shapes: B mixtures, d experts, m evaluation sets, T scored tokens, N documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxies.errors import ProxyError
from proxies.experts import GAP, LEAST_PROBABILITY, Float64Array, FloatArray, GoldTokens
from proxies.polytope_newton import Moments, Polytope, least

MOST_LOG_RATIO = 69.0  # 1e30: enough to show which way is down, and its square is no overflow


@dataclass(frozen=True, kw_only=True)
class Documents:
    """What the experts say of the documents of one evaluation set.

    logs: [d, N], of the probability of all of a document. nats: [N], what a nat of a document adds to the set's loss.
    """

    logs: Float64Array
    nats: Float64Array

    @classmethod
    def of(cls, gold: GoldTokens, documents_T: NDArray[np.int64]) -> "Documents":
        """Return the documents of scored tokens, `documents_T` naming that of each; all of its tokens weigh alike."""
        if documents_T.shape != gold.nats.shape:
            raise ProxyError(
                f"{len(documents_T)} documents' names for {len(gold.nats)} scored tokens; give each its own"
            )
        _, place, sizes = np.unique(documents_T, return_inverse=True, return_counts=True)
        logs = np.log(np.maximum(gold.probabilities.astype(np.float64), LEAST_PROBABILITY))
        sums: Float64Array = np.stack([np.bincount(place, weights=row, minlength=len(sizes)) for row in logs]).astype(
            np.float64
        )
        return cls(logs=sums, nats=np.bincount(place, weights=gold.nats, minlength=len(sizes)) / sizes)


@dataclass(frozen=True, kw_only=True)
class DocumentEnsemble:
    """The losses of mixtures of experts, document by document, float64 throughout."""

    domains: tuple[str, ...]
    documents: Mapping[str, Documents]

    @property
    def sets(self) -> tuple[str, ...]:
        """The evaluation sets, in the order of the columns of `losses`."""
        return tuple(self.documents)

    def losses(self, weights_Bd: FloatArray) -> Float64Array:
        """Return the loss of every mixture on every set, [B, m]."""
        rows = np.asarray(weights_Bd, dtype=np.float64)
        return np.array([[-_mixed(row, each) @ each.nats for each in self.documents.values()] for row in rows])

    def gradients(self, weights_Bd: FloatArray, set_weights: Mapping[str, float]) -> Float64Array:
        """Return the gradient of the weighted sum of losses in the mixture's weights, [B, d]."""
        used = [(self.documents[name], weight) for name, weight in set_weights.items()]
        return np.stack([_moments(used, row)[1] for row in np.asarray(weights_Bd, dtype=np.float64)])

    def optimum(self, set_weights: Mapping[str, float], within: Polytope | None = None) -> tuple[Float64Array, float]:
        """Return the mixture [d] with the least weighted sum of losses, and how far it is at most above the least.

        `within` limits the mixture; None: weights >= 0. The gap is a bound by duality, in the unit of the losses.
        """
        limits = Polytope.simplex(len(self.domains)) if within is None else within
        parts = [(self.documents[name], weight) for name, weight in set_weights.items() if weight > 0.0]
        if not parts or min(set_weights.values()) < 0.0:
            raise ProxyError(f"set weights must be >= 0 and not all 0, got {dict(set_weights)}")
        return least(lambda w: _moments(parts, w), limits, limits.inside, gap=GAP)


def _mixed(weights_d: Float64Array, documents: Documents) -> Float64Array:
    """Return log sum_i w_i P_i(D), [N]."""
    used = np.flatnonzero(weights_d > 0.0)
    logs_dN = documents.logs[used] + np.log(weights_d[used])[:, None]
    highest_N = logs_dN.max(0)
    mixed: Float64Array = highest_N + np.log(np.exp(logs_dN - highest_N).sum(0))
    return mixed


def _ratios(documents: Documents, mixed_N: Float64Array) -> Float64Array:
    """Return P_i(D) over the mixture's, [d, N]; an expert without weight may be surer by any number of decades."""
    ratios: Float64Array = np.exp(np.minimum(documents.logs - mixed_N, MOST_LOG_RATIO))
    return ratios


def _moments(parts: list[tuple[Documents, float]], weights: Float64Array) -> Moments:
    """Return value, gradient [d] and Hessian [d, d] of the weighted sum of losses."""
    d = len(weights)
    value, slopes, hessian = 0.0, np.zeros(d), np.zeros((d, d))
    for documents, weight in parts:
        mixed_N, shares_N = _mixed(weights, documents), weight * documents.nats
        ratios_dN = _ratios(documents, mixed_N)
        value -= float(mixed_N @ shares_N)
        slopes -= ratios_dN @ shares_N
        hessian += (ratios_dN * shares_N) @ ratios_dN.T
    return value, slopes, hessian
