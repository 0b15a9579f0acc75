"""BoTorch's Gaussian process over [weights, s], s the cost relative to the top rung, of the objective alone.

k = sigma^2 [k0 + (1 - s)(1 - s')(1 + s s')^p k1], k0 and k1 Matern 5/2 with a length for each weight: BoTorch's linear
truncated kernel, which `admire` and `botorch` share. They model the objective and nothing else; the sets are predicted
here with the objective's kernel, each centred and scaled by itself.

Shapes: n observations at all rungs, d domains, m evaluation sets, B mixtures; X `n x (d + 1)`, the last column s.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models.gp_regression_fidelity import SingleTaskMultiFidelityGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.errors import NotPSDError

from mixopt.evidence import Evidence
from mixopt.optimize.baselines.rungwise import observed
from mixopt.optimize.encoding import Array, Encoding
from mixopt.optimize.predictions import Predictions
from mixopt.problem import Problem

Maker = Callable[[torch.Tensor, torch.Tensor], SingleTaskMultiFidelityGP]

UNFITTED = "its hyperparameters could not be fitted and stay where they start"


@dataclass(frozen=True, kw_only=True)
class FidelityGP:
    """The process, fitted to the negative objective, which BoTorch maximizes.

    X: `n x (d + 1)`; values: the objective, `n`; losses: `n x m`. fallback: why it is not what was asked for, or None.
    """

    problem: Problem
    encoding: Encoding
    model: SingleTaskMultiFidelityGP
    X: Array
    values: Array
    losses: Array
    fallback: str | None

    def predict(self, weights: Array, fidelity: str) -> Predictions:
        """Return what trials of `weights` would show; sets that were not measured throughout are nan."""
        rows = torch.from_numpy(joined(self.problem, weights, fidelity))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", BotorchWarning)
            posterior = self.model.posterior(rows, observation_noise=True)
            mean = -posterior.mean[:, 0].numpy()
            sd = posterior.variance[:, 0].clamp_min(0.0).sqrt().numpy()
        sets_mean, sets_sd = np.full((2, len(weights), len(self.problem.sets)), np.nan)
        places = [self.problem.sets.index(name) for name in self.encoding.sets]
        center, width = self.losses.mean(axis=0), self.losses.std(axis=0)
        sets_mean[:, places] = center + self._weights(rows).T @ (self.losses - center)
        sets_sd[:, places] = np.outer(sd, width / max(float(self.values.std()), 1e-12))
        return Predictions(sets_mean=sets_mean, sets_sd=sets_sd, mean=mean, sd=sd)

    def _weights(self, rows: torch.Tensor) -> Array:
        """Return what each observation counts for each of `rows`, `n x B`: K^-1 k."""
        with torch.no_grad():
            seen = torch.from_numpy(self.X)
            gram = self.model.covar_module(seen).to_dense()
            gram = gram + self.model.likelihood.noise * torch.eye(len(seen), dtype=gram.dtype)
            cross = self.model.covar_module(seen, rows).to_dense()
            counted: Array = torch.linalg.solve(gram, cross).numpy()
        return counted


def fit(evidence: Evidence, problem: Problem, make: Maker) -> FidelityGP:
    """Return the process that `make` builds of X and y, fitted; SearchError if nothing was measured."""
    encoding, tables = observed(evidence, problem)
    X = np.vstack([joined(problem, table.inputs.weights, name) for name, table in tables.items()])
    losses = np.vstack([table.losses for table in tables.values()])
    values = problem.objective.of_array(losses, encoding.sets)
    fallback = None
    with warnings.catch_warnings():
        # Raw outcomes and failing attempts of the optimizer: the first are meant, the second end in an error.
        warnings.simplefilter("ignore", BotorchWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        model = make(torch.from_numpy(X), -torch.from_numpy(values)[:, None])
        try:
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        except (ModelFittingError, NotPSDError):
            model = make(torch.from_numpy(X), -torch.from_numpy(values)[:, None])
            model.eval()
            fallback = UNFITTED
    return FidelityGP(
        problem=problem, encoding=encoding, model=model, X=X, values=values, losses=losses, fallback=fallback
    )


def joined(problem: Problem, weights: Array, fidelity: str) -> Array:
    """Return weights and the relative cost of a rung, `B x (d + 1)`."""
    cost = problem.ladder[fidelity].cost_flops / problem.ladder.top.cost_flops
    return np.column_stack([weights, np.full(len(weights), cost)])
