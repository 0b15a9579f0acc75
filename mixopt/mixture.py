"""A point of the simplex that cannot be wrong, the domains it weighs, and recipes made of several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import ConfigError, InvalidMixture

SUM_TOLERANCE = 1e-6  # L-BFGS-B returns weights summing to 1 only up to float error
EXACT_TOLERANCE = 1e-12  # a sum this near to 1 is 1: kept bit for bit, so that a stored mixture reads back the same
FORBIDDEN = frozenset("/\\: ")  # in names, which are also those of files
ZERO_TOLERANCE = 1e-9  # a weight this small in an array is float error around an exact zero


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Mixture(Mapping[str, float]):
    """One weight (a fraction of the training tokens) for each domain: all >= 0, summing to 1.

    A sum that misses 1 by at most `SUM_TOLERANCE` is normalised; anything else raises InvalidMixture.
    """

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        weights = {  # the plainest case is told apart here: of a hundred thousand trials, each has its mixture
            name: weight + 0.0 if type(weight) is float and 0.0 <= weight <= 1.0 else _checked(name, weight)
            for name, weight in self.weights.items()
        }
        if not weights:
            raise InvalidMixture("a mixture needs at least one domain; got none")
        total = math.fsum(weights.values())
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise InvalidMixture(
                f"weights must sum to 1; got {total:.9g} from {_listed(weights)}; divide them by their sum"
            )
        if abs(total - 1.0) > EXACT_TOLERANCE:
            weights = {name: weight / total for name, weight in weights.items()}
        object.__setattr__(self, "weights", weights)

    @classmethod
    def proportional(cls, tokens: Mapping[str, float]) -> Mixture:
        """Return the mixture with weights proportional to `tokens`: the natural one of available tokens."""
        total = math.fsum(tokens.values())
        if not (total > 0.0 and math.isfinite(total)):
            raise InvalidMixture(
                f"tokens must sum to something finite and positive; got {total:g} from {_listed(tokens)}"
            )
        return cls({name: count / total for name, count in tokens.items()})

    @classmethod
    def from_array(cls, names: Sequence[str], array: NDArray[np.float64]) -> Mixture:
        """Return the mixture of `array` (`d`, in the order of `names`); entries within 1e-9 of zero become zero."""
        if np.shape(array) != (len(names),):
            raise InvalidMixture(
                f"an array of {len(names)} weights is needed, one a domain; got shape {np.shape(array)}"
            )
        return cls({n: 0.0 if abs(w) < ZERO_TOLERANCE else w for n, w in zip(names, array.tolist(), strict=True)})

    def array(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the weights in the order of `names`, `d`; a domain that the mixture does not name weighs 0."""
        unknown = sorted(set(self.weights) - set(names))
        if unknown:
            raise InvalidMixture(f"the mixture weighs domains {unknown} that are not among {list(names)}")
        return np.array([self.weights.get(name, 0.0) for name in names], dtype=np.float64)

    def distance(self, other: Mapping[str, float]) -> float:
        """Return the total variation distance to `other`: the fraction of the tokens that differ, 0 to 1."""
        names = dict.fromkeys([*self.weights, *other])
        return 0.5 * math.fsum(abs(self.weights.get(name, 0.0) - other.get(name, 0.0)) for name in names)

    def __getitem__(self, name: str) -> float:
        return self.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __hash__(self) -> int:
        return hash(frozenset(self.weights.items()))

    def __repr__(self) -> str:
        return f"Mixture({_listed(self.weights)})"


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A source of training tokens that a mixture weighs, and the bounds of its weight.

    available_tokens: None where nobody has counted yet; `max_epochs` then cannot be given.
    max_epochs: how often the target run may repeat the domain (None: as often as it likes).
    weight: a pinned weight (None: free between `min_weight` and `max_weight`).
    """

    name: str
    available_tokens: int | None = None
    min_weight: float = 0.0
    max_weight: float = 1.0
    max_epochs: float | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        check_name("domain", self.name)
        if self.available_tokens is not None and self.available_tokens <= 0:
            raise ConfigError(f"domain {self.name!r}: available_tokens must be positive; got {self.available_tokens}")
        if not 0.0 <= self.min_weight <= self.max_weight <= 1.0:
            bounds = f"min_weight {self.min_weight:g} and max_weight {self.max_weight:g}"
            raise ConfigError(f"domain {self.name!r}: 0 <= min_weight <= max_weight <= 1 must hold; got {bounds}")
        if self.weight is not None and not self.min_weight <= self.weight <= self.max_weight:
            bounds = f"{self.min_weight:g} to {self.max_weight:g}"
            raise ConfigError(f"domain {self.name!r}: pinned weight {self.weight:g} is outside of its bounds {bounds}")
        if self.max_epochs is not None and not self.max_epochs > 0.0:
            raise ConfigError(f"domain {self.name!r}: max_epochs must be positive; got {self.max_epochs:g}")
        if self.max_epochs is not None and self.available_tokens is None:
            raise ConfigError(
                f"domain {self.name!r}: max_epochs needs available_tokens; state them, or drop max_epochs"
            )


@dataclass(frozen=True)
class Recipe:
    """What a training draws from: mixtures in order, each with its share (> 0) of the tokens; shares sum to 1."""

    stages: tuple[tuple[float, Mixture], ...]

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.stages]
        if not shares or min(shares) <= 0.0 or abs(math.fsum(shares) - 1.0) > SUM_TOLERANCE:
            raise InvalidMixture(f"a recipe's shares must be positive and sum to 1; got {shares}")

    @classmethod
    def of(cls, mixture: Mixture) -> Recipe:
        """Return the recipe that draws from one mixture all the way."""
        return cls(((1.0, mixture),))

    @classmethod
    def from_plain(cls, stages: Sequence[tuple[float, Mapping[str, float]]]) -> Recipe:
        """Return the recipe that `plain` wrote."""
        return cls(tuple((float(share), Mixture(weights)) for share, weights in stages))

    def average(self) -> Mixture:
        """Return the mixture of all tokens drawn, whatever their order."""
        if len(self.stages) == 1:
            return self.stages[0][1]
        names = dict.fromkeys(name for _, mixture in self.stages for name in mixture)
        return Mixture({n: math.fsum(share * m.get(n, 0.0) for share, m in self.stages) for n in names})

    def plain(self) -> list[tuple[float, dict[str, float]]]:
        """Return [(share, {domain: weight}), ...]: what crosses to workers and into the store."""
        return [(share, dict(mixture)) for share, mixture in self.stages]


def check_name(what: str, name: str) -> None:
    """Refuse the name of a domain or an evaluation set that could not also name a file."""
    if not name or name.startswith(".") or not name.isprintable() or FORBIDDEN & set(name):
        raise ConfigError(f"{what} has the name {name!r}; use letters, digits, '-' and '_' (it also names a file)")


def _checked(name: str, weight: float) -> float:
    try:
        value = float(weight)
    except (TypeError, ValueError):
        raise InvalidMixture(f"the weight of {name!r} must be a number; got {weight!r}") from None
    if not (value >= 0.0 and math.isfinite(value)):
        raise InvalidMixture(f"the weight of {name!r} must be finite and at least 0; got {value!r}")
    return value + 0.0  # never -0.0: it would print as one


def _listed(weights: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{name!r}: {weight:.6g}" for name, weight in weights.items()) + "}"
