"""One decision of the product's strategy: candidates, what is believed of them, and the trial worth most per unit cost.

A search has two stages. The model finds the basin, at the rungs that the best split of the money left pays for
(`stages.py`; where nobody counts the money, at whatever rung tells most for its cost); the last part goes to the top
rung alone, to the incumbent and its neighbours, replicated where the noise asks for it.

Shapes: B candidates, d domains.
"""

from dataclasses import dataclass

import numpy as np

from mixopt.evidence import Evidence, Prediction, Proposal
from mixopt.mixture import Mixture
from mixopt.optimize import candidates
from mixopt.optimize.acquisition import ACQUISITIONS, UNITS, Belief, knowledge_gradient
from mixopt.optimize.agreement import LEAST_JUDGED, Heard
from mixopt.optimize.design import opening, reference
from mixopt.optimize.encoding import Array
from mixopt.optimize.guarding import chances, standing
from mixopt.optimize.recommend import TOO_RISKY, choose, measured_rows
from mixopt.optimize.stages import Offer, best_split
from mixopt.optimize.surrogate import Surrogate
from mixopt.optimize.trials import next_seed, search_trial, tried
from mixopt.problem import Problem

DRAWN = 96  # candidates from the whole space
NEAR = 64  # of those around each good mixture
HOPES = (-1.0, -2.0)  # standard deviations: mixtures that may be that much better than expected are candidates
INCUMBENT = 0  # the place of the model's best mixture among the candidates
FEW_TOPS = LEAST_JUDGED  # mixtures at the top rung below which nobody knows whether the cheap ones agree with it
CHECKS = 0.4  # of the money at most goes to the first mixtures at the top rung
ALIKE = 0.02  # total variation below which a mixture stands for the incumbent
TOP_SHARE = 0.7  # of what is spent after the opening goes to the top rung at least, or cheap trials would never end
WEIGHED = 64  # candidates of the least means, by which what is left is split over the rungs
LEAST_GAIN = 1e-12  # bits per byte or nats: less is rounding, and would choose a trial by chance
SLACK = 1e-9  # of a cost: float error
LAST_PART = 0.1  # of the money, or a trial's, goes to the incumbent's neighbours; a fifth cost regret on simulated laws
NEIGHBOUR = 0.1  # total variation from the incumbent, at most, of what is compared in the last part


@dataclass(kw_only=True)
class Desk:
    """One call's working state: candidates, what is believed of them, and what was spent so far, pending included.

    money: what the split has left for every rung below the top (None: nobody counts the money, or there is one rung).
    """

    problem: Problem
    heard: Heard
    evidence: Evidence
    rows: Array
    mixtures: list[Mixture]
    belief: Belief
    sets: list[Array]
    sets_sd: list[Array]
    safe: Array
    taken: list[Proposal]
    opened: frozenset[tuple[Mixture, str]]
    money: list[float] | None = None

    @classmethod
    def open(
        cls, problem: Problem, heard: Heard, evidence: Evidence, taken: list[Proposal], rng: np.random.Generator
    ) -> "Desk":
        """Gather candidates, and count pending trials and `taken` proposals as done."""
        known = [*(p.mixture for p in evidence.history.pending), *(p.mixture for p in taken), reference(problem)]
        known_rows = np.array([mixture.array(problem.space.names) for mixture in known])
        model = heard.model
        pick = choose(model, evidence, problem, known_rows[-1:], rounds=8)
        rows = _gather(problem, model, np.vstack([pick[None], known_rows]), rng)
        inputs = model.encoding.weighed(rows)
        desk = cls(
            problem=problem,
            heard=heard,
            evidence=evidence,
            rows=rows,
            mixtures=[Mixture.from_array(problem.space.names, row) for row in rows],
            belief=Belief.of(model, problem, inputs),
            sets=model.sets(inputs),
            sets_sd=model.sets_sd(inputs),
            safe=(1.0 - candidates.risk(evidence, problem.space.names, rows))
            * chances(standing(model, problem, rows), len(rows)),
            taken=list(taken),
            opened=frozenset((p.mixture, p.fidelity) for p in opening(problem)),
        )
        for mixture, fidelity in [*((p.mixture, p.fidelity) for p in evidence.history.pending), *desk.proposed]:
            desk._expect(desk._place(mixture), fidelity)
        desk.money = desk._split(rng)
        return desk

    def next(self) -> Proposal | None:
        """Return the most valuable trial, and count it as done; None where the rest is not worth its cost."""
        top, ladder = len(self.problem.ladder) - 1, self.problem.ladder
        if top and (self.money is None or self._affords_checks()) and self._wants_incumbent():
            return self._take(INCUMBENT, top, "the model's best mixture, at the top rung")
        gain, last = ACQUISITIONS[self.problem.acquisition], self._is_last_part()
        rungs = [top] if last else self._allowed()
        cost = np.array([ladder.rungs[rung].cost_flops for rung in rungs])
        usable = np.where(self.safe >= 1.0 - TOO_RISKY, self.safe, 0.0)
        if self._is_idle(usable):
            return None
        if last:
            usable = usable * self._neighbours()
        values = np.array([gain(self.belief, rung) * usable / c for rung, c in zip(rungs, cost, strict=True)])
        place, mixture = np.unravel_index(int(values.argmax()), values.shape)
        if values[place, mixture] * cost[place] < LEAST_GAIN:  # the model is sure: then see whether it is right
            best = self._best_unseen(usable)
            return self._take(best, top, "the model's best mixture that the top rung has not shown: no gain expected")
        expected = f"expected gain {values[place, mixture] * cost[place]:.2g} {UNITS[self.problem.acquisition]}"
        return self._take(int(mixture), rungs[place], f"near the best, {expected}" if last else expected)

    def _take(self, mixture: int, rung: int, reason: str) -> Proposal:
        name = self.problem.ladder.rungs[rung].name
        chosen = self.mixtures[mixture]
        seed = next_seed(self.evidence, chosen, name, self.taken)
        if self.heard.misleading:
            reason = f"{reason}; no longer paid for, as it misleads: {', '.join(self.heard.misleading)}"
        predicted = {"objective": self._prediction(mixture, rung), **self._set_predictions(mixture, rung)}
        proposal = search_trial(chosen, name, seed, reason, replicate=seed > 0, predicted=predicted)
        self.taken.append(proposal)
        self._expect(mixture, name)
        if self.money is not None and rung < len(self.money):
            self.money[rung] -= self.problem.ladder.rungs[rung].cost_flops
        return proposal

    def _prediction(self, mixture: int, rung: int) -> Prediction:
        noisy = np.sqrt(self.belief.sd(rung)[mixture] ** 2 + self.belief.noise[rung])
        return Prediction(mean=float(self.belief.mean[rung, mixture]), sd=float(noisy))

    def _set_predictions(self, mixture: int, rung: int) -> dict[str, Prediction]:
        names = [fit.name for fit in self.heard.model.rungs]
        name = self.problem.ladder.rungs[rung].name
        if name not in names:
            return {}
        place = names.index(name)
        losses, errors = self.sets[place][mixture], self.sets_sd[place][mixture]
        pairs = zip(self.heard.model.encoding.sets, losses, errors, strict=True)
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

    @property
    def _tops(self) -> set[Mixture]:
        """The mixtures tried at the top rung."""
        return {mixture for mixture, fidelity in self.tried if fidelity == self.problem.ladder.top.name}

    def _distances(self, weights: Array) -> Array:
        """Return the total variation distances of the candidates to `weights` (`d`), `B`."""
        found: Array = 0.5 * np.abs(self.rows - weights).sum(1)
        return found

    @property
    def _left_flops(self) -> float | None:
        """What is left in the purse once this call's proposals are paid; None: nobody counts the money."""
        purse, ladder = self.evidence.purse, self.problem.ladder
        return None if purse is None else purse.left_flops - sum(ladder[name].cost_flops for _, name in self.proposed)

    def _wants_incumbent(self) -> bool:
        """Whether the top rung has few mixtures yet, and none like the incumbent."""
        tops = self._tops
        return len(tops) < FEW_TOPS and all(m.distance(self.mixtures[INCUMBENT]) > ALIKE for m in tops)

    def _best_unseen(self, usable: Array) -> int:
        """Return the incumbent; where the top rung has shown the like of it, the best candidate that is like none."""
        unseen = usable > 0.0
        for mixture in self._tops:
            unseen &= self._distances(mixture.array(self.problem.space.names)) > ALIKE
        if unseen[INCUMBENT] or not unseen.any():
            return INCUMBENT
        return int(np.where(unseen, self.belief.top_mean, np.inf).argmin())

    def _affords_checks(self) -> bool:
        """Whether the first mixtures at the top rung, by which the cheap ones are judged, cost little of the money."""
        purse = self.evidence.purse
        return purse is not None and FEW_TOPS * self.problem.ladder.top.cost_flops <= CHECKS * purse.total_flops

    def _informative(self) -> list[int]:
        """Return the rungs that may be paid for."""
        return [k for k, rung in enumerate(self.problem.ladder) if rung.name not in self.heard.misleading]

    def _allowed(self) -> list[int]:
        """Return the rungs that the next trial may be at: those whose share is not spent, or the top one."""
        if self.money is None:
            return [len(self.problem.ladder) - 1] if self._owes_top() else self._informative()
        costs = [rung.cost_flops for rung in self.problem.ladder]
        paid = [rung for rung, money in enumerate(self.money) if money >= costs[rung] * (1.0 - SLACK)]
        return paid or [len(costs) - 1]

    def _split(self, rng: np.random.Generator) -> list[float] | None:
        """Return what is to be spent at every rung below the top, by the best split of what is left; None: unknown."""
        ladder, left = self.problem.ladder, self._left_flops
        if left is None or left < ladder.cheapest.cost_flops or len(ladder) == 1:
            return None
        few = np.argsort(self.belief.top_mean, kind="stable")[:WEIGHED]
        rungs = [*(rung for rung in self._informative() if rung < len(ladder) - 1), len(ladder) - 1]
        seen = [fit.name for fit in self.heard.model.rungs]
        offer = Offer(
            belief=self.belief.among(few),
            mixtures=np.tile(np.arange(len(few)), len(rungs)),
            rungs=np.repeat(rungs, len(few)),
            costs=np.repeat([ladder.rungs[rung].cost_flops for rung in rungs], len(few)),
            shippable=np.arange(len(few)),
            seen=np.array([int(rung.name in seen) for rung in ladder]),
        )
        return list(best_split(offer, budget=left, rng=rng).money)

    def _is_last_part(self) -> bool:
        """Return whether what is left, this call's proposals paid, is the last part, which pays for the top rung."""
        purse, left, ladder = self.evidence.purse, self._left_flops, self.problem.ladder
        if purse is None or left is None:
            return False
        top = ladder.top.cost_flops * (1.0 - SLACK)
        after_another = top + ladder.cheapest.cost_flops  # with less, one more cheap trial would leave too little
        return top <= left < max(LAST_PART * purse.total_flops, after_another)

    def _neighbours(self) -> Array:
        """Return 1 for the incumbent and what lies near it, 0 for the rest, `B`."""
        near: Array = (self._distances(self.rows[INCUMBENT]) <= NEIGHBOUR).astype(float)
        return near

    def _is_idle(self, usable: Array) -> bool:
        """Return whether no trial is expected to gain as much as the file asks for, for what a top trial costs."""
        if not self.problem.stop_below:
            return False
        top = self.problem.ladder.top.cost_flops
        costs = [rung.cost_flops for rung in self.problem.ladder]
        best = max(
            float((knowledge_gradient(self.belief, rung) * usable).max()) * top / costs[rung]
            for rung in self._informative()
        )
        return best < self.problem.stop_below

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
    """Return candidates, `B x d`: `first`, what was measured, draws, neighbours of the best, and hopeful mixtures."""
    drawn = candidates.draw(problem.space, DRAWN, rng)
    measured = measured_rows(model, problem)
    base = candidates.distinct(np.vstack([first, measured, drawn]))
    belief = Belief.of(model, problem, model.encoding.weighed(base))
    centers = [first[0], base[int(belief.top_mean.argmin())], first[-1]]
    near = np.vstack([candidates.around(problem.space, center, drawn[:16], scale=0.6) for center in centers])
    fine = candidates.around(problem.space, first[0], drawn[:16], scale=0.2)
    fresh = [rows[rng.permutation(len(rows))[:count]] for rows, count in ((near, 2 * NEAR), (fine, NEAR // 2))]
    sd = belief.sd(len(belief.mean) - 1)
    hopeful = [_hopeful(problem, model, base[int((belief.top_mean + hope * sd).argmin())], hope) for hope in HOPES]
    return candidates.distinct(np.vstack([base, *hopeful, *fresh]))


def _hopeful(problem: Problem, model: Surrogate, start: Array, hope: float) -> Array:
    """Return the mixture whose mean + `hope` sd is least, as far as descent from `start` (`d`) finds it, `1 x d`."""

    def score(rows: Array) -> Array:
        belief = Belief.of(model, problem, model.encoding.weighed(rows))
        total: Array = belief.top_mean + hope * belief.sd(len(belief.mean) - 1)
        return total

    return candidates.polish(problem.space, start, score, rounds=4)[0][None]
