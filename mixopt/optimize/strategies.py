"""How a search chooses its trials: `STRATEGIES`, each a pure function of (evidence, n, seed)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mixopt.evidence import Evidence, Prediction, Proposal, Strategy
from mixopt.mixture import Mixture
from mixopt.optimize import candidates, surrogate
from mixopt.optimize.acquisition import ACQUISITIONS, Belief
from mixopt.optimize.baselines.rivals import RIVALS
from mixopt.optimize.design import missing, natural_opening, opening, reference
from mixopt.optimize.encoding import Array
from mixopt.optimize.heuristics import temperature, unimax
from mixopt.optimize.recommend import TOO_RISKY, choose, measured_rows
from mixopt.optimize.surrogate import Surrogate
from mixopt.optimize.trials import next_seed, replicates, search_trial, tried
from mixopt.problem import Problem

DRAWN = 96  # candidates from the whole space
NEAR = 64  # of those around each good mixture, the ones with the best means
INCUMBENT = 0  # the place of the model's best mixture among the candidates
FEW_TOPS = 4  # mixtures at the top rung below which nobody knows whether the cheap ones agree with it
ALIKE = 0.02  # total variation below which a mixture stands for the incumbent
SMOOTHING = 2.0  # temperature of the strategy of that name: weights as the square roots of tokens
TOP_SHARE = 0.7  # of what is spent after the opening goes to the top rung at least, or cheap trials would never end


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
    acquisition: str = "knowledge_gradient"

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return `n` trials, every one chosen as if those before it had shown what is expected."""
        proposals = missing(evidence, opening(self.problem))[:n]
        if len(proposals) == n:
            return proposals
        rng = np.random.default_rng(seed)
        model = surrogate.fit(evidence, self.problem)
        if model is None:
            cheap, count = self.problem.ladder.cheapest.name, n - len(proposals)
            drawn = self.problem.space.sample(count, rng)
            return proposals + [search_trial(m, cheap, 0, "drawn at random: nothing is measured yet") for m in drawn]
        desk = _Desk.open(self.problem, model, evidence, proposals, rng)
        while len(proposals) < n:
            proposals.append(desk.next(ACQUISITIONS[self.acquisition]))
        return proposals


@dataclass(kw_only=True)
class _Desk:
    """One call's working state: candidates, what is believed of them, and what was spent so far, pending included."""

    problem: Problem
    model: Surrogate
    evidence: Evidence
    rows: Array
    mixtures: list[Mixture]
    belief: Belief
    sets: list[Array]
    safe: Array
    taken: list[Proposal]
    opened: frozenset[tuple[Mixture, str]]

    @classmethod
    def open(
        cls, problem: Problem, model: Surrogate, evidence: Evidence, taken: list[Proposal], rng: np.random.Generator
    ) -> "_Desk":
        """Gather candidates, and count pending trials and `taken` proposals as done."""
        known = [*(p.mixture for p in evidence.history.pending), *(p.mixture for p in taken), reference(problem)]
        known_rows = np.array([mixture.array(problem.space.names) for mixture in known])
        pick = choose(model, evidence, problem, known_rows[-1:], rounds=6)
        rows = _gather(problem, model, np.vstack([pick[None], known_rows]), rng)
        inputs = model.encoding.inputs(rows)
        desk = cls(
            problem=problem,
            model=model,
            evidence=evidence,
            rows=rows,
            mixtures=[Mixture.from_array(problem.space.names, row) for row in rows],
            belief=Belief.of(model, problem, inputs),
            sets=model.sets(inputs),
            safe=1.0 - candidates.risk(evidence, problem.space.names, rows),
            taken=list(taken),
            opened=frozenset((p.mixture, p.fidelity) for p in opening(problem)),
        )
        for mixture, fidelity in [*((p.mixture, p.fidelity) for p in evidence.history.pending), *desk.proposed]:
            desk._expect(desk._place(mixture), fidelity)
        return desk

    def next(self, gain: Callable[[Belief, int], Array]) -> Proposal:
        """Return the most valuable trial, and count it as done."""
        top = len(self.problem.ladder) - 1
        if top and self._wants_incumbent():
            return self._take(INCUMBENT, top, "the model's best mixture, at the top rung")
        allowed = [top] if self._owes_top() else list(range(top + 1))
        cost = [self.problem.ladder.rungs[rung].cost_flops for rung in allowed]
        usable = np.where(self.safe >= 1.0 - TOO_RISKY, self.safe, 0.0)
        values = np.array([gain(self.belief, rung) * usable / c for rung, c in zip(allowed, cost, strict=True)])
        if values.max() <= 0.0:  # nothing is left to learn by the model's own lights: make sure of the incumbent
            return self._take(INCUMBENT, top, "the model's best mixture once more: no trial promises a gain")
        place, mixture = np.unravel_index(int(values.argmax()), values.shape)
        expected = values[place, mixture] * cost[place]
        return self._take(int(mixture), allowed[place], f"expected gain {expected:.2g} bits per byte")

    def _take(self, mixture: int, rung: int, reason: str) -> Proposal:
        name = self.problem.ladder.rungs[rung].name
        chosen = self.mixtures[mixture]
        seed = next_seed(self.evidence, chosen, name, self.taken)
        predicted = {"objective": self._prediction(mixture, rung), **self._set_predictions(mixture, rung)}
        proposal = search_trial(chosen, name, seed, reason, replicate=seed > 0, predicted=predicted)
        self.taken.append(proposal)
        self._expect(mixture, name)
        return proposal

    def _prediction(self, mixture: int, rung: int) -> Prediction:
        noisy = np.sqrt(self.belief.sd(rung)[mixture] ** 2 + self.belief.noise[rung])
        return Prediction(mean=float(self.belief.mean[rung, mixture]), sd=float(noisy))

    def _set_predictions(self, mixture: int, rung: int) -> dict[str, Prediction]:
        names = [fit.name for fit in self.model.rungs]
        name = self.problem.ladder.rungs[rung].name
        if name not in names:
            return {}
        place = names.index(name)
        losses, errors = self.sets[place][mixture], self.model.rungs[place].rmse
        pairs = zip(self.model.encoding.sets, losses, errors, strict=True)
        return {s: Prediction(mean=float(loss), sd=float(error)) for s, loss, error in pairs}

    def _expect(self, mixture: int | None, fidelity: str) -> None:
        if mixture is not None and fidelity in self.problem.ladder:
            self.belief = self.belief.expecting(mixture, self.problem.ladder.index(fidelity))

    def _place(self, mixture: Mixture) -> int | None:
        distances = np.abs(self.rows - mixture.array(self.problem.space.names)).sum(1)
        return int(distances.argmin()) if distances.min() < 1e-3 else None

    @property
    def proposed(self) -> list[tuple[Mixture, str]]:
        """Mixture and rung of what this call has proposed."""
        return [(proposal.mixture, proposal.fidelity) for proposal in self.taken]

    @property
    def tried(self) -> list[tuple[Mixture, str]]:
        """Mixture and rung of every trial, whatever became of it, this call's included."""
        return [*tried(self.evidence.history), *self.proposed]

    def _wants_incumbent(self) -> bool:
        """Whether the top rung has few mixtures yet, and none like the incumbent."""
        tops = {mixture for mixture, fidelity in self.tried if fidelity == self.problem.ladder.top.name}
        return len(tops) < FEW_TOPS and all(m.distance(self.mixtures[INCUMBENT]) > ALIKE for m in tops)

    def _owes_top(self) -> bool:
        """Whether cheap trials after the opening have cost more than their share; experts are not counted."""
        ladder = self.problem.ladder
        spent = dict.fromkeys((rung.name for rung in ladder), 0.0)
        for mixture, fidelity in self.tried:
            if fidelity in ladder and (mixture, fidelity) not in self.opened and max(mixture.values()) < 1.0:
                spent[fidelity] += ladder[fidelity].cost_flops
        top = spent.pop(ladder.top.name)
        return sum(spent.values()) * TOP_SHARE > top * (1.0 - TOP_SHARE)


def _gather(problem: Problem, model: Surrogate, first: Array, rng: np.random.Generator) -> Array:
    """Return candidates, `B x d`: `first`, what was measured, draws of the space, neighbours of the best of these."""
    drawn = candidates.draw(problem.space, DRAWN, rng)
    measured = measured_rows(model, problem)
    base = candidates.distinct(np.vstack([first, measured, drawn]))
    means = Belief.of(model, problem, model.encoding.inputs(base)).top_mean
    centers = [first[0], base[int(means.argmin())], first[-1]]
    near = np.vstack([candidates.around(problem.space, center, drawn[:16], scale=0.6) for center in centers])
    fresh = near[rng.permutation(len(near))[: 2 * NEAR]]
    return candidates.distinct(np.vstack([base, fresh]))


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
