"""The rivals by name, each loaded when it is built: LightGBM, scikit-learn and BoTorch take seconds to import."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from mixopt.evidence import Evidence, Strategy
from mixopt.optimize.predictions import Predictor
from mixopt.problem import Problem


@dataclass(frozen=True)
class _Search:
    """A rival's strategy: the function `name` of `module` here, which takes the problem."""

    module: str
    name: str

    def __call__(self, problem: Problem) -> Strategy:
        found: Strategy = getattr(import_module(f"{__package__}.{self.module}"), self.name)(problem)
        return found


@dataclass(frozen=True)
class _Model:
    """A rival's model of losses: the function `name` of `module` here, which takes evidence and problem."""

    module: str
    name: str

    def __call__(self, evidence: Evidence, problem: Problem) -> Predictor:
        found: Predictor = getattr(import_module(f"{__package__}.{self.module}"), self.name)(evidence, problem)
        return found


RIVALS: Mapping[str, Callable[[Problem], Strategy]] = {
    "regmix": _Search("regmix", "regmix"),
    "log-linear": _Search("log_linear", "log_linear"),
    "mde": _Search("mde", "mde"),
    "marin": _Search("marin_search", "marin"),
    "scheffe": _Search("scheffe", "scheffe"),
    "admire": _Search("admire", "admire"),
    "admire-raw": _Search("admire", "raw_admire"),
    "botorch": _Search("stock", "stock"),
}

RIVAL_SURROGATES: Mapping[str, Callable[[Evidence, Problem], Predictor]] = {
    "lightgbm": _Model("regmix", "lightgbm_surrogate"),
    "log-linear": _Model("log_linear", "log_linear_surrogate"),
    "mde": _Model("mde", "mde_surrogate"),
    "marin": _Model("marin_search", "marin_surrogate"),
    "scheffe": _Model("scheffe", "scheffe_surrogate"),
    "admire": _Model("admire", "admire_surrogate"),
    "admire-raw": _Model("admire", "raw_admire_surrogate"),
    "botorch": _Model("stock", "stock_surrogate"),
}
