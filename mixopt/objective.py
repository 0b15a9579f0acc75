"""Losses of the evaluation sets to the number we minimize."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import ConfigError, SearchError


@dataclass(frozen=True)
class Objective:
    """The weighted mean of losses (`mean`; weights are normalised) or the largest (`worst`), in bits per byte."""

    weights: Mapping[str, float]
    kind: Literal["mean", "worst"] = "mean"

    def __post_init__(self) -> None:
        wrong = {name: weight for name, weight in self.weights.items() if not 0.0 <= weight < math.inf}
        if wrong:
            raise ConfigError(f"the objective's weights must be finite and at least 0; got {wrong}")
        total = math.fsum(self.weights.values())
        if not total > 0.0:
            raise ConfigError(f"the objective needs an evaluation set with a positive weight; got {dict(self.weights)}")
        object.__setattr__(self, "weights", {n: w / total for n, w in self.weights.items() if w > 0.0})

    @classmethod
    def worst(cls, sets: Sequence[str]) -> Objective:
        """Return the objective that is the largest loss of `sets`."""
        return cls(dict.fromkeys(sets, 1.0), kind="worst")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Objective:
        """Return the objective of a search's plain configuration: `{kind, weights}`, or `{kind: worst, sets}`."""
        return cls.worst(plain["sets"]) if plain.get("kind") == "worst" else cls(plain["weights"])

    @property
    def sets(self) -> tuple[str, ...]:
        """The evaluation sets that count."""
        return tuple(self.weights)

    def value(self, losses: Mapping[str, float]) -> float:
        """Return the objective of a trial's losses; sets that do not count may be there too."""
        missing = [name for name in self.weights if name not in losses]
        if missing:
            raise SearchError(
                f"the objective needs losses of {missing}; measured: {sorted(losses)}; retrain or reweigh"
            )
        if self.kind == "worst":
            return max(losses[name] for name in self.weights)
        return math.fsum(weight * losses[name] for name, weight in self.weights.items())

    def array(self, sets: Sequence[str]) -> NDArray[np.float64]:
        """Return the weights in the order of `sets`, `m`, with 0 for those that do not count."""
        missing = [name for name in self.weights if name not in sets]
        if missing:
            raise ConfigError(f"the objective names unknown evaluation sets {missing}; known: {sorted(sets)}")
        return np.array([self.weights.get(name, 0.0) for name in sets], dtype=np.float64)

    def of_array(self, losses: NDArray[np.float64], sets: Sequence[str]) -> NDArray[np.float64]:
        """Return the objective of `losses`, `... x m` with columns in the order of `sets`, as `...`."""
        weights = self.array(sets)
        if self.kind == "worst":
            worst: NDArray[np.float64] = losses[..., weights > 0.0].max(axis=-1)
            return worst
        mean: NDArray[np.float64] = losses @ weights
        return mean
