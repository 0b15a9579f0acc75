"""The rivals that search by max-value entropy, on a pool: their process and their gain, choosing among rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixopt.evidence import Strategy
from mixopt.optimize.baselines.entropy_search import EntropyStrategy
from mixopt.optimize.baselines.fidelity_gp import joined
from mixopt.optimize.encoding import Array
from mixopt.problem import Problem
from mixopt.replay.pool import Position, Wish

ROUNDS = 6  # fits of one search, about; the authors fit after every trial, which takes hours with a thousand cheap ones


@dataclass(frozen=True)
class EntropyPlayer:
    """One random row of the cheapest rung; then the rows that gain most per unit cost, so many as a round may cost."""

    start: Callable[[Problem], Strategy]

    def buy(self, position: Position, rng: np.random.Generator) -> Wish:
        """Return the rows that one fit decides."""
        pool, affordable = position.pool, position.affordable()
        if not len(affordable):
            return Wish()
        if not position.bought:
            cheapest = affordable[pool.rungs[affordable] == pool.rungs[affordable].min()]
            return Wish(places=[int(rng.choice(cheapest))])
        strategy, names = self._strategy(pool.problem), [rung.name for rung in pool.problem.ladder]
        model = strategy.surrogate(position.evidence, pool.problem)
        rows = np.vstack(
            [joined(pool.problem, pool.weights[place][None], names[pool.rungs[place]]) for place in affordable]
        )
        gains = strategy.gains(model, rows, int(rng.integers(2**31)))
        ordered = affordable[np.argsort(-gains, kind="stable")]
        within = np.cumsum(pool.costs[ordered]) <= position.budget / ROUNDS
        return Wish(places=[int(place) for place in ordered[: max(1, int(within.sum()))]])

    def ship(self, position: Position) -> Array:
        """Return the posterior mean of the rows of the top rung."""
        pool, problem = position.pool, position.pool.problem
        if not position.bought:
            return np.zeros(len(pool.tops))
        model = self._strategy(problem).surrogate(position.evidence, problem)
        return model.predict(pool.weights[pool.tops], problem.ladder.top.name).mean

    def _strategy(self, problem: Problem) -> EntropyStrategy:
        strategy = self.start(problem)
        assert isinstance(strategy, EntropyStrategy), "only these are played so"
        return strategy
