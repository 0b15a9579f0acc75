"""How a search chooses its trials: `STRATEGIES`, each a pure function of (evidence, n, seed)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mixopt.evidence import Evidence, Proposal, Strategy
from mixopt.mixture import Mixture
from mixopt.optimize.agreement import listen
from mixopt.optimize.baselines.rivals import RIVALS
from mixopt.optimize.design import missing, natural_opening, opening, reference
from mixopt.optimize.desk import Desk
from mixopt.optimize.heuristics import temperature, unimax
from mixopt.optimize.threads import one_thread
from mixopt.optimize.trials import next_seed, replicates, search_trial
from mixopt.problem import Problem

SMOOTHING = 2.0  # temperature of the strategy of that name: weights as the square roots of tokens


@dataclass(frozen=True, kw_only=True)
class RandomStrategy:
    """Natural first, for the noise; then mixtures drawn from the whole space, at the top rung."""

    problem: Problem

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return what is left of the natural opening, then fresh mixtures; those of two seeds differ."""
        proposals = missing(evidence, natural_opening(self.problem))[:n]
        rng = np.random.default_rng(seed)
        top = self.problem.ladder.top.name
        for mixture in self.problem.space.sample(n - len(proposals), rng):
            proposals.append(
                search_trial(mixture, top, next_seed(evidence, mixture, top, proposals), "drawn at random")
            )
        return proposals


@dataclass(frozen=True, kw_only=True)
class FixedStrategy:
    """Natural first, for the noise; then one mixture again and again at the top rung, each time with the next seed."""

    problem: Problem
    mixture: Mixture
    reason: str

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return what is left of the natural opening, then further seeds of the mixture."""
        del seed  # nothing is drawn
        proposals = missing(evidence, natural_opening(self.problem))[:n]
        top = self.problem.ladder.top.name
        return replicates(evidence, self.mixture, top, self.reason, taken=proposals, n=n)


@dataclass(frozen=True, kw_only=True)
class BayesianStrategy:
    """The opening; then natural and the incumbent at the top rung; then what gains most per unit cost."""

    problem: Problem

    @one_thread
    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return `n` trials, every one chosen as if those before it had shown what is expected.

        Fewer where the rest is not worth its cost, by the gain that the problem asks for.
        """
        proposals = missing(evidence, opening(self.problem))[:n]
        if len(proposals) == n:
            return proposals
        rng = np.random.default_rng(seed)
        heard = listen(evidence, self.problem)
        if heard is None:
            cheap, count = self.problem.ladder.cheapest.name, n - len(proposals)
            drawn = self.problem.space.sample(count, rng)
            return proposals + [search_trial(m, cheap, 0, "drawn at random: nothing is measured yet") for m in drawn]
        desk = Desk.open(self.problem, heard, evidence, proposals, rng)
        while len(proposals) < n and (chosen := desk.next()) is not None:
            proposals.append(chosen)
        return proposals


def _natural(problem: Problem) -> Strategy:
    return FixedStrategy(problem=problem, mixture=reference(problem), reason="the natural mixture")


def _uniform(problem: Problem) -> Strategy:
    return FixedStrategy(problem=problem, mixture=problem.space.uniform(), reason="equal weights")


def _unimax(problem: Problem) -> Strategy:
    wanted = unimax(problem.available_tokens, problem.tokens, problem.max_epochs).array(problem.space.names)
    return FixedStrategy(problem=problem, mixture=problem.space.project(wanted), reason="as uniform as epochs allow")


def _temperature(problem: Problem) -> Strategy:
    wanted = temperature(problem.available_tokens, SMOOTHING).array(problem.space.names)
    return FixedStrategy(problem=problem, mixture=problem.space.project(wanted), reason="natural, smoothed")


def _random(problem: Problem) -> Strategy:
    return RandomStrategy(problem=problem)


def _bayesian(problem: Problem) -> Strategy:
    return BayesianStrategy(problem=problem)


STRATEGIES: Mapping[str, Callable[[Problem], Strategy]] = {
    "random": _random,
    "natural": _natural,
    "uniform": _uniform,
    "temperature": _temperature,
    "unimax": _unimax,
    **RIVALS,
    "bayesian": _bayesian,
}
