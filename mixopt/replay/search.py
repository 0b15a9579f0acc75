"""Strategies on finished runs: each pays for the rows that it looks at, and what it would ship is scored.

For every cost a strategy plays a search of its own, knowing that cost as its budget, on the pool of each draw; all
strategies play the same pools. What it ships is scored by the measured objective of that row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mixopt.errors import MixoptError, ReplayError
from mixopt.objective import Objective
from mixopt.replay.players import Player
from mixopt.replay.pool import Pool, Position, Seller, draw_tops
from mixopt.replay.score import Mean, Pick, least, plain, score_pick
from mixopt.runs_table import RunsTable

Starter = Callable[[Pool], Player]


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What is searched: rows of `top`, `pool` of them drawn afresh for each draw (None: all), at each of `costs`."""

    table: RunsTable
    objective: Objective
    top: str
    costs: tuple[float, ...]
    draws: int = 10
    pool: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.costs or not all(0.0 < cost < np.inf for cost in self.costs):
            raise ReplayError(f"costs are positive numbers in the table's unit; got {list(self.costs)}")
        if self.draws < 1 or (self.pool is not None and self.pool < 2):
            raise ReplayError(f"draws are at least 1 and a pool has 2 rows; got {self.draws} draws, pool {self.pool}")

    def seller(self, draw: int) -> Seller:
        """Return the pool of a draw, with its losses behind the counter."""
        tops = draw_tops(self.table, self.objective, self.top, size=self.pool, seed=(self.seed, draw))
        return Seller.of(self.table, self.objective, self.top, tops)


@dataclass(frozen=True, kw_only=True)
class SearchScore:
    """One strategy at one charged cost: means over the draws of what its shippable pick is worth.

    regret: its loss above the pool's best; regret_iqr: that in the pool's interquartile ranges; rank: 1 is the best.
    spent: what was paid, at most `cost`.
    """

    strategy: str
    cost: float
    regret: Mean
    regret_iqr: Mean
    rank: Mean
    spent: Mean

    def plain(self) -> dict[str, object]:
        """Return the score as JSON holds it; null where nothing could be told."""
        return {
            "strategy": self.strategy,
            "cost": self.cost,
            "regret": self.regret.value,
            "regret_se": plain(self.regret.error),
            "regret_iqr": plain(self.regret_iqr.value),
            "rank": self.rank.value,
            "rank_se": plain(self.rank.error),
        }


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """Scores by strategy, then cost; `left_out`: why a strategy has none."""

    scores: tuple[SearchScore, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def replay_search(
    plan: SearchPlan, players: Mapping[str, Starter], *, told: Callable[[str], None] = lambda _: None
) -> SearchReport:
    """Return how strategies do; one that the table cannot serve is left out with its reason."""
    left_out: dict[str, str] = {}
    done: dict[tuple[str, float], list[tuple[Pick, float]]] = {
        (name, cost): [] for name in players for cost in plan.costs
    }
    for draw in range(plan.draws):
        seller = plan.seller(draw)
        for name in [name for name in players if name not in left_out]:
            told(f"draw {draw + 1} of {plan.draws}: {name}")
            try:
                player = players[name](seller.pool)
                for cost in plan.costs:
                    end = play(player, seller, budget=cost, seed=(plan.seed, draw))
                    done[name, cost].append((_shipped(player, seller, end), end.spent))
            except MixoptError as error:
                left_out[name] = str(error)
    scores = [_score(name, cost, found) for (name, cost), found in done.items() if name not in left_out]
    return SearchReport(scores=tuple(scores), left_out=left_out)


def play(player: Player, seller: Seller, *, budget: float, seed: tuple[int, ...]) -> Position:
    """Return where `player` stands when its money is spent, or when it wants no more."""
    rng = np.random.default_rng([*seed, 1])  # another stream than the pool's
    position = Position(pool=seller.pool, budget=budget)
    while True:
        after = seller.sell(position, player.buy(position, rng))
        if len(after.bought) == len(position.bought):
            return position
        position = after


def _shipped(player: Player, seller: Seller, end: Position) -> Pick:
    tops = seller.pool.tops
    return score_pick(least(player.ship(end)), seller.truth[tops])


def _score(name: str, cost: float, found: list[tuple[Pick, float]]) -> SearchScore:
    return SearchScore(
        strategy=name,
        cost=cost,
        regret=Mean.of([pick.regret for pick, _ in found]),
        regret_iqr=Mean.of([pick.regret_iqr for pick, _ in found]),
        rank=Mean.of([pick.rank for pick, _ in found]),
        spent=Mean.of([spent for _, spent in found]),
    )
