"""What a fitted model says of mixtures nobody has trained: the seam between models and those who compare them.

Shapes: B mixtures, d domains, m evaluation sets.
"""

from dataclasses import dataclass
from typing import Protocol

from mixopt.optimize.encoding import Array


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Losses that a training would show, bits per byte; the standard deviations include its noise.

    sets_mean, sets_sd: of every evaluation set in the order of the problem's `sets`, `B x m`; mean, sd: of the
    objective, `B`. A model that knows no error has nan for its sd.
    """

    sets_mean: Array
    sets_sd: Array
    mean: Array
    sd: Array


class Predictor(Protocol):
    """A model fitted to evidence."""

    def predict(self, weights: Array, fidelity: str) -> Predictions:
        """Return what trials of `weights`, `B x d` in the space's order of domains, would show at the rung."""
        ...
