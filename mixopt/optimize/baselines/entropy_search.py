"""Max-value entropy over cost on a candidate set, and log expected improvement where there is one rung (BoTorch's).

Shapes: n observations, d domains, K candidates `K x (d + 1)`, the last column s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.max_value_entropy_search import qMultiFidelityMaxValueEntropy
from botorch.models.cost import AffineFidelityCostModel
from botorch.utils.sampling import manual_seed

from mixopt.evidence import Evidence, Proposal
from mixopt.mixture import Mixture
from mixopt.optimize import candidates
from mixopt.optimize.baselines.fidelity_gp import FidelityGP, joined
from mixopt.optimize.design import missing, natural_opening, reference
from mixopt.optimize.encoding import Array
from mixopt.optimize.recommend import TOO_RISKY
from mixopt.optimize.trials import next_seed, replicates, search_trial, tried
from mixopt.problem import Problem

DRAWN = 128  # mixtures of the whole space among the candidates
BATCH = 128  # candidates whose entropy is computed at once
SAMPLES = 128  # of what a candidate may show; BoTorch's default

Surrogate = Callable[[Evidence, Problem], FidelityGP]


@dataclass(frozen=True, kw_only=True)
class EntropyStrategy:
    """Natural, for the noise; one random trial at the cheapest rung; then what gains most per unit cost.

    maxima: samples of the best value; over: the rows that these are drawn over, of model and candidates. The authors
    choose one trial at a time; for `n` of them the best `n` of one look are taken.
    """

    problem: Problem
    surrogate: Surrogate
    maxima: int
    over: Callable[[FidelityGP, Array], Array]
    method: str

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return `n` trials to run next."""
        proposals = missing(evidence, natural_opening(self.problem))[:n]
        rng, cheap = np.random.default_rng(seed), self.problem.ladder.cheapest.name
        for mixture in self.problem.space.sample(self._unknown(evidence, n - len(proposals)), rng):
            following = next_seed(evidence, mixture, cheap, proposals)
            proposals.append(search_trial(mixture, cheap, following, f"{self.method}: drawn at random"))
        if len(proposals) < n:
            proposals += self._best(evidence, proposals, n=n - len(proposals), seed=seed)
        top, reason = self.problem.ladder.top.name, f"{self.method}: natural, as every candidate was tried"
        return replicates(evidence, reference(self.problem), top, reason, taken=proposals, n=n)

    def _unknown(self, evidence: Evidence, n: int) -> int:
        """Return how many of `n` trials are random: one where only natural was tried, all where none is measured."""
        counted = self.problem.objective.sets
        if not any(all(s in o.losses for s in counted) for o in evidence.history.observations):
            return n
        natural = reference(self.problem)
        return 0 if any(mixture != natural for mixture, _ in tried(evidence.history)) else min(n, 1)

    def _best(self, evidence: Evidence, taken: Sequence[Proposal], *, n: int, seed: int) -> list[Proposal]:
        """Return up to `n` candidates with the largest gains, none of them tried before or `taken`."""
        model = self.surrogate(evidence, self.problem)
        trials = self._untried(evidence, taken, np.random.default_rng(seed))
        if not trials:
            return []
        rows = np.vstack([joined(self.problem, m.array(self.problem.space.names)[None], f) for m, f in trials])
        places = np.argsort(-self.gains(model, rows, seed), kind="stable")[:n]
        note = "" if model.fallback is None else f"; {model.fallback}"
        reason = f"{self.method}: most is learnt of the best value per unit cost{note}"
        chosen = [trials[place] for place in places]
        return [search_trial(mixture, fidelity, 0, reason) for mixture, fidelity in chosen]

    def _untried(
        self, evidence: Evidence, taken: Sequence[Proposal], rng: np.random.Generator
    ) -> list[tuple[Mixture, str]]:
        """Return candidates and rungs that were never tried, without those that would likely fail."""
        space, history = self.problem.space, evidence.history
        done = {*tried(history), *((p.mixture, p.fidelity) for p in taken)}
        seen = [trial.mixture for trial in history.observations if trial.mixture in space]
        pool = list(dict.fromkeys([reference(self.problem), *seen, *space.sample(DRAWN, rng)]))
        rows = np.array([mixture.array(space.names) for mixture in pool])
        safe = candidates.risk(evidence, space.names, rows) <= TOO_RISKY
        kept = [mixture for mixture, fine in zip(pool, safe, strict=True) if fine]
        return [(m, rung.name) for m in kept for rung in self.problem.ladder if (m, rung.name) not in done]

    def gains(self, model: FidelityGP, rows: Array, seed: int) -> Array:
        """Return the gain per unit cost of every candidate, `K`."""
        with torch.no_grad(), manual_seed(seed % 2**31):
            gain = self._gain(model, rows)
            parts = [gain(batch[:, None]) for batch in torch.from_numpy(rows).split(BATCH)]
        gains: Array = torch.cat(parts).numpy()
        return np.where(np.isfinite(gains), gains, -np.inf)

    def _gain(self, model: FidelityGP, rows: Array) -> AcquisitionFunction:
        if len(self.problem.ladder) == 1:
            return LogExpectedImprovement(model.model, best_f=-float(model.values.min()))

        def project(X: torch.Tensor) -> torch.Tensor:
            return torch.cat([X[..., :-1], torch.ones_like(X[..., -1:])], dim=-1)

        cost = AffineFidelityCostModel(fidelity_weights={-1: 1.0}, fixed_cost=0.0)  # s is the cost itself
        return qMultiFidelityMaxValueEntropy(
            model.model,
            torch.from_numpy(self.over(model, rows)),
            num_mv_samples=self.maxima,
            num_y_samples=SAMPLES,
            cost_aware_utility=InverseCostWeightedUtility(cost_model=cost),
            project=project,
        )
