"""Strategies that choose among finished runs: `PLAYERS`, each a pure function of its position and a generator.

A player names rows to pay for next (none: it is done), and scores what it would ship, the least the best.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mixopt.errors import ReplayError
from mixopt.mixture import Mixture
from mixopt.optimize.baselines.rivals import RIVAL_SURROGATES, RIVALS
from mixopt.optimize.encoding import Array, Indices
from mixopt.optimize.heuristics import temperature, unimax
from mixopt.problem import Problem
from mixopt.replay.bayesian import BayesianPlayer
from mixopt.replay.fit import Builder
from mixopt.replay.pool import Pool, Position, Wish

SMOOTHING = 2.0  # temperature of the strategy of that name: weights as the square root of tokens
OWN = "bayesian"  # the product's strategy
EXPLORED = 0.5  # of the budget goes to random mixtures at the cheapest rung, the rest to the model's picks; a guess


class Player(Protocol):
    """A strategy on a pool of finished runs."""

    def buy(self, position: Position, rng: np.random.Generator) -> Wish:
        """Return the rows to pay for next; none ends the search."""
        ...

    def ship(self, position: Position) -> Array:
        """Return a score of every row of the top rung, in the pool's order; the least is shipped."""
        ...


@dataclass(frozen=True)
class RandomPlayer:
    """Rows of the top rung at random, while there is money; it ships the best that it has observed."""

    def buy(self, position: Position, rng: np.random.Generator) -> Wish:
        """Return the rows of the top rung in random order."""
        tops = np.intersect1d(position.affordable(), position.pool.tops)
        return Wish(places=[int(place) for place in rng.permutation(tops)])

    def ship(self, position: Position) -> Array:
        """Return what was measured; infinite elsewhere."""
        return observed(position)


@dataclass(frozen=True)
class FixedPlayer:
    """No trial: the row of the top rung whose mixture is nearest to the one wanted (total variation)."""

    wanted: Callable[[Problem], Mixture]

    def buy(self, position: Position, rng: np.random.Generator) -> Wish:
        """Return no row."""
        return Wish()

    def ship(self, position: Position) -> Array:
        """Return the distances to the mixture wanted."""
        problem = position.pool.problem
        weights = self.wanted(problem).array(problem.space.names)
        distances: Array = 0.5 * np.abs(position.pool.weights[position.pool.tops] - weights).sum(axis=1)
        return distances


@dataclass(frozen=True)
class ModelPlayer:
    """Random mixtures at the cheapest rung; then, while there is money, the model's pick at the top rung.

    It ships the row that the model predicts best.
    """

    build: Builder

    def buy(self, position: Position, rng: np.random.Generator) -> Wish:
        """Return what to explore, all at once; afterwards the model's pick among the rows that can be paid."""
        pool = position.pool
        if not position.bought:
            return Wish(places=_explore(position, rng))
        tops = np.intersect1d(position.affordable(), pool.tops)
        if not len(tops):
            return Wish()
        return Wish(places=[int(tops[int(self._predict(position, pool.weights[tops]).argmin())])])

    def ship(self, position: Position) -> Array:
        """Return the predicted objective."""
        if not position.evidence.history.observations:
            return np.zeros(len(position.pool.tops))
        return self._predict(position, position.pool.weights[position.pool.tops])

    def _predict(self, position: Position, weights: Array) -> Array:
        problem = position.pool.problem
        mean = self.build(position.evidence, problem).predict(weights, problem.ladder.top.name).mean
        if not np.isfinite(mean).all():
            raise ReplayError(f"its model predicted {mean[~np.isfinite(mean)][0]}")
        return mean


def observed(position: Position) -> Array:
    """Return the measured objective of the rows of the top rung; infinite where nothing was paid."""
    problem, scores = position.pool.problem, np.full(len(position.pool.tops), np.inf)
    places = {int(place): k for k, place in enumerate(position.pool.tops)}
    for place, seen in zip(position.bought, position.evidence.history.observations, strict=True):
        if place in places:
            scores[places[place]] = problem.objective.value(seen.losses)
    return scores


def _explore(position: Position, rng: np.random.Generator) -> list[int]:
    """Return random rows of the cheapest rung: so many that whole trials at the top rung use what they leave."""
    pool, problem = position.pool, position.pool.problem
    rows = rng.permutation(pool.at(0))
    if len(problem.ladder) == 1:
        return _sorted(rows[np.cumsum(pool.costs[rows]) <= max(EXPLORED * position.budget, 0.0)])
    wanted = min(float(pool.costs[rows].sum()), EXPLORED * position.budget)
    tops = (position.budget - wanted) // problem.ladder.top.cost_flops
    allowed = position.budget - tops * problem.ladder.top.cost_flops
    return _sorted(rows[np.cumsum(pool.costs[rows]) <= allowed])


def _sorted(places: Indices) -> list[int]:
    """Return places in the pool's order: the same rows are the same fit, whatever order they were drawn in."""
    return [int(place) for place in np.sort(places)]


def _random(_pool: Pool) -> Player:
    return RandomPlayer()


def _uniform(_pool: Pool) -> Player:
    return FixedPlayer(lambda problem: problem.space.uniform())


def _natural(pool: Pool) -> Player:
    _need_counts(pool)
    return FixedPlayer(lambda problem: problem.natural)


def _temperature(pool: Pool) -> Player:
    _need_counts(pool)
    return FixedPlayer(lambda problem: temperature(problem.available_tokens, SMOOTHING))


def _unimax(pool: Pool) -> Player:
    _need_counts(pool)
    if not pool.tokens:
        raise ReplayError("the table does not tell the tokens of the top fidelity; add a column `tokens`")
    return FixedPlayer(lambda problem: unimax(problem.available_tokens, problem.tokens, problem.max_epochs))


def _need_counts(pool: Pool) -> None:
    if not pool.token_counts:
        raise ReplayError("the table does not tell what tokens the domains have; add columns `available/<domain>`")


def _mde(_pool: Pool) -> Player:
    raise ReplayError("it needs the data experts' token probabilities, which no table of runs holds")


@dataclass(frozen=True)
class _Modelled:
    """Starts a search by the rival's model of that name."""

    surrogate: str

    def __call__(self, _pool: Pool) -> Player:
        return ModelPlayer(RIVAL_SURROGATES[self.surrogate])


@dataclass(frozen=True)
class _ByEntropy:
    """Starts a search by the rival's own process and gain."""

    name: str

    def __call__(self, _pool: Pool) -> Player:
        from mixopt.replay.entropy import EntropyPlayer  # noqa: PLC0415  # BoTorch takes seconds to import

        return EntropyPlayer(RIVALS[self.name])


def _bayesian(_pool: Pool) -> Player:
    return BayesianPlayer()


PLAYERS: Mapping[str, Callable[[Pool], Player]] = {
    OWN: _bayesian,
    "random": _random,
    "natural": _natural,
    "uniform": _uniform,
    "temperature": _temperature,
    "unimax": _unimax,
    "regmix": _Modelled("lightgbm"),
    "log-linear": _Modelled("log-linear"),
    "marin": _Modelled("marin"),
    "scheffe": _Modelled("scheffe"),
    "admire": _ByEntropy("admire"),
    "admire-raw": _ByEntropy("admire-raw"),
    "botorch": _ByEntropy("botorch"),
    "mde": _mde,
}
