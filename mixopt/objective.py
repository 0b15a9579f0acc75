"""What a training measured, as numbers to minimize, and the one number that is minimized.

A loss is minimized as it is, in bits per byte. An accuracy is minimized as the share of wrong answers, 1 - accuracy,
as the evaluation set `error/<set>`; a user may name it `accuracy/<set>`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import ConfigError, SearchError

ERROR = "error/"  # begins the name of an evaluation set whose value is 1 - accuracy
ACCURACY = "accuracy/"  # begins what a user may call it


def minimized(losses: Mapping[str, float], accuracies: Mapping[str, float]) -> Mapping[str, float]:
    """Return losses by their sets, and the errors of accuracies by `error/<set>`."""
    if not accuracies:
        return losses
    return {**losses, **{ERROR + name: 1.0 - accuracy for name, accuracy in accuracies.items()}}


def error_items(items: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers of items behind accuracies by `error/<set>`, as `minimized` names them."""
    return {ERROR + name: count for name, count in items.items()}


def set_minimized(name: str) -> str:
    """Return the evaluation set that a user means by `name`: `accuracy/<set>` is `error/<set>`."""
    return ERROR + name.removeprefix(ACCURACY) if name.startswith(ACCURACY) else name


def shown_set(name: str) -> str:
    """Return an evaluation set as a user names it: `error/<set>` is `accuracy/<set>`."""
    return ACCURACY + name.removeprefix(ERROR) if name.startswith(ERROR) else name


@dataclass(frozen=True, kw_only=True)
class Guard:
    """No set worse than with the natural mixture by more than `delta`, with `probability`.

    delta: in the unit of each set, bits per byte or share of wrong answers. sets: those that are guarded.
    """

    delta: float
    sets: tuple[str, ...]
    probability: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 <= self.delta < math.inf:
            raise ConfigError(f"delta must be finite and at least 0; got {self.delta}")
        if not 0.0 < self.probability < 1.0:
            raise ConfigError(f"probability must lie between 0 and 1; got {self.probability}")
        if not self.sets:
            raise ConfigError("no_worse_than_natural needs evaluation sets to guard; name some, or leave it out")


@dataclass(frozen=True)
class Objective:
    """The weighted mean of losses and errors (`mean`; weights are normalised) or the largest (`worst`).

    guard: what a mixture must keep to besides, or None.
    """

    weights: Mapping[str, float]
    kind: Literal["mean", "worst"] = "mean"
    guard: Guard | None = None

    def __post_init__(self) -> None:
        wrong = {name: weight for name, weight in self.weights.items() if not 0.0 <= weight < math.inf}
        if wrong:
            raise ConfigError(f"the objective's weights must be finite and at least 0; got {wrong}")
        total = math.fsum(self.weights.values())
        if not total > 0.0:
            raise ConfigError(f"the objective needs an evaluation set with a positive weight; got {dict(self.weights)}")
        object.__setattr__(self, "weights", {n: w / total for n, w in self.weights.items() if w > 0.0})

    @classmethod
    def worst(cls, sets: Sequence[str], *, guard: Guard | None = None) -> Objective:
        """Return the objective that is the largest loss of `sets`."""
        return cls(dict.fromkeys(sets, 1.0), kind="worst", guard=guard)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], *, every: Sequence[str] = ()) -> Objective:
        """Return the objective of a search's plain configuration: `{kind, weights}`, or `{kind: worst, sets}`.

        Either may have `no_worse_than_natural: {delta, sets, probability}`; without sets there it guards `every` set,
        or where that tells none those that count.
        """
        worst = plain.get("kind") == "worst"
        weights = {set_minimized(n): w for n, w in ({} if worst else plain["weights"]).items()}
        counted = tuple(map(set_minimized, plain["sets"])) if worst else tuple(weights)
        kept = plain.get("no_worse_than_natural")
        guard = None
        if kept is not None:
            guarded = tuple(map(set_minimized, kept["sets"])) or tuple(every) or counted
            guard = Guard(delta=kept["delta"], sets=guarded, probability=kept["probability"])
        return cls.worst(counted, guard=guard) if worst else cls(weights, guard=guard)

    def plain(self) -> dict[str, object]:
        """Return the objective as JSON holds it: its kind, the weights as normalised, and its guard if it has one."""
        plain: dict[str, object] = {"kind": self.kind, "weights": dict(self.weights)}
        if self.guard is not None:
            guard = self.guard
            kept = {"delta": guard.delta, "sets": list(guard.sets), "probability": guard.probability}
            plain["no_worse_than_natural"] = kept
        return plain

    @property
    def sets(self) -> tuple[str, ...]:
        """The evaluation sets that count."""
        return tuple(self.weights)

    @property
    def needed(self) -> tuple[str, ...]:
        """The evaluation sets that count or are guarded."""
        return tuple(dict.fromkeys([*self.weights, *(() if self.guard is None else self.guard.sets)]))

    def value(self, losses: Mapping[str, float]) -> float:
        """Return the objective of a trial's losses and errors; sets that do not count may be there too."""
        missing = [name for name in self.weights if name not in losses]
        if missing:
            raise SearchError(
                f"the objective needs losses of {missing}; measured: {sorted(losses)}; retrain or reweigh"
            )
        if self.kind == "worst":
            return max(losses[name] for name in self.weights)
        return math.fsum(weight * losses[name] for name, weight in self.weights.items())

    def of(self, losses: Mapping[str, float], accuracies: Mapping[str, float]) -> float:
        """Return the objective of what a trial measured."""
        return self.value(minimized(losses, accuracies))

    def array(self, sets: Sequence[str]) -> NDArray[np.float64]:
        """Return the weights in the order of `sets`, `m`, with 0 for those that do not count."""
        missing = [name for name in self.weights if name not in sets]
        if missing:
            raise ConfigError(f"the objective names unknown evaluation sets {missing}; known: {sorted(sets)}")
        return np.array([self.weights.get(name, 0.0) for name in sets], dtype=np.float64)

    def of_array(self, losses: NDArray[np.float64], sets: Sequence[str]) -> NDArray[np.float64]:
        """Return the objective of `losses`, `... x m` with columns in the order of `sets`, as `...`.

        A loss that is missing (nan) makes the objective nan where its set counts, and nowhere else.
        """
        weights = self.array(sets)
        counted = losses[..., weights > 0.0]
        if self.kind == "worst":
            worst: NDArray[np.float64] = counted.max(axis=-1)
            return worst
        mean: NDArray[np.float64] = counted @ weights[weights > 0.0]
        return mean
