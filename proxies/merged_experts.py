"""Merged data experts: any mixture's losses from one model, the weighted mean of the experts (arXiv:2601.17858).

theta(w) = base + sum_i w_i (theta_i - base) is the mean of the experts' weights, since weights of a mixture sum to one.
It means something where the experts have stayed near what they started from: of one seed and shape, at the least.
Beside the ensemble of `proxies.experts`, which mixes probabilities: one forward pass in place of as many as experts.

Shapes: B mixtures, d experts, m evaluation sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.checkpoint import with_kept_weights
from proxies.config import ProxyConfig
from proxies.corpus import Corpus, Part
from proxies.initialize import averaged
from proxies.measuring import measure
from proxies.model import Decoder
from proxies.train import build


@dataclass(frozen=True, kw_only=True)
class MergedExperts:
    """The experts of a search, a domain each and all of one shape, and the text that mixtures are measured on."""

    experts: Mapping[str, Decoder]
    corpus: Corpus
    part: Part

    @classmethod
    def load(cls, folders: Mapping[str, Path], config: ProxyConfig, corpus: Corpus, *, part: Part) -> "MergedExperts":
        """Return the experts whose weights lie in `folders`, a folder a domain, trained as `config` says."""
        experts = {
            name: with_kept_weights(
                build(config, vocabulary=corpus.vocabulary, end_of_document=corpus.end_of_document, seed=0), folder
            )
            for name, folder in folders.items()
        }
        return cls(experts=experts, corpus=corpus, part=part)

    @property
    def domains(self) -> tuple[str, ...]:
        """The order of weights."""
        return tuple(self.experts)

    @property
    def sets(self) -> tuple[str, ...]:
        """The order of losses."""
        return tuple(self.corpus.evaluation(self.part))

    def losses(self, weights_Bd: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the losses of every mixture on every set, `B x m`, bits per byte."""
        return np.array([self._measured(row.tolist()) for row in weights_Bd]).reshape(len(weights_Bd), -1)

    def _measured(self, weights: list[float]) -> list[float]:
        model = averaged(list(self.experts.values()), weights)
        losses = measure(model, self.corpus, part=self.part, gold=None).losses
        return [losses[name] for name in self.sets]
