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
        lower = [k for k, r in enumerate(self.problem.ladder) if r.name in names and k <= rung]
        place = names.index(self.problem.ladder.rungs[lower[-1]].name) if lower else 0
        places = [self.problem.sets.index(name) for name in self.model.encoding.sets]
        shape = (len(weights), len(self.problem.sets))
        sets_mean, sets_sd = np.full(shape, np.nan), np.full(shape, np.nan)
        sets_mean[:, places] = self.model.sets(inputs)[place]
        sets_sd[:, places] = self.model.rungs[place].rmse
        sd = np.sqrt(belief.sd(rung) ** 2 + belief.noise[rung])
        return Predictions(sets_mean=sets_mean, sets_sd=sets_sd, mean=belief.mean[rung], sd=sd)


def stack(evidence: Evidence, problem: Problem) -> Predictor:
    """Return the product's surrogate, fitted; SearchError if nothing was measured."""
    model = surrogate.fit(evidence, problem)
    if model is None:
        raise SearchError("no trial has losses of every set that the objective counts; nothing can be fitted")
    return StackPredictor(model=model, problem=problem)
