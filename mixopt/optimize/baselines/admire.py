"""ADMIRE (arXiv:2508.11551): multi-fidelity Bayesian optimization over the raw weights, as its code has it.

The kernel of `fidelity_gp`, a constant mean, noise above 1e-4; max-value entropy over cost with one sample of the best
value, drawn over the mixtures observed; one trial at a time, one random trial first. Their outcomes are not
standardised (`admire-raw`), which leaves the noise floor far above the spread of losses; `admire` standardises them.
"""

import numpy as np
import torch
from botorch.models.gp_regression_fidelity import SingleTaskMultiFidelityGP
from botorch.models.transforms import Standardize
from botorch.models.utils.gpytorch_modules import get_gaussian_likelihood_with_gamma_prior

from mixopt.evidence import Evidence, Strategy
from mixopt.optimize.baselines.entropy_search import EntropyStrategy
from mixopt.optimize.baselines.fidelity_gp import FidelityGP, fit
from mixopt.optimize.encoding import Array
from mixopt.problem import Problem

MAXIMA = 1


def admire_surrogate(evidence: Evidence, problem: Problem) -> FidelityGP:
    """Return ADMIRE's process of standardised outcomes; SearchError if nothing was measured."""
    return fit(evidence, problem, _standardised)


def raw_admire_surrogate(evidence: Evidence, problem: Problem) -> FidelityGP:
    """Return ADMIRE's process of raw outcomes; SearchError if nothing was measured."""
    return fit(evidence, problem, _raw)


def admire(problem: Problem) -> Strategy:
    """Return ADMIRE with standardised outcomes."""
    return EntropyStrategy(
        problem=problem, surrogate=admire_surrogate, maxima=MAXIMA, over=over_observed, method="ADMIRE"
    )


def raw_admire(problem: Problem) -> Strategy:
    """Return ADMIRE as released."""
    return EntropyStrategy(
        problem=problem, surrogate=raw_admire_surrogate, maxima=MAXIMA, over=over_observed, method="ADMIRE, raw"
    )


def over_observed(model: FidelityGP, _candidates: Array) -> Array:
    """Return the different mixtures observed: what the best value is drawn over."""
    return np.unique(model.X, axis=0)


def _standardised(X: torch.Tensor, y: torch.Tensor) -> SingleTaskMultiFidelityGP:
    likelihood = get_gaussian_likelihood_with_gamma_prior()
    return SingleTaskMultiFidelityGP(
        X, y, data_fidelities=[-1], likelihood=likelihood, outcome_transform=Standardize(m=1)
    )


def _raw(X: torch.Tensor, y: torch.Tensor) -> SingleTaskMultiFidelityGP:
    likelihood = get_gaussian_likelihood_with_gamma_prior()
    return SingleTaskMultiFidelityGP(X, y, data_fidelities=[-1], likelihood=likelihood, outcome_transform=None)
