"""Mixtures of data experts (MDE, arXiv:2502.15950) alone: the exact optimum of their ensemble within the limits.

The ensemble's loss is convex in the weights, so that the optimum has a certificate. It ranks well and is biased, so
that as a surrogate it is corrected by an affine map, set by set, wherever trials are known.

Shapes: d domains, m evaluation sets.
"""

from dataclasses import dataclass

import numpy as np

from mixopt.errors import SearchError
from mixopt.evidence import Evidence, MixtureLosses, Proposal, Strategy
from mixopt.objective import ERROR
from mixopt.optimize.baselines.convex import Limits, Minimum, composed, least
from mixopt.optimize.baselines.rungwise import Level, RungwisePredictor, completed, corrected
from mixopt.optimize.design import missing, natural_opening, reference
from mixopt.optimize.encoding import Array, Encoding
from mixopt.optimize.trials import replicates
from mixopt.problem import Problem

UNTRIED = "there are no data experts; train them first (section `experts` of the search's file)"


@dataclass(frozen=True, kw_only=True)
class ExpertsStrategy:
    """Natural, for the noise; then the ensemble's optimum at the top, seed by seed (without experts, natural)."""

    problem: Problem

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return what is left of the natural opening, then further seeds of the optimum."""
        del seed  # nothing is drawn
        opening = missing(evidence, natural_opening(self.problem))[:n]
        if len(opening) == n:
            return opening
        space, top = self.problem.space, self.problem.ladder.top.name
        if evidence.experts is None:
            mixture, reason = reference(self.problem), "natural: there are no data experts yet"
        else:
            mixture = space.project(optimum(evidence.experts.ensemble, self.problem).weights)
            reason = "the optimum of the experts' ensemble"
        return replicates(evidence, mixture, top, reason, taken=opening, n=n)


def optimum(ensemble: MixtureLosses, problem: Problem) -> Minimum:
    """Return the mixture of the space with the least objective of the ensemble's losses, and the gap to the least.

    The error of a set of multiple choice counts as the loss of its right answers, which is what experts tell of it.
    """
    names, sets = problem.space.names, problem.objective.sets
    order = [names.index(name) for name in ensemble.domains]
    told = [name.removeprefix(ERROR) for name in sets]
    columns = [ensemble.sets.index(name) for name in told]

    def value(w: Array) -> tuple[float, Array]:
        row = w[order][None]
        total, shares = composed(problem.objective, sets, ensemble.losses(row)[0, columns])
        slope = np.zeros(len(names))
        counted = dict.fromkeys(told, 0.0)
        for name, share in zip(told, shares.tolist(), strict=True):
            counted[name] += share
        slope[order] = ensemble.gradients(row, counted)[0]
        return total, slope

    limits = Limits.of(problem.space)
    return least(value, limits, limits.nearest(np.full(len(names), 1.0 / len(names))))


def mde_surrogate(evidence: Evidence, problem: Problem) -> RungwisePredictor:
    """Return the ensemble's losses, corrected at every rung with trials; SearchError without experts."""
    encoding = Encoding.of(evidence, problem)
    if encoding.experts is None:
        raise SearchError(UNTRIED)

    def losses(weights: Array) -> Array:
        experts = encoding.inputs(weights).experts
        assert experts is not None, "an encoding with an ensemble has its losses"
        return experts

    tables = {rung.name: encoding.table(evidence, rung.name) for rung in problem.ladder}
    seen = np.vstack([table.inputs.weights for table in tables.values()])
    unknown = np.full(len(encoding.sets), np.nan)
    spread = losses(seen).var(axis=0) if len(seen) else np.zeros(len(encoding.sets))
    bare = Level(predict=losses, sets_error=unknown, error=float("nan"), spread=spread)
    enough = {name: table for name, table in tables.items() if len(table.losses)}
    levels = {name: corrected(bare, table, encoding, problem) for name, table in enough.items()}
    found = completed(levels, tables, encoding, problem) if levels else dict.fromkeys(tables, bare)
    return RungwisePredictor(problem=problem, encoding=encoding, levels=found)


def mde(problem: Problem) -> Strategy:
    """Return MDE's optimum as a strategy."""
    return ExpertsStrategy(problem=problem)
