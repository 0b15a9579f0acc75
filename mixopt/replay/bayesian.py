"""The product's strategy on a pool: its surrogate and its stages, choosing among rows instead of a polytope."""

from dataclasses import dataclass

import numpy as np

from mixopt.optimize.acquisition import Belief
from mixopt.optimize.encoding import Array, Indices
from mixopt.optimize.fitting import fit
from mixopt.optimize.stages import Offer, first_stage
from mixopt.optimize.surrogate import Surrogate
from mixopt.replay.pool import Position, Wish

OPENING = 16  # rows of the opening, as many as the product trains at the cheapest rung before there is a model
OPENING_SHARE = 0.25  # of the budget at most goes to the opening; a guess
LOOKED_AT = 96  # rows of every cheaper rung whose gain is computed
ROUNDS = 4  # fits below the top rung, about: each decides a quarter of the budget


@dataclass(frozen=True)
class BayesianPlayer:
    """Rows of the cheapest rung far from each other; then stage by stage, as what is left is best split."""

    def buy(self, position: Position, rng: np.random.Generator) -> Wish:
        """Return the rows that one fit decides."""
        if not position.bought:
            return Wish(places=opening(position, rng))
        if not len(position.affordable()):
            return Wish()
        model = fit(position.evidence, position.pool.problem)
        if model is None:  # nothing that was paid has the losses that count
            return Wish(places=[int(rng.choice(position.affordable()))])
        places, offer = offered(position, model, rng)
        stage = first_stage(offer, budget=position.left, part=position.budget / ROUNDS, rng=rng)
        chosen = places[list(stage.trials)]
        others = np.setdiff1d(position.affordable(), chosen)
        others = rng.permutation(others[position.pool.rungs[others] == stage.rung])
        wanted = [int(place) for place in [*chosen, *others[: max(0, stage.count - len(chosen))]]]
        return Wish(places=wanted, last_fit=model.parameters)

    def ship(self, position: Position) -> Array:
        """Return the posterior mean of the rows of the top rung."""
        pool = position.pool
        model = fit(position.evidence, pool.problem)
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


def offered(position: Position, model: Surrogate, rng: np.random.Generator) -> tuple[Indices, Offer]:
    """Return the places in the pool of the rows that may be bought next, and the same rows as `stages` has them.

    All rows of the top rung, which may be shipped, and of every cheaper rung some that are affordable.
    """
    pool, affordable, top = position.pool, position.affordable(), len(position.pool.problem.ladder) - 1
    cheaper = [affordable[pool.rungs[affordable] == rung] for rung in range(top)]
    rows = np.concatenate([pool.tops, *(rng.permutation(places)[:LOOKED_AT] for places in cheaper)])
    belief = Belief.of(model, pool.problem, model.encoding.inputs(pool.weights[rows]))
    open_rows = np.flatnonzero(np.isin(rows, affordable))
    bought = pool.rungs[list(position.bought)]
    return rows[open_rows], Offer(
        belief=belief,
        mixtures=open_rows,
        rungs=pool.rungs[rows[open_rows]],
        costs=pool.costs[rows[open_rows]],
        shippable=np.arange(len(pool.tops)),
        seen=np.bincount(bought, minlength=top + 1),
    )
