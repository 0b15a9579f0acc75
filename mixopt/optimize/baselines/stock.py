"""BoTorch's stock multi-fidelity Gaussian process and max-value entropy search, all defaults."""

import torch
from botorch.models.gp_regression_fidelity import SingleTaskMultiFidelityGP

from mixopt.evidence import Evidence, Strategy
from mixopt.optimize.baselines.entropy_search import EntropyStrategy
from mixopt.optimize.baselines.fidelity_gp import FidelityGP, fit
from mixopt.optimize.encoding import Array
from mixopt.problem import Problem

MAXIMA = 10  # BoTorch's default


def stock_surrogate(evidence: Evidence, problem: Problem) -> FidelityGP:
    """Return the stock process; SearchError if nothing was measured."""
    return fit(evidence, problem, _stock)


def stock(problem: Problem) -> Strategy:
    """Return the stock search."""
    return EntropyStrategy(
        problem=problem, surrogate=stock_surrogate, maxima=MAXIMA, over=over_candidates, method="BoTorch"
    )


def over_candidates(_model: FidelityGP, candidates: Array) -> Array:
    """Return all candidates: what the best value is drawn over."""
    return candidates


def _stock(X: torch.Tensor, y: torch.Tensor) -> SingleTaskMultiFidelityGP:
    return SingleTaskMultiFidelityGP(X, y, data_fidelities=[-1])
