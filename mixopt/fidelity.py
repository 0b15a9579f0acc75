"""What a trial costs: the rungs of the ladder, and the target that we care about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mixopt.errors import ConfigError

EXPERT_FIDELITY = "expert"  # of data experts that could not train as their rung does; no rung may be called so


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """A rung: a proxy of so many (active) parameters trained on so many tokens, its trial charged `cost_flops`.

    noise_sd: of the objective over seeds, where it is known; None: it is estimated from mixtures trained again.
    """

    name: str
    tokens: int
    parameters: int
    cost_flops: float
    noise_sd: float | None = None

    def __post_init__(self) -> None:
        if min(self.tokens, self.parameters) <= 0 or not self.cost_flops > 0.0:
            got = f"{self.tokens} tokens, {self.parameters} parameters, {self.cost_flops:g} FLOPs"
            raise ConfigError(f"rung {self.name!r}: tokens, parameters and cost must be positive; got {got}")
        if self.noise_sd is not None and not self.noise_sd >= 0.0:
            raise ConfigError(f"rung {self.name!r}: noise_sd must be at least 0; got {self.noise_sd:g}")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The user's own training: its (active) parameters and its tokens."""

    parameters: int
    tokens: int

    def __post_init__(self) -> None:
        if min(self.parameters, self.tokens) <= 0:
            got = f"{self.parameters} parameters, {self.tokens} tokens"
            raise ConfigError(f"the target's parameters and tokens must be positive; got {got}")


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs from cheap to expensive, and the target (None: the top rung is all that is wanted)."""

    rungs: tuple[Fidelity, ...]
    target: Target | None = None

    def __post_init__(self) -> None:
        names = [rung.name for rung in self.rungs]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"a ladder needs at least one rung, each of its own name; got {names}")
        costs = [rung.cost_flops for rung in self.rungs]
        if sorted(costs) != costs or len(set(costs)) < len(costs):
            got = ", ".join(f"{rung.name} {rung.cost_flops:.3g}" for rung in self.rungs)
            raise ConfigError(f"rungs must rise in cost; got {got} FLOPs a trial; put the cheapest first")

    @property
    def top(self) -> Fidelity:
        """The last and most expensive rung."""
        return self.rungs[-1]

    @property
    def cheapest(self) -> Fidelity:
        """The first rung."""
        return self.rungs[0]

    def __getitem__(self, name: str) -> Fidelity:
        return self.rungs[self.index(name)]

    def __iter__(self) -> Iterator[Fidelity]:
        return iter(self.rungs)

    def __len__(self) -> int:
        return len(self.rungs)

    def __contains__(self, name: object) -> bool:
        return any(rung.name == name for rung in self.rungs)

    def index(self, name: str) -> int:
        """Return the place of the rung `name`, 0 the cheapest; ConfigError names the known ones."""
        names = [rung.name for rung in self.rungs]
        if name not in names:
            raise ConfigError(f"no rung is named {name!r}; known: {names}")
        return names.index(name)
