"""How the rivals spend trials: many random mixtures at the cheapest rung, then the one that their model likes best.

Shapes: B mixtures, d domains.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixopt.errors import SearchError
from mixopt.evidence import Evidence, Proposal
from mixopt.mixture import Mixture
from mixopt.optimize import candidates
from mixopt.optimize.design import missing, natural_opening, reference
from mixopt.optimize.encoding import Array
from mixopt.optimize.recommend import TOO_RISKY
from mixopt.optimize.trials import next_seed, replicates, search_trial, tried
from mixopt.problem import Problem
from mixopt.space import SearchSpace

RUNS = 512  # of RegMix (arXiv:2407.01492); fewer where that would cost more than TOPS trials at the top rung
TOPS = 4.0  # a guess: what a user whose rungs lie closer together may spend on the swarm
TEMPERATURE = 0.5  # exponent of the natural weights; this and what follows as in RegMix's released sampler
STRENGTHS = np.logspace(-1.0, np.log10(5.0), 15)  # of the Dirichlet distribution
USAGE = 15.0  # times its natural weight that a domain may weigh
TRACE = 2e-4  # a weight below this is none
TRIES = 50  # draws before one that breaks the limits is moved to the nearest mixture that does not

Pick = Callable[[Evidence, Problem], Array]
Swarm = Callable[[Problem, int, np.random.Generator], list[Mixture]]


@dataclass(frozen=True, kw_only=True)
class SwarmStrategy:
    """Natural, for the noise; then `opening`; then `runs` trials at the cheapest rung; then the pick, seed by seed."""

    problem: Problem
    pick: Pick
    swarm: Swarm
    runs: int
    method: str
    opening: tuple[Proposal, ...] = ()

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return `n` trials to run next."""
        first = {(p.mixture, p.fidelity, p.seed): p for p in (*natural_opening(self.problem), *self.opening)}
        proposals = missing(evidence, list(first.values()))[:n]
        cheap, top = self.problem.ladder.cheapest.name, self.problem.ladder.top.name
        done = len(proposals) + [rung for _, rung in tried(evidence.history)].count(cheap)
        drawn = min(n - len(proposals), max(self.runs - done, 0))
        if not evidence.history.observations:
            drawn = n - len(proposals)  # nothing to fit yet
        for mixture in self.swarm(self.problem, drawn, np.random.default_rng(seed)):
            following = next_seed(evidence, mixture, cheap, proposals)
            proposals.append(search_trial(mixture, cheap, following, f"{self.method}: one of the swarm"))
        if len(proposals) == n:
            return proposals
        reason = f"{self.method}: the model's pick"
        return replicates(evidence, self._chosen(evidence), top, reason, taken=proposals, n=n)

    def _chosen(self, evidence: Evidence) -> Mixture:
        """Return the pick, drawn half-way towards natural as long as trainings like it have failed."""
        space = self.problem.space
        try:
            row = self.pick(evidence, self.problem)
        except SearchError:  # trials there are, but without the losses that a fit needs
            return reference(self.problem)
        natural = reference(self.problem).array(space.names)
        for _ in range(6):
            if candidates.risk(evidence, space.names, row[None])[0] <= TOO_RISKY:
                break
            row = 0.5 * row + 0.5 * natural
        return space.project(row)


def runs(problem: Problem) -> int:
    """Return how many trials a swarm has: 512, or what TOPS trials at the top cost; at least 3 (d + 1)."""
    affordable = round(TOPS * problem.ladder.top.cost_flops / problem.ladder.cheapest.cost_flops)
    return max(3 * (problem.space.d + 1), min(RUNS, affordable))


def around_natural(problem: Problem, count: int, rng: np.random.Generator) -> list[Mixture]:
    """Return `count` mixtures drawn as RegMix draws them, from Dirichlet distributions of many strengths."""
    rows = []
    for _ in range(count):
        drawn = dirichlet(problem, TRIES, rng)
        usable = candidates.feasible(problem.space, drawn)
        rows.append(usable[0] if len(usable) else drawn[0])
    return [problem.space.project(row) for row in rows]


def dirichlet(problem: Problem, count: int, rng: np.random.Generator) -> Array:
    """Return `count` mixtures around natural, `count x d`, in the simplex but not always in the space."""
    natural = problem.natural.array(problem.space.names)
    prior = natural**TEMPERATURE
    strengths = rng.choice(STRENGTHS, size=count)
    # A sum of gammas by hand: numpy's Dirichlet takes one vector of shapes only. Tiny shapes underflow, hence the logs.
    shapes = strengths[:, None] * np.maximum(prior / prior.sum(), 1e-12)
    logs = np.log(rng.standard_gamma(shapes + 1.0)) + np.log(rng.uniform(1e-300, 1.0, shapes.shape)) / shapes
    rows = np.exp(logs - logs.max(axis=1, keepdims=True))
    rows /= rows.sum(axis=1, keepdims=True)
    rows = np.where(rows < TRACE, 0.0, np.minimum(rows, np.maximum(USAGE * natural, TRACE)))
    result: Array = rows / rows.sum(axis=1, keepdims=True)
    return result


def cloud(problem: Problem, count: int, rng: np.random.Generator) -> Array:
    """Return at least `count` candidates of the space: around natural, and where that leaves few, from all of it."""
    inside = candidates.feasible(problem.space, dirichlet(problem, count, rng))
    if len(inside) >= count // 2:
        return inside
    return np.vstack([inside, _blends(problem.space, count - len(inside), rng, reference(problem))])


def _blends(space: SearchSpace, count: int, rng: np.random.Generator, natural: Mixture) -> Array:
    """Return random blends of natural and two mixtures of the space: a convex set holds them all."""
    drawn = candidates.draw(space, min(count, 512), rng)
    corners = np.vstack([drawn, np.tile(natural.array(space.names), (max(len(drawn) // 4, 1), 1))])
    chosen = corners[rng.integers(len(corners), size=(count, 3))]
    blended: Array = np.einsum("bk,bkd->bd", rng.dirichlet(np.full(3, 0.5), size=count), chosen)
    return blended
