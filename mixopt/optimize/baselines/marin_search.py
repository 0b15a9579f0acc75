"""How Marin's procedure spends trials: natural five times, a swarm, and the optimum of its laws within six epochs."""

import numpy as np

from mixopt.evidence import Evidence, Proposal, Strategy
from mixopt.optimize.baselines.convex import Limits, composed, least
from mixopt.optimize.baselines.marin import epochs_of_one, fit
from mixopt.optimize.baselines.rungwise import RungwisePredictor, Trained, rungwise, swarm_rows
from mixopt.optimize.baselines.swarm import SwarmStrategy, around_natural, runs
from mixopt.optimize.design import reference
from mixopt.optimize.encoding import Array
from mixopt.optimize.trials import search_trial
from mixopt.problem import Problem

CAP_EPOCHS = 6.0
REPEATS = 5  # of natural at the least; they give the floor
SWARM_STARTS = 4  # measured rows that the search for the optimum starts from, beside natural
PRESENT = 1e-6  # the slope of the benefit is infinite at a weight of 0
DECIMALS = 4  # of the pick


def marin_surrogate(evidence: Evidence, problem: Problem) -> RungwisePredictor:
    """Return the laws of every rung; SearchError if nothing was measured."""
    natural, passes = reference(problem).array(problem.space.names), epochs_of_one(problem)

    def train(weights: Array, losses: Array) -> Trained:
        laws, left_out = fit(weights, losses, natural, passes)
        return Trained(
            predict=lambda rows: np.stack([law.predict(rows * passes) for law in laws], axis=1), left_out=left_out
        )

    return rungwise(evidence, problem, train)


def pick(evidence: Evidence, problem: Problem) -> Array:
    """Return the best of five searches for the optimum of the swarm's laws, rounded, `d`."""
    natural, passes = reference(problem).array(problem.space.names), epochs_of_one(problem)
    weights, losses = swarm_rows(evidence, problem)
    laws, _ = fit(weights, losses, natural, passes)

    def value(w: Array) -> tuple[float, Array]:
        epochs = np.maximum(w, PRESENT) * passes
        predicted = np.array([law.predict(epochs[None])[0] for law in laws])
        total, shares = composed(problem.objective, problem.objective.sets, predicted)
        slope = sum((s * law.slope(epochs) for s, law in zip(shares, laws, strict=True) if s > 0.0), np.zeros(len(w)))
        return total, slope * passes

    limits = Limits.of(problem.space, CAP_EPOCHS / passes)
    best = problem.objective.of_array(losses, problem.objective.sets).argsort(kind="stable")[:SWARM_STARTS]
    starts = [natural, *(0.95 * weights[place] + 0.05 * natural for place in best)]
    found = min((least(value, limits, limits.nearest(start)) for start in starts), key=lambda one: one.value)
    return np.round(found.weights, DECIMALS)


def marin(problem: Problem) -> Strategy:
    """Return Marin's procedure as a strategy."""
    natural, cheap = reference(problem), problem.ladder.cheapest.name
    repeats: tuple[Proposal, ...] = tuple(
        search_trial(natural, cheap, seed, "Marin: natural, for the floor", replicate=seed > 0)
        for seed in range(problem.natural_seeds, REPEATS)
    )
    return SwarmStrategy(
        problem=problem, pick=pick, swarm=around_natural, runs=runs(problem), method="Marin", opening=repeats
    )
