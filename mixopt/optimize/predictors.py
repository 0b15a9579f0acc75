"""Every model of losses over mixtures, the product's own and its rivals, under one name each."""

from collections.abc import Callable, Mapping

from mixopt.evidence import Evidence
from mixopt.optimize.baselines.rivals import RIVAL_SURROGATES
from mixopt.optimize.predictions import Predictor
from mixopt.optimize.stack_predictor import stack
from mixopt.problem import Problem

DEFAULT = "stack"  # the one that the product uses

SURROGATES: Mapping[str, Callable[[Evidence, Problem], Predictor]] = {
    "stack": stack,
    **RIVAL_SURROGATES,
}
