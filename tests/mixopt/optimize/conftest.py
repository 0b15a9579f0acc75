"""A search on the closed-form law: its problem, its trials, its regret."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from mixopt.evidence import Evidence, Experts, Failure, History, Observation, Proposal, Strategy
from mixopt.fidelity import Fidelity, Ladder
from mixopt.mixture import Domain, Mixture
from mixopt.objective import Objective
from mixopt.problem import Problem
from mixopt.space import LinearConstraint, SearchSpace
from proxies.simulated import SimulatedLaw

SMALL = Fidelity(name="small", parameters=100_000, tokens=500_000, cost_flops=1.0)
LARGE = Fidelity(name="large", parameters=400_000, tokens=2_000_000, cost_flops=9.0)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One law, and the problem of finding its best mixture."""

    law: SimulatedLaw
    problem: Problem

    def corner(self, name: str) -> Mixture:
        return Mixture({other: float(other == name) for other in self.law.domains})

    def observe(self, trial: int, mixture: Mixture, fidelity: str, seed: int = 0) -> Observation:
        rung = self.problem.ladder[fidelity]
        losses = self.law.losses(mixture, parameters=rung.parameters, tokens=rung.tokens, seed=seed)
        return Observation(
            trial=trial, mixture=mixture, fidelity=fidelity, seed=seed, losses=losses, cost_flops=rung.cost_flops
        )

    def experts(self) -> Evidence:
        """Return what the experts show: their losses at the cheapest rung, and their ensemble."""
        cheap = self.problem.ladder.cheapest
        found = [self.observe(i, self.corner(name), cheap.name) for i, name in enumerate(self.law.domains)]
        ensemble = self.law.ensemble(parameters=cheap.parameters, tokens=cheap.tokens)
        return Evidence(history=History(observations=tuple(found)), experts=Experts(ensemble=ensemble))

    def evidence(self, cheap: int, top: int, *, seed: int = 0) -> Evidence:
        """Return experts, `cheap` and `top` mixtures of the space, and natural at four seeds."""
        start, rng = self.experts(), np.random.default_rng(seed)
        tried = [(m, "small", 0) for m in self.problem.space.sample(cheap, rng)]
        tried += [(self.problem.natural, "small", k) for k in range(4)]
        tried += [(m, "large", 0) for m in self.problem.space.sample(top, rng)]
        rows = [self.observe(100 + i, m, fidelity, k) for i, (m, fidelity, k) in enumerate(tried)]
        return Evidence(history=History(observations=(*start.history.observations, *rows)), experts=start.experts)

    def run(self, strategy: Strategy, start: Evidence, *, budget: float) -> Evidence:
        """Return the evidence after trials of `strategy` for `budget`, seen before the next three are proposed."""
        evidence, trial = start, 1_000
        while True:
            for proposal in strategy.propose(evidence, n=3, seed=trial):
                budget -= self.problem.ladder[proposal.fidelity].cost_flops
                if budget < 0.0:
                    return evidence
                evidence, trial = self.seen(evidence, proposal, trial), trial + 1

    def seen(self, evidence: Evidence, proposal: Proposal, trial: int) -> Evidence:
        history = evidence.history
        if self.law.diverges(proposal.mixture):
            failure = Failure(trial=trial, mixture=proposal.mixture, fidelity=proposal.fidelity, kind="diverged")
            history = History(observations=history.observations, failures=(*history.failures, failure))
        else:
            row = self.observe(trial, proposal.mixture, proposal.fidelity, proposal.seed)
            history = History(observations=(*history.observations, row), failures=history.failures)
        return Evidence(history=history, experts=evidence.experts)

    def true(self, rows: np.ndarray) -> np.ndarray:
        """Return the noiseless objective at the top rung."""
        top = self.problem.ladder.top
        losses = self.law.exact(rows, parameters=top.parameters, tokens=top.tokens)
        return self.problem.objective.of_array(losses, self.law.sets)

    def regret(self, mixture: Mixture) -> float:
        top = self.problem.ladder.top
        weights = dict(self.problem.objective.weights)
        best = self.law.optimum(weights, parameters=top.parameters, tokens=top.tokens)[1]
        return float(self.true(mixture.array(self.law.domains)[None])[0]) - best


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a bench may differ in."""

    d: int = 7
    seed: int = 0
    noise: float = 0.01
    bias: float = 0.3
    limits: Mapping[str, float] = field(default_factory=dict)
    constraints: Sequence[str] = ()
    pinned: Mapping[str, float] = field(default_factory=dict)
    rungs: tuple[Fidelity, ...] = (SMALL, LARGE)
    objective: Objective | None = None


def build(**wishes: object) -> Bench:
    wish = Wish(**wishes)  # type: ignore[arg-type]
    names = tuple(f"d{i}" for i in range(wish.d))
    law = SimulatedLaw(
        domains=names,
        sets=(*names, "target"),
        seed=wish.seed,
        noise=wish.noise,
        bias=wish.bias,
        limits=wish.limits,
    )
    tokens = {name: max(1_000, int(1e7 * 3.0**-i)) for i, name in enumerate(names)}
    space = SearchSpace(
        domains=tuple(Domain(name=n, available_tokens=tokens[n], weight=wish.pinned.get(n)) for n in names),
        constraints=tuple(part for text in wish.constraints for part in LinearConstraint.parse(text, names)),
    )
    objective = wish.objective or Objective({"target": 0.5, "d1": 0.25, "d2": 0.25})
    problem = Problem(
        space=space,
        ladder=Ladder(rungs=wish.rungs),
        objective=objective,
        sets=law.sets,
        natural=Mixture.proportional(tokens),
        available_tokens=tokens,
        seed=wish.seed,
    )
    return Bench(law=law, problem=problem)


@pytest.fixture(scope="session")
def bench() -> Callable[..., Bench]:
    """Return the maker of benches: `bench(d=3, noise=0.02, constraints=["d0 + d1 <= 0.5"])`."""
    return build
