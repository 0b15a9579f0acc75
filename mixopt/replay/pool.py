"""The finished runs of one draw: what a strategy may know of them before it pays, and what it learns when it has.

Shapes: K rows on offer, d domains, m evaluation sets, R rungs of the ladder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mixopt.errors import ReplayError
from mixopt.evidence import Evidence, History, LastFit
from mixopt.objective import Objective
from mixopt.optimize.encoding import Array, Indices
from mixopt.problem import Problem
from mixopt.runs_table import RunsTable

SLACK = 1e-9  # of a budget: float error of a sum of costs


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What is on offer: mixtures, rungs and costs of K rows, and no losses.

    weights: `K x d`; rungs: places in the ladder, `K`; costs: in the table's unit, `K`.
    token_counts: whether the table tells what tokens the domains have; tokens: and those of the top fidelity.
    """

    problem: Problem
    weights: Array
    rungs: Indices
    costs: Array
    token_counts: bool
    tokens: bool

    @cached_property
    def tops(self) -> Indices:
        """The places of the rows at the top rung: those that can be shipped."""
        return self.at(len(self.problem.ladder) - 1)

    def at(self, rung: int) -> Indices:
        """Return the places of the rows at a rung."""
        return np.flatnonzero(self.rungs == rung)


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a strategy stands: what it has bought (places, in order), what these showed, and its money."""

    pool: Pool
    budget: float
    bought: tuple[int, ...] = ()
    spent: float = 0.0
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def left(self) -> float:
        """What may still be spent."""
        return self.budget - self.spent

    def affordable(self) -> Indices:
        """Return the places not yet bought whose cost is not above what is left."""
        fresh = np.ones(len(self.pool.costs), dtype=bool)
        fresh[list(self.bought)] = False
        return np.flatnonzero(fresh & (self.pool.costs <= self.left + SLACK * self.budget))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a strategy would pay for: places in the pool, in order; last_fit: where its next fit starts, if any."""

    places: Sequence[int] = ()
    last_fit: LastFit | None = None


@dataclass(frozen=True, kw_only=True)
class Seller:
    """The holder of the losses: shows those of a row once it is paid.

    places: of the pool's rows in the table, `K`; truth: their objective, `K`.
    """

    table: RunsTable
    pool: Pool
    places: Indices
    truth: Array

    @classmethod
    def of(cls, table: RunsTable, objective: Objective, top: str, tops: Indices) -> "Seller":
        """Return the seller of the rows `tops` and of every row at a cheaper rung that measured the objective."""
        problem = table.problem(objective, top)
        truth, names = table.truth(objective), [rung.name for rung in problem.ladder]
        cheaper = [i for i, run in enumerate(table.runs) if run.fidelity in names[:-1] and np.isfinite(truth[i])]
        places = np.concatenate([np.sort(tops), np.array(cheaper, dtype=np.intp)])
        runs = [table.runs[i] for i in places]
        pool = Pool(
            problem=problem,
            weights=table.weights[places],
            rungs=np.array([names.index(run.fidelity) for run in runs], dtype=np.intp),
            costs=np.array([run.cost for run in runs]),
            token_counts=bool(table.available(top)),
            tokens=any(run.tokens is not None for run in runs if run.fidelity == top),
        )
        return cls(table=table, pool=pool, places=places, truth=truth[places])

    def sell(self, position: Position, wish: Wish) -> Position:
        """Return the position after the rows wanted are paid, in order, as far as money goes; none is sold twice."""
        bought, spent = list(position.bought), position.spent
        for place in wish.places:
            cost = float(self.pool.costs[place])
            if place in bought or spent + cost > position.budget * (1.0 + SLACK):
                continue
            bought.append(int(place))
            spent += cost
        seen = self.table.observations(self.places[bought])
        evidence = Evidence(history=History(observations=seen), last_fit=wish.last_fit)
        return replace(position, bought=tuple(bought), spent=spent, evidence=evidence)


def draw_tops(table: RunsTable, objective: Objective, top: str, *, size: int | None, seed: Sequence[int]) -> Indices:
    """Return `size` random rows of the top fidelity that measured the objective (None: all); ReplayError if too few."""
    rows = table.rows(top)
    rows = rows[np.isfinite(table.truth(objective)[rows])]
    if len(rows) < max(2, size or 2):
        raise ReplayError(f"{top} has {len(rows)} rows that measured the objective; asked for a pool of {size or 2}")
    return rows if size is None else np.random.default_rng(list(seed)).permutation(rows)[:size]
