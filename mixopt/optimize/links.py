"""The scale on which an evaluation set is modelled, and the noise that its items explain.

A loss is modelled as it is. A share of wrong answers e (`error/<set>`) is modelled as its logit, which has no end: of
k wrong answers among n items it is log((k + 1/2) / (n - k + 1/2)), finite for none and for all, and its binomial
variance is about 1 / (k + 1/2) + 1 / (n - k + 1/2), which is 1 / (n e (1 - e)) for many. Where the number of items is
unknown, n is ASSUMED so that none and all stay finite, and no noise is taken as known; `item_counts` estimates n first.

Shapes: n observations, m evaluation sets, B mixtures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mixopt.objective import ERROR

Array = NDArray[np.float64]

ASSUMED = 1_000.0  # items where nobody says how many; a guess


@dataclass(frozen=True, kw_only=True)
class Links:
    """The scales of evaluation sets; bent: bool `m`, which of them are errors and so modelled as logits."""

    bent: NDArray[np.bool_]

    @classmethod
    def of(cls, sets: Sequence[str]) -> Links:
        """Return the scales of `sets`, by their names."""
        return cls(bent=np.array([name.startswith(ERROR) for name in sets], dtype=bool))

    @property
    def straight(self) -> bool:
        """Whether every set is modelled as it is."""
        return not self.bent.any()

    def to(self, losses: Array, items: Array | None = None) -> Array:
        """Return `losses`, `n x m`, on the scales of the model; items: `n x m`, nan where unknown (None: all)."""
        if self.straight:
            return losses
        counts = _counts(losses, items)
        wrong = np.clip(losses, 0.0, 1.0) * counts
        bent: Array = np.where(self.bent, np.log((wrong + 0.5) / (counts - wrong + 0.5)), losses)
        return bent

    def back(self, values: Array) -> Array:
        """Return values on the scales of the model, `... x m`, as losses and errors."""
        if self.straight:
            return values
        losses: Array = np.where(self.bent, expit(values), values)
        return losses

    def slope(self, values: Array) -> Array:
        """Return how fast losses and errors move with values on the scales of the model, `... x m`."""
        slopes: Array = np.where(self.bent, expit(values) * expit(-values), 1.0)
        return slopes

    def variance(self, losses: Array, items: Array) -> Array:
        """Return the noise that the items explain, on the scales of the model, `n x m`; 0 where it is not known."""
        counts = _counts(losses, items)
        wrong = np.clip(losses, 0.0, 1.0) * counts
        known = self.bent & np.isfinite(items) & np.isfinite(losses)
        with np.errstate(invalid="ignore"):
            noise: Array = np.where(known, 1.0 / (wrong + 0.5) + 1.0 / (counts - wrong + 0.5), 0.0)
        return noise


def _counts(losses: Array, items: Array | None) -> Array:
    return np.full_like(losses, ASSUMED) if items is None else np.where(np.isfinite(items), items, ASSUMED)
