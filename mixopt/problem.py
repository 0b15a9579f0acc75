"""What is to be solved: the space, the ladder, the objective, and what was given with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mixopt.errors import ConfigError
from mixopt.fidelity import Ladder
from mixopt.mixture import Mixture
from mixopt.objective import Objective
from mixopt.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class Problem:
    """All that a strategy knows besides the evidence.

    sets: every evaluation set that is measured, whether or not the objective counts it.
    natural: weights proportional to `available_tokens`; it need not lie in the space.
    available_tokens: tokens there are of every domain (as stated, where what was read is a sample).
    pools: tokens of every domain that trials of a rung draw from (cut, where epochs are simulated); a rung that is not
        there draws from what nobody knows.
    max_epochs: how often UniMax lets a domain repeat within `tokens`.
    natural_seeds, spread: with how many seeds the natural mixture opens a search, and how many other mixtures do.
    acquisition: what the product's strategy values trials by. stop_below: the expected gain, in bits per byte for the
    cost of a trial at the top rung, below which it ends the search (0: never).
    """

    space: SearchSpace
    ladder: Ladder
    objective: Objective
    sets: tuple[str, ...]
    natural: Mixture
    available_tokens: Mapping[str, int]
    pools: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    max_epochs: float = 4.0
    natural_seeds: int = 4
    spread: int = 12
    acquisition: str = "knowledge_gradient"
    stop_below: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        missing = [name for name in self.objective.needed if name not in self.sets]
        if missing:
            raise ConfigError(f"the objective names unknown evaluation sets {missing}; known: {sorted(self.sets)}")
        if set(self.natural) != set(self.space.names) or set(self.available_tokens) != set(self.space.names):
            got = f"{sorted(self.natural)} and {sorted(self.available_tokens)}"
            raise ConfigError(f"natural and available_tokens must name the domains {list(self.space.names)}; got {got}")

    @property
    def tokens(self) -> int:
        """The tokens of the training that epochs refer to: the target's, or else the top rung's."""
        return self.ladder.target.tokens if self.ladder.target is not None else self.ladder.top.tokens

    def passes(self, fidelity: str) -> dict[str, float]:
        """Return how often a trial of a single domain would pass over it at the rung; empty where nobody knows."""
        tokens = self.ladder[fidelity].tokens
        return {name: tokens / max(count, 1) for name, count in self.pools.get(fidelity, {}).items()}

    @property
    def target_passes(self) -> dict[str, float]:
        """The same at the target, whose domains are whole; empty where no rung's are known, or there is no target."""
        target = self.ladder.target
        if target is None or not self.pools:
            return {}
        return {name: target.tokens / max(count, 1) for name, count in self.available_tokens.items()}
