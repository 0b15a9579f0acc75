"""What is exported: a mixture in whole millionths of the tokens, and where it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mixopt.errors import ExportError
from mixopt.evidence import Prediction
from mixopt.mixture import Mixture

GRID = 1_000_000  # weights are written with six decimals: sums to exactly 1, and no trainer reads finer
OFTEN = 4.0  # passes, up to which repeated text is worth nearly as much as fresh


@dataclass(frozen=True, kw_only=True)
class Export:
    """A mixture to train on, in fractions of the tokens, with its provenance.

    available_tokens: tokens there are of every domain of the mixture.
    target_tokens: of the training that the mixture is for (None: not stated; then no epochs).
    predicted: the objective at the top rung (None: not predicted). beats_natural: the probability that it does.
    config_hash: names the configuration of the search. created: date and time, ISO 8601. versions: of the software.
    tokens_a_document: the mean of every domain, where mixopt prepared the text ({}: not known).
    """

    search: str
    mixture: Mixture
    available_tokens: Mapping[str, int]
    seed: int
    config_hash: str
    created: str
    target_tokens: int | None = None
    predicted: Prediction | None = None
    beats_natural: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    tokens_a_document: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.mixture) ^ set(self.available_tokens))
        if unknown:
            raise ExportError(f"mixture and available_tokens must name the same domains; {unknown} are in one only")

    @cached_property
    def millionths(self) -> dict[str, int]:
        """The weight of every domain that has one, in millionths: they sum to a million."""
        return {name: part for name, part in apportion(self.mixture, GRID).items() if part > 0}

    @property
    def dropped(self) -> list[str]:
        """The domains without weight: trainers fail on a weight of zero, so they are not written."""
        kept = self.millionths
        return [name for name in self.mixture if name not in kept]

    def epochs(self, domain: str) -> float | None:
        """Return how often the target training reads `domain`, None where its tokens are not stated."""
        if self.target_tokens is None:
            return None
        return self.millionths.get(domain, 0) / GRID * self.target_tokens / self.available_tokens[domain]

    @property
    def repeated(self) -> dict[str, float]:
        """The epochs of every domain that the target training reads more often than `OFTEN`."""
        epochs = {name: self.epochs(name) for name in self.millionths}
        # A cap of 4 epochs, kept to a millionth of the tokens, is no more than 4.
        return {name: count for name, count in epochs.items() if count is not None and round(count, 2) > OFTEN}


def apportion(shares: Mapping[str, float], parts: int) -> dict[str, int]:
    """Return whole parts nearest to `shares` (>= 0, of any positive sum) that sum to `parts`: largest remainders."""
    total = math.fsum(shares.values())
    exact = {name: round(share / total * parts, 6) for name, share in shares.items()}  # 0.29 * 1e6 is 290000, not less
    whole = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in by_remainder[: parts - sum(whole.values())]:
        whole[name] += 1
    return whole


def fixed(parts: int, grid: int = GRID) -> str:
    """Return a weight of `parts` in `grid`, a power of ten: never in scientific notation, which YAML reads as text."""
    digits = len(str(grid)) - 1
    return f"{parts // grid}.{parts % grid:0{digits}d}"
