"""What a rung would show that no trial has reached: the trend of the rungs below, with the doubt that it deserves.

Losses fall and draw together as proxies grow. Of every set, the middle is taken to go on falling by the same part per
unit of log cost as between the last two rungs observed, and the differences between mixtures to shrink likewise.

Shapes: B mixtures, m evaluation sets.
"""

from dataclasses import dataclass

import numpy as np

from mixopt.optimize.encoding import Array, Inputs
from mixopt.optimize.surrogate import GUESSED_RESIDUAL, Surrogate
from mixopt.problem import Problem

FALL = 0.06  # of the logarithm of a loss per unit of log cost, where one rung tells no trend; a guess
DOUBT = 0.75  # of what is extrapolated: the sd of a fall is this part of it; a guess, two points show no bend
LEAST_MIXTURES = 8  # at the last rung, below which nothing is read off their spread
SHRINKAGE = (0.25, 1.5)  # bounds of how much the differences between mixtures may change


@dataclass(frozen=True, kw_only=True)
class Trend:
    """From the last rung observed to one above: `middle`, `level`, `level_sd` and `ratio` of spreads, `m` each."""

    middle: Array
    level: Array
    level_sd: Array
    ratio: Array

    def sets(self, last: Array) -> Array:
        """Return losses at the rung above from those of the last one, `B x m`."""
        moved: Array = self.level + self.ratio * (last - self.middle)
        return moved

    def sets_sd(self, model: Surrogate) -> Array:
        """Return the sd of every set's loss at the rung above, noise included, `m`."""
        rung = model.rungs[-1]
        own = self.ratio**2 * (rung.rmse**2 + (GUESSED_RESIDUAL * rung.scale.width) ** 2)
        deviations: Array = np.sqrt(own + self.level_sd**2)
        return deviations

    def objective_sd(self, model: Surrogate, sd: Array) -> Array:
        """Return the sd of the objective there from that at the last rung, `B`; the levels of sets err together."""
        weights = model.objective.array(model.encoding.sets)
        level = float(model.objective.of_array(self.level_sd, model.encoding.sets))
        deviations: Array = np.hypot(sd * float(weights @ self.ratio) / float(weights.sum()), level)
        return deviations


def trend(model: Surrogate, problem: Problem, fidelity: str) -> Trend:
    """Return how losses go on from the model's last rung to `fidelity`, which lies above it."""
    inputs = model.rungs[-1].table.inputs
    sets = model.sets(inputs)
    costs = np.log([problem.ladder[rung.name].cost_flops for rung in model.rungs])
    ahead = float(np.log(problem.ladder[fidelity].cost_flops) - costs[-1])
    middle = np.maximum(sets[-1].mean(0), 1e-9)
    slope, ratio = np.full_like(middle, -FALL), np.ones_like(middle)
    if len(model.rungs) > 1:
        behind = float(costs[-1] - costs[-2])
        slope = np.log(middle / np.maximum(sets[-2].mean(0), 1e-9)) / behind
        ratio = _ratio(inputs, sets, ahead / behind)
    level = middle * np.exp(slope * ahead)
    return Trend(middle=middle, level=level, level_sd=DOUBT * np.abs(level - middle), ratio=ratio)


def _ratio(inputs: Inputs, sets: list[Array], steps: float) -> Array:
    if len(np.unique(inputs.weights, axis=0)) < LEAST_MIXTURES:
        return np.ones(sets[-1].shape[1])
    spreads = np.maximum(sets[-1].std(0), 1e-9) / np.maximum(sets[-2].std(0), 1e-9)
    ratio: Array = np.clip(spreads**steps, *SHRINKAGE)
    return ratio
