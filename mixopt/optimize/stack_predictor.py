"""The product's surrogate as one of the models that are compared.

Shapes: B mixtures, d domains, m evaluation sets.
"""

from dataclasses import dataclass

import numpy as np

from mixopt.errors import SearchError
from mixopt.evidence import Evidence
from mixopt.optimize.acquisition import Belief
from mixopt.optimize.encoding import Array
from mixopt.optimize.extrapolation import Place, Trend, sets_at
from mixopt.optimize.fitting import fit
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
        names = [fit.name for fit in self.model.rungs]
        place = names.index(fidelity) if fidelity in names else len(names) - 1
        rungs = self.model.sets(inputs)
        sets_mean, sets_sd = rungs[place], self.model.sets_sd(inputs)[place]
        if fidelity not in names:
            trend, ahead = Trend.of(self.model, self.problem), Place.of_rung(self.model, self.problem, fidelity)
            sets_mean = sets_at(self.model, trend, inputs, ahead)
            sets_sd = trend.sets_sd(sets_sd, sets_mean, ahead.ahead)
        return Predictions(
            sets_mean=self._all(sets_mean),
            sets_sd=self._all(sets_sd + 0.0 * sets_mean),
            mean=belief.mean[rung],
            sd=np.sqrt(belief.sd(rung) ** 2 + belief.noise[rung]),
        )

    def _all(self, values: Array) -> Array:
        """Return `values` of the model's sets as columns of all the problem's, nan where there are none."""
        columns = np.full((len(values), len(self.problem.sets)), np.nan)
        columns[:, [self.problem.sets.index(name) for name in self.model.encoding.sets]] = values
        return columns


def stack(evidence: Evidence, problem: Problem) -> Predictor:
    """Return the product's surrogate, fitted; SearchError if nothing was measured."""
    model = fit(evidence, problem)
    if model is None:
        raise SearchError("no trial has losses of every set that the objective counts; nothing can be fitted")
    return StackPredictor(model=model, problem=problem)
