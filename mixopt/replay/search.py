"""Strategies on finished runs: each pays for the rows that it looks at, and what it would ship is scored.

For every cost a strategy plays a search of its own, knowing that cost as its budget, on the pool of each draw; all
strategies play the same pools. What it ships is scored by the measured objective of that row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mixopt.errors import MixoptError, ReplayError
from mixopt.objective import Objective
from mixopt.replay.draws import replayed
from mixopt.replay.players import OWN, Player
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
    spent: what was paid, at most `cost`. behind: regret above the product's own on the same draws; None for itself, or
    where it did not play.
    """

    strategy: str
    cost: float
    regret: Mean
    regret_iqr: Mean
    rank: Mean
    spent: Mean
    behind: Mean | None = None

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
            "behind": None if self.behind is None else self.behind.value,
            "behind_se": None if self.behind is None else plain(self.behind.error),
        }


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """Scores by strategy, then cost; `left_out`: why a strategy has none."""

    scores: tuple[SearchScore, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def replay_search(
    plan: SearchPlan,
    players: Mapping[str, Starter],
    *,
    jobs: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> SearchReport:
    """Return how strategies do, over `jobs` processes; one that the table cannot serve is left out with its reason."""
    found: list[Mapping[str, list[Shipped] | str]] = []
    for done in replayed(_draw, (plan, players), range(plan.draws), jobs=jobs):
        found.append(done)
        told(f"draw {len(found)} of {plan.draws}")
    left_out = {name: told for played in found for name, told in played.items() if isinstance(told, str)}
    shipped = {name: _shipments(found, name) for name in players if name not in left_out}
    scores = [
        _score(name, cost, [draw[place] for draw in draws], [draw[place] for draw in shipped.get(OWN, ())])
        for name, draws in shipped.items()
        for place, cost in enumerate(plan.costs)
    ]
    return SearchReport(scores=tuple(scores), left_out=left_out)


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """What a strategy's pick was worth on one pool, and what it paid."""

    pick: Pick
    spent: float


def _draw(asked: tuple[SearchPlan, Mapping[str, Starter]], draw: int) -> Mapping[str, list[Shipped] | str]:
    """Return what every strategy shipped at each cost; a string: why one cannot be served."""
    plan, players = asked
    seller = plan.seller(draw)
    return {name: _played(plan, start, seller, draw) for name, start in players.items()}


def _played(plan: SearchPlan, start: Starter, seller: Seller, draw: int) -> list[Shipped] | str:
    try:
        player = start(seller.pool)
        ends = [play(player, seller, budget=cost, seed=(plan.seed, draw)) for cost in plan.costs]
        return [Shipped(pick=_shipped(player, seller, end), spent=end.spent) for end in ends]
    except MixoptError as error:
        return str(error)


def _shipments(found: Sequence[Mapping[str, list[Shipped] | str]], name: str) -> list[list[Shipped]]:
    return [shipped for played in found if isinstance(shipped := played[name], list)]


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


def _score(name: str, cost: float, found: Sequence[Shipped], own: Sequence[Shipped]) -> SearchScore:
    paired = zip(found, own, strict=True) if own else ()
    return SearchScore(
        strategy=name,
        cost=cost,
        regret=Mean.of([each.pick.regret for each in found]),
        regret_iqr=Mean.of([each.pick.regret_iqr for each in found]),
        rank=Mean.of([each.pick.rank for each in found]),
        spent=Mean.of([each.spent for each in found]),
        behind=Mean.of([each.pick.regret - ours.pick.regret for each, ours in paired]) if own and name != OWN else None,
    )
