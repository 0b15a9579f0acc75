"""The product's surrogate as one of the models that are compared.

Shapes: B mixtures, d domains, m evaluation sets.
"""

from dataclasses import dataclass

import numpy as np

from mixopt.errors import SearchError
from mixopt.evidence import Evidence
from mixopt.optimize import surrogate
from mixopt.optimize.acquisition import Belief
from mixopt.optimize.encoding import Array
from mixopt.optimize.extrapolation import trend
from mixopt.optimize.predictions import Predictions, Predictor
from mixopt.optimize.surrogate import Surrogate
from mixopt.problem import Problem


@dataclass(frozen=True, kw_only=True)
class StackPredictor:
    """The stack of laws and processes, fitted."""

    model: Surrogate
    problem: Problem

    def predict(self, weights: Array, fidelity: str) -> Predictions:
        """Return what trials of `weights` would show; sets that were not measured throughout are nan."""
        inputs = self.model.encoding.inputs(weights)
        rung = self.problem.ladder.index(fidelity)
        belief = Belief.of(self.model, self.problem, inputs)
        mean, sd = belief.mean[rung], np.sqrt(belief.sd(rung) ** 2 + belief.noise[rung])
        place = self._place(rung)
        sets_mean, sets_sd = self.model.sets(inputs)[place], self.model.rungs[place].rmse
        if self.problem.ladder.index(self.model.rungs[-1].name) < rung:
            ahead = trend(self.model, self.problem, fidelity)
            sets_mean, sets_sd = ahead.sets(sets_mean), ahead.sets_sd(self.model)
            mean, sd = (
                self.model.objective.of_array(sets_mean, self.model.encoding.sets),
                ahead.objective_sd(self.model, sd),
            )
        return Predictions(
            sets_mean=self._all(sets_mean), sets_sd=self._all(sets_sd + 0.0 * sets_mean), mean=mean, sd=sd
        )

    def _place(self, rung: int) -> int:
        """Return the place among the model's rungs of the last one that is not above `rung`, or else of its first."""
        below = [k for k, fit in enumerate(self.model.rungs) if self.problem.ladder.index(fit.name) <= rung]
        return max(below, default=0)

    def _all(self, values: Array) -> Array:
        """Return `values` of the model's sets as columns of all the problem's, nan where there are none."""
        columns = np.full((len(values), len(self.problem.sets)), np.nan)
        columns[:, [self.problem.sets.index(name) for name in self.model.encoding.sets]] = values
        return columns


def stack(evidence: Evidence, problem: Problem) -> Predictor:
    """Return the product's surrogate, fitted; SearchError if nothing was measured."""
    model = surrogate.fit(evidence, problem)
    if model is None:
        raise SearchError("no trial has losses of every set that the objective counts; nothing can be fitted")
    return StackPredictor(model=model, problem=problem)
