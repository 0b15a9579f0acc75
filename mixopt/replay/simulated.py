"""Strategies on landscapes with a known optimum: each as the product runs it, and what each would recommend.

A search proposes a batch, sees it, and proposes again until its budget is spent; the mixture that it then recommends by
its own rule is scored by its true loss at the top rung above the least there is. All strategies search the same
landscapes with the same money.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from mixopt.errors import MixoptError, ReplayError
from mixopt.evidence import Evidence, History, Observation, Purse, Strategy
from mixopt.mixture import Mixture
from mixopt.optimize.baselines.entropy_search import EntropyStrategy
from mixopt.optimize.baselines.swarm import SwarmStrategy
from mixopt.optimize.recommend import recommend
from mixopt.optimize.strategies import BayesianStrategy, FixedStrategy
from mixopt.problem import Problem
from mixopt.replay.draws import replayed
from mixopt.replay.landscapes import Landscape
from mixopt.replay.players import OWN
from mixopt.replay.score import Mean, plain

Starter = Callable[[Problem], Strategy]

SLACK = 1e-9  # of a budget: float error of a sum of costs
NOT_SERVED = {"mde": "it needs the data experts' token probabilities, which no landscape holds"}


@dataclass(frozen=True, kw_only=True)
class SimulatedPlan:
    """Landscapes of so many domains, at so many seeds each.

    budget: in trials at the top rung; batch: trials that are proposed at once.
    """

    domains: tuple[int, ...]
    seeds: int = 20
    first_seed: int = 0
    budget: float = 6.0
    batch: int = 8

    def __post_init__(self) -> None:
        if not self.domains or min(self.domains) < 2:
            raise ReplayError(f"landscapes have at least 2 domains; got {list(self.domains)}")
        if min(self.seeds, self.batch) < 1 or not self.budget > 0.0 or self.first_seed < 0:
            got = f"{self.seeds} seeds from {self.first_seed}, batches of {self.batch}, budget {self.budget:g}"
            raise ReplayError(f"seeds, batch and budget are positive; got {got}")


@dataclass(frozen=True, kw_only=True)
class SimulatedScore:
    """One strategy on landscapes of `d` domains: means over the seeds of what its recommendation loses.

    behind: its regret above the product's own on the same landscapes; None for itself, or where it did not search.
    """

    strategy: str
    d: int
    regret: Mean
    behind: Mean | None

    def plain(self) -> dict[str, object]:
        """Return the score as JSON holds it; null where nothing could be told."""
        return {
            "strategy": self.strategy,
            "d": self.d,
            "regret": self.regret.value,
            "regret_se": plain(self.regret.error),
            "behind": None if self.behind is None else self.behind.value,
            "behind_se": None if self.behind is None else plain(self.behind.error),
        }


@dataclass(frozen=True, kw_only=True)
class SimulatedReport:
    """Scores by d, then strategy; `left_out`: why a strategy has none at some d."""

    scores: tuple[SimulatedScore, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def replay_simulated(
    plan: SimulatedPlan,
    strategies: Mapping[str, Starter],
    *,
    jobs: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> SimulatedReport:
    """Return how `strategies` do, over `jobs` processes; one that fails on a landscape is left out for its d."""
    draws = [(d, plan.first_seed + k) for d in plan.domains for k in range(plan.seeds)]
    found: dict[tuple[int, int], Mapping[str, float | str]] = {}
    for draw, done in zip(draws, replayed(_draw, (plan, strategies), draws, jobs=jobs), strict=True):
        found[draw] = done
        told(f"{len(found)} of {len(draws)} landscapes")
    scores: list[SimulatedScore] = []
    left_out: dict[str, str] = {}
    for d in plan.domains:
        known: dict[str, list[float]] = {}
        for name in strategies:
            each = [got[name] for (of, _), got in found.items() if of == d]
            reasons = [why for why in each if isinstance(why, str)]
            if reasons:
                left_out[f"{name} at d = {d}"] = reasons[0]
            else:
                known[name] = [regret for regret in each if not isinstance(regret, str)]
        scores += [_score(name, d, regrets, known.get(OWN)) for name, regrets in known.items()]
    return SimulatedReport(scores=tuple(scores), left_out=left_out)


class Ground(Protocol):
    """What can be searched: a problem, and losses for every trial of it."""

    @property
    def problem(self) -> Problem:
        """What a strategy is told."""
        ...

    @property
    def seed(self) -> int:
        """Which one of its kind it is."""
        ...

    def observe(self, trial: int, mixture: Mixture, rung: str, seed: int) -> Observation:
        """Return the trial as completed."""
        ...


NOTHING = Evidence()


def search(strategy: Strategy, landscape: Ground, *, budget: float, batch: int, begun: Evidence = NOTHING) -> Evidence:
    """Return what `strategy` has seen when a further trial would cost more than is left, or when it wants no more.

    begun: what was seen, and paid, before.
    """
    seen: list[Observation] = list(begun.history.observations)
    left = budget
    while True:
        purse = Purse(total_flops=budget, left_flops=max(left, 0.0))
        evidence = replace(begun, history=History(observations=tuple(seen)), purse=purse)
        proposals = strategy.propose(evidence, n=batch, seed=landscape.seed * 1_000 + len(seen))
        for proposal in proposals:
            cost = landscape.problem.ladder[proposal.fidelity].cost_flops
            if cost > left + SLACK * budget:
                return replace(evidence, history=History(observations=tuple(seen)))
            left -= cost
            seen.append(landscape.observe(len(seen), proposal.mixture, proposal.fidelity, proposal.seed))
        if not proposals:
            return evidence


def recommended(strategy: Strategy, evidence: Evidence, problem: Problem) -> Mixture:
    """Return the mixture that a strategy would have trained: the product's, its model's pick, or the best measured."""
    if isinstance(strategy, BayesianStrategy):
        return recommend(evidence, problem).mixture
    if isinstance(strategy, SwarmStrategy):
        return problem.space.project(strategy.pick(evidence, problem))
    if isinstance(strategy, FixedStrategy):
        return strategy.mixture
    top = problem.ladder.top.name
    if isinstance(strategy, EntropyStrategy):
        tried = list(dict.fromkeys(seen.mixture for seen in evidence.history.observations))
        rows = np.array([mixture.array(problem.space.names) for mixture in tried])
        return tried[int(strategy.surrogate(evidence, problem).predict(rows, top).mean.argmin())]
    return min(evidence.history.at(top), key=lambda seen: problem.objective.value(seen.losses)).mixture


def _draw(asked: tuple[SimulatedPlan, Mapping[str, Starter]], which: tuple[int, int]) -> Mapping[str, float | str]:
    """Return the regret of every strategy on one landscape; a string: why one has none."""
    plan, strategies = asked
    landscape = Landscape(d=which[0], seed=which[1])
    return {name: NOT_SERVED.get(name) or _searched(plan, start, landscape) for name, start in strategies.items()}


def _searched(plan: SimulatedPlan, start: Starter, landscape: Landscape) -> float | str:
    problem = landscape.problem
    try:
        strategy = start(problem)
        evidence = search(strategy, landscape, budget=plan.budget, batch=plan.batch)
        chosen = recommended(strategy, evidence, problem)
    except MixoptError as error:
        return str(error)
    return float(landscape.true(chosen.array(problem.space.names)[None])[0]) - landscape.optimum


def _score(name: str, d: int, regrets: Sequence[float], own: Sequence[float] | None) -> SimulatedScore:
    paired = zip(regrets, own, strict=True) if own is not None and name != OWN else None
    behind = None if paired is None else Mean.of([lost - ours for lost, ours in paired])
    return SimulatedScore(strategy=name, d=d, regret=Mean.of(regrets), behind=behind)
