"""The product's strategy on a pool: its surrogate and its acquisition, choosing among rows instead of a polytope.

Shapes: K rows on offer, B of them looked at, d domains, R rungs of the ladder.
"""

from dataclasses import dataclass, replace

import numpy as np

from mixopt.optimize import surrogate
from mixopt.optimize.acquisition import ACQUISITIONS, Belief
from mixopt.optimize.encoding import Array, Indices
from mixopt.optimize.strategies import TOP_SHARE
from mixopt.optimize.surrogate import Surrogate
from mixopt.replay.pool import Pool, Position

OPENING = 16  # rows of the opening, as many as the product trains at the cheapest rung before there is a model
OPENING_SHARE = 0.25  # of the budget at most goes to the opening; a guess
LOOKED_AT = 96  # rows of every cheaper rung whose gain is computed
ROUNDS = 6  # fits of one search, about: each decides a sixth of the budget
STEP = 0.02  # of the budget is spent between two looks at all gains
OUT_OF_REACH = 1e6  # added to the means of mixtures that are no row of the top rung: they cannot be shipped


@dataclass(frozen=True, kw_only=True)
class BayesianPlayer:
    """Rows of the cheapest rung far from each other; then what gains most per unit cost, the top rung's share last."""

    acquisition: str = "knowledge_gradient"

    def buy(self, position: Position, rng: np.random.Generator) -> list[int]:
        """Return the rows that one fit decides."""
        if not position.bought:
            return opening(position, rng)
        if not len(position.affordable()):
            return []
        model = surrogate.fit(position.evidence, position.pool.problem)
        if model is None:  # nothing that was paid has the losses that count
            return [int(rng.choice(position.affordable()))]
        return _Desk.of(position, model, rng).choose(self.acquisition)

    def ship(self, position: Position) -> Array:
        """Return the posterior mean of the rows of the top rung."""
        pool = position.pool
        model = surrogate.fit(position.evidence, pool.problem)
        if model is None:
            return np.zeros(len(pool.tops))
        return Belief.of(model, pool.problem, model.encoding.inputs(pool.weights[pool.tops])).top_mean


def opening(position: Position, rng: np.random.Generator) -> list[int]:
    """Return rows of the cheapest rung, each the farthest from those before it; the first at random."""
    pool, affordable = position.pool, position.affordable()
    rows = affordable[pool.rungs[affordable] == pool.rungs[affordable].min()] if len(affordable) else affordable
    if not len(rows):
        return []
    points, chosen = np.sqrt(pool.weights[rows]), [int(rng.integers(len(rows)))]
    distances = np.full(len(rows), np.inf)
    while len(chosen) < min(OPENING, len(rows)):
        distances = np.minimum(distances, np.linalg.norm(points - points[chosen[-1]], axis=1))
        distances[chosen] = -1.0
        chosen.append(int(distances.argmax()))
    within = np.cumsum(pool.costs[rows[chosen]]) <= OPENING_SHARE * position.budget
    return [int(place) for place in rows[chosen][: max(1, int(within.sum()))]]


def cheap_allowance(pool: Pool, budget: float) -> float:
    """Return what may go to the rungs below the top: all that whole trials of the top rung's share leave."""
    top = pool.problem.ladder.top.cost_flops
    return budget - top * (TOP_SHARE * budget // top)


@dataclass(kw_only=True)
class _Desk:
    """One fit's working state: the rows looked at, what is believed of them, and what this fit has chosen.

    rows: their places in the pool, `B`; open: which of them may still be chosen, `B`; paid: by this fit.
    """

    position: Position
    rows: Indices
    belief: Belief
    open: Indices
    chosen: list[int]
    paid: float = 0.0

    @classmethod
    def of(cls, position: Position, model: Surrogate, rng: np.random.Generator) -> "_Desk":
        """Return the desk before anything is chosen: all rows of the top rung, and some of every cheaper one."""
        pool, affordable = position.pool, position.affordable()
        cheaper = [affordable[pool.rungs[affordable] == rung] for rung in range(len(pool.problem.ladder) - 1)]
        rows = np.concatenate([pool.tops, *(rng.permutation(places)[:LOOKED_AT] for places in cheaper)])
        belief = Belief.of(model, pool.problem, model.encoding.inputs(pool.weights[rows]))
        mean = belief.mean.copy()
        mean[-1, len(pool.tops) :] += OUT_OF_REACH
        open_rows = np.flatnonzero(np.isin(rows, affordable))
        return cls(position=position, rows=rows, belief=replace(belief, mean=mean), open=open_rows, chosen=[])

    def choose(self, acquisition: str) -> list[int]:
        """Return the places of the rows to pay for, every one as if those before it had shown what is expected."""
        allowance = self.position.budget / ROUNDS
        while self.paid < allowance:
            usable = self._usable()
            if not len(usable):
                break
            for row in self._best(acquisition, usable):
                self._take(int(row))
        return self.chosen

    def _usable(self) -> Indices:
        """Return the rows that may be chosen: of the top rung alone once the cheap ones have had their allowance."""
        pool, left = self.position.pool, self.position.left - self.paid
        usable = self.open[pool.costs[self.rows[self.open]] <= left]
        top = pool.rungs[self.rows[usable]] == len(pool.problem.ladder) - 1
        bought = np.array([*self.position.bought, *self.chosen], dtype=np.intp)
        cheap = float(pool.costs[bought[pool.rungs[bought] < len(pool.problem.ladder) - 1]].sum())
        least = float(pool.costs[self.rows[usable[~top]]].min()) if (~top).any() else 0.0
        owed = cheap + least > cheap_allowance(pool, self.position.budget) * (1.0 + 1e-9)
        return usable[top] if owed and top.any() else usable

    def _best(self, acquisition: str, usable: Indices) -> Indices:
        """Return the row with the largest gain per unit cost, and the next best of its rung within a step's money."""
        pool = self.position.pool
        rungs, costs = pool.rungs[self.rows[usable]], pool.costs[self.rows[usable]]
        values = np.zeros(len(usable))
        for rung in np.unique(rungs):
            gains = ACQUISITIONS[acquisition](self.belief, int(rung))
            values[rungs == rung] = gains[usable[rungs == rung]]
        values /= costs
        if values.max() <= 0.0:  # the model sees no gain anywhere: look where it expects the best
            values = -self.belief.mean[rungs, usable]
        order = np.argsort(-values, kind="stable")
        same = order[rungs[order] == rungs[order[0]]]
        within = np.cumsum(costs[same]) <= STEP * self.position.budget
        chosen: Indices = usable[same[: max(1, int(within.sum()))]]
        return chosen

    def _take(self, row: int) -> None:
        pool, place = self.position.pool, int(self.rows[row])
        cost = float(pool.costs[place])
        if cost > self.position.left - self.paid + 1e-12:
            return
        self.chosen.append(place)
        self.open = self.open[self.open != row]
        self.belief = self.belief.expecting(row, int(pool.rungs[place]))
        self.paid += cost
