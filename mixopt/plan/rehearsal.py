"""The search of a file on a simulated law: its own domains, constraints, ladder, budget and strategy, other losses."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mixopt.errors import SearchError
from mixopt.evidence import Evidence, Experts, History, Observation
from mixopt.fidelity import Fidelity, Target
from mixopt.mixture import Mixture
from mixopt.objective import ERROR
from mixopt.optimize import candidates
from mixopt.optimize.design import reference
from mixopt.optimize.encoding import Array
from mixopt.optimize.recommend import predict, recommend
from mixopt.optimize.strategies import STRATEGIES
from mixopt.problem import Problem
from mixopt.replay.simulated import search
from mixopt.search.finish import proof_flops, proof_trials
from mixopt.search.setting import Setting
from proxies.simulated import SimulatedLaw

HARDNESS = 3.0  # bits per byte at which a simulated set's share of wrong answers is 1 - 1/e; a guess
DRAWN, ROUNDS = 300, 40  # of the search for the law's optimum, whose descents are of a convex function
RAISE = 0.1  # of the tokens, by which a domain is raised to see its effect
SEEDS = 64  # that tell the noise
FITS = 8  # of a rehearsed search, about: it proposes in batches, so that a rehearsal takes seconds
SMALLEST_BATCH = 2
LARGEST_BATCH = 64  # proposals at once, which take each other into account one by one


@dataclass(frozen=True, kw_only=True)
class Money:
    """Where the budget goes, in FLOPs: data experts, the proof, and what is left for the search's own trials."""

    experts_flops: float
    proof_flops: float
    search_flops: float


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What one rehearsed search bought, and what came of it.

    rungs: of its trials, in their order. regret: the true loss of the recommended mixture above the least there is;
    gain: of the natural mixture above that. missed: by how much the model was wrong about the effect of every domain.
    """

    rungs: tuple[str, ...]
    regret: float
    gain: float
    missed: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A law drawn from `seed` that stands for the trainings of `setting`; searched and scored like a landscape."""

    setting: Setting
    seed: int

    @property
    def problem(self) -> Problem:
        """What the strategy is told: the file's own."""
        return self.setting.problem

    @cached_property
    def law(self) -> SimulatedLaw:
        """The law: the file's own where it has one, but for the seed; undistorted from the top rung on."""
        config, top = self.setting.config, self.problem.ladder.top
        plain: dict[str, Any] = {} if config.simulated is None else config.simulated.model_dump()
        if config.simulated is None:
            plain = {"reference_tokens": top.tokens}
            if top.noise_sd is not None:
                shares = self.problem.objective.array(self.problem.sets)
                plain["noise"] = top.noise_sd / float(np.linalg.norm(shares))
        known = {
            "domains": self.problem.space.names,
            "sets": self.problem.sets,
            "seed": self.seed,
            "pools": dict(self.problem.available_tokens),
            "target_tokens": None if config.target is None else config.target.tokens,
        }
        return SimulatedLaw(**plain | known)

    def observe(self, trial: int, mixture: Mixture, rung: str, seed: int) -> Observation:
        """Return the trial as completed."""
        fidelity = self.problem.ladder[rung]
        losses = self.law.losses(mixture, parameters=fidelity.parameters, tokens=fidelity.tokens, seed=seed)
        return Observation(
            trial=trial,
            mixture=mixture,
            fidelity=rung,
            seed=seed,
            losses={name: _as_error(loss) if name.startswith(ERROR) else loss for name, loss in losses.items()},
            cost_flops=fidelity.cost_flops,
        )

    def true(self, rows: Array) -> Array:
        """Return the objective of mixtures without noise, `B`: at the target, or else at the top rung."""
        return self._at(self.problem.ladder.target or self.problem.ladder.top, rows)

    def _at(self, place: Fidelity | Target, rows: Array) -> Array:
        exact = self.law.exact(rows, parameters=place.parameters, tokens=place.tokens)
        errors = [name.startswith(ERROR) for name in self.problem.sets]
        losses = np.where(errors, _as_error(exact), exact)
        return self.problem.objective.of_array(losses, self.problem.sets)

    @cached_property
    def optimum(self) -> float:
        """The least objective over the space, as descents find it."""
        space = self.problem.space
        drawn = candidates.draw(space, DRAWN, np.random.default_rng(self.seed))
        starts = drawn[np.argsort(self.true(drawn))[:2]]
        return min(candidates.polish(space, start, self.true, rounds=ROUNDS)[1] for start in starts)

    @cached_property
    def base(self) -> Array:
        """The natural mixture, or the allowed one nearest to it, `d`."""
        return reference(self.problem).array(self.problem.space.names)

    @cached_property
    def raised(self) -> Array:
        """That mixture with each domain raised in turn, as far as the space allows and at most by `RAISE`, `d x d`.

        The others give way in proportion; a row is the mixture itself where nothing can be raised.
        """
        rows = np.tile(self.base, (len(self.base), 1))
        for place, weight in enumerate(self.base):
            others = 1.0 - weight
            step = max(0.0, min(RAISE, float(self.problem.space.upper[place]) - weight, others))
            if others > 0.0:
                rows[place] *= (others - step) / others
                rows[place, place] = weight + step
        return rows

    @cached_property
    def effects(self) -> Array:
        """What that does to the objective at the top rung, `d`."""
        losses = self._at(self.problem.ladder.top, np.vstack([self.base, self.raised]))
        shifts: Array = losses[1:] - losses[0]
        return shifts

    @cached_property
    def noise_sd(self) -> float:
        """The standard deviation of the objective at the top rung over training seeds."""
        natural, top = reference(self.problem), self.problem.ladder.top.name
        seen = [self.problem.objective.value(self.observe(0, natural, top, seed).losses) for seed in range(SEEDS)]
        return float(np.std(seen, ddof=1))

    def experts(self) -> Evidence:
        """Return what the experts show, where the file asks for some: their losses, and their ensemble's."""
        section = self.setting.config.experts
        if section is None:
            return Evidence()
        rung = self.problem.ladder[section.rung]
        whole = [name for name in self.setting.names if self.setting.expert_tokens(name) == rung.tokens]
        corners = [Mixture({n: float(n == name) for n in self.setting.names}) for name in whole]
        seen = tuple(self.observe(number, corner, rung.name, 0) for number, corner in enumerate(corners))
        ensemble = self.law.ensemble(parameters=rung.parameters, tokens=rung.tokens)
        return Evidence(history=History(observations=seen), experts=Experts(ensemble=ensemble))

    def played(self) -> Rehearsed:
        """Return what the file's strategy does with the file's money on this law."""
        names = self.problem.space.names
        strategy = STRATEGIES[self.setting.config.strategy.name](self.problem)
        budget_flops = money(self.setting).search_flops
        begun = self.experts()
        ladder = self.problem.ladder
        usual_flops = math.sqrt(ladder.cheapest.cost_flops * ladder.top.cost_flops)
        batch = min(max(SMALLEST_BATCH, int(budget_flops / usual_flops / FITS)), LARGEST_BATCH)
        evidence = search(strategy, self, budget=budget_flops, batch=batch, begun=begun)
        found = recommend(evidence, self.problem)
        true = self.true(np.array([found.mixture.array(names), self.base]))
        asked = [Mixture.from_array(names, row) for row in (self.base, *self.raised)]
        means = np.array([each.mean for each in predict(found.fitted, self.problem, asked)])
        return Rehearsed(
            rungs=tuple(seen.fidelity for seen in evidence.history.observations[len(begun.history.observations) :]),
            regret=float(true[0]) - min(self.optimum, float(true[0])),
            gain=float(true[1] - true[0]),
            missed=tuple((means[1:] - means[0] - self.effects).tolist()),
        )


def money(setting: Setting) -> Money:
    """Return where the budget goes; SearchError where nothing is left to search with."""
    config, top = setting.config, setting.problem.ladder.top
    experts = 0.0
    if config.experts is not None:
        rung = config.experts.rung
        experts = sum(setting.flops(rung, "search", setting.expert_tokens(name)) for name in setting.names)
    proof = proof_flops(setting) * proof_trials(setting, seeds=config.proof.seeds) if config.proof else 0.0
    left = config.budget_flops - experts - proof
    if left < top.cost_flops:
        raise SearchError(
            f"budget_flops {config.budget_flops:.3g} do not pay for the experts ({experts:.3g}), the proof "
            f"({proof:.3g}) and one trial at the top rung ({top.cost_flops:.3g}); give at least "
            f"{experts + proof + top.cost_flops:.3g} and something to search with, or ask for fewer proof seeds or no "
            "proof"
        )
    return Money(experts_flops=experts, proof_flops=proof, search_flops=left)


def _as_error(loss: Any) -> Any:  # noqa: ANN401  # a number or an array of them
    """Return a share of wrong answers that rises with a loss, between 0 and 1."""
    return 1.0 - np.exp(-loss / HARDNESS)
