"""How surely a mixture keeps to the guard: no guarded set worse than with the natural mixture by more than delta.

At the last rung observed, what the members leave of the sets is one process over mixtures, the same for all sets but
for their size, with the sets' joint errors between them (intrinsic coregionalisation): its kernel, length and share of
noise are those of the objective's residual process. A difference to the natural mixture is thereby known the better
the nearer the two lie, and the more trials lie about them.

Shapes: B mixtures, n observations, d domains, m evaluation sets, g guarded ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mixopt.objective import Guard, shown_set
from mixopt.optimize.composition import all_below
from mixopt.optimize.encoding import Array
from mixopt.optimize.members import matern
from mixopt.optimize.surrogate import RungFit, Surrogate
from mixopt.problem import Problem

LEAST_RATIO = 1e-4  # noise over signal: keeps the process solvable


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How B mixtures stand to the guard.

    probability: that all guarded sets keep to it, `B`; by_set: that each does, `B x g`; sets: their names.
    """

    guard: Guard
    probability: Array
    by_set: Array
    sets: tuple[str, ...]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which mixtures keep to the guard with the probability that it asks for, bool `B`."""
        kept: NDArray[np.bool_] = self.probability >= self.guard.probability
        return kept

    def plain(self, mixture: int) -> dict[str, object]:
        """Return what a recommendation says of a mixture: the probability, and the set that most likely breaks it."""
        worst = int(self.by_set[mixture].argmin())
        return {
            "delta": self.guard.delta,
            "probability": float(self.probability[mixture]),
            "asked": self.guard.probability,
            "worst_set": shown_set(self.sets[worst]),
            "worst_set_probability": float(self.by_set[mixture, worst]),
        }


def standing(model: Surrogate, problem: Problem, rows: Array) -> Standing | None:
    """Return how the mixtures `rows`, `B x d`, stand to the objective's guard; None where it has none."""
    guard = problem.objective.guard
    if guard is None:
        return None
    encoding, rung = model.encoding, model.rungs[-1]
    columns = [encoding.sets.index(name) for name in guard.sets]
    points = np.vstack([problem.natural.array(problem.space.names), rows])
    means, variances = _posterior(model, rung, points)
    links, natural = encoding.links, means[0]
    limits = links.to(links.back(natural)[None] + guard.delta) - natural
    sds = np.sqrt(variances[:, None] * rung.errors.diagonal()[None, :] * _signal(rung))
    moves = means[1:] - natural
    limits, moves, sds = limits[:, columns], moves[:, columns], np.maximum(sds[:, columns], 1e-12)
    correlations = _correlations(rung.errors)[np.ix_(columns, columns)]
    return Standing(
        guard=guard,
        probability=all_below(limits, moves, sds, shared=_mean_off_diagonal(correlations)),
        by_set=ndtr((limits - moves) / sds),
        sets=guard.sets,
    )


def penalised(scores: Array, stand: Standing | None, width: float) -> Array:
    """Return `scores` of mixtures (`B`, least is best) so that what breaks the guard comes last, by how surely it does.

    width: a spread of the scores.
    """
    if stand is None:
        return scores
    shortfall = stand.guard.probability - stand.probability
    broken: Array = np.where(stand.kept, scores, scores + 1e3 * width * (1.0 + shortfall))
    return broken


def chances(stand: Standing | None, count: int) -> Array:
    """Return what a trial's value is multiplied by, `B`: the probability that its mixture keeps to the guard."""
    return np.ones(count) if stand is None else stand.probability


def plain(stand: Standing | None, mixture: int = 0) -> Mapping[str, object] | None:
    """Return what a recommendation says of its guard, None where there is none."""
    return None if stand is None else stand.plain(mixture)


def _posterior(model: Surrogate, rung: RungFit, points: Array) -> tuple[Array, Array]:
    """Return means of the sets at `points`, `(B + 1) x m`, and the share of variance of differences to the first."""
    inputs = model.encoding.weighed(points)
    seen, at = rung.table.inputs.coordinates, inputs.coordinates
    ratio = max(rung.noise_sd**2 / max(rung.residual.amplitude**2, 1e-12), LEAST_RATIO)
    known = matern(seen, seen, rung.residual.length) + ratio * np.eye(len(seen))
    cross = matern(at, seen, rung.residual.length)
    gain = np.linalg.solve(known, cross.T).T
    means = model.linked(inputs)[-1] + gain @ rung.sets_left
    own = 1.0 - (gain * cross).sum(1)
    shared = matern(at[1:], at[:1], rung.residual.length)[:, 0] - gain[1:] @ cross[0]
    variances = np.maximum(own[1:] + own[0] - 2.0 * shared, 0.0)
    return means, variances


def _signal(rung: RungFit) -> float:
    """Return the part of the out-of-fold variance that is of the mixture and not of the seed."""
    return rung.residual.amplitude**2 / max(rung.residual.amplitude**2 + rung.noise_sd**2, 1e-300)


def _correlations(covariance: Array) -> Array:
    sds = np.sqrt(np.maximum(covariance.diagonal(), 1e-300))
    correlations: Array = covariance / np.outer(sds, sds)
    return correlations


def _mean_off_diagonal(correlations: Array) -> float:
    count = len(correlations)
    return 0.0 if count < 2 else float((correlations.sum() - count) / (count * (count - 1)))
