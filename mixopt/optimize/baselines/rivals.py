"""The rivals by name, each loaded when it is built."""

# ruff: noqa: PLC0415  # LightGBM, scikit-learn and BoTorch take seconds to import: only who asks for one of them waits

from collections.abc import Callable, Mapping

from mixopt.evidence import Evidence, Strategy
from mixopt.optimize.predictions import Predictor
from mixopt.problem import Problem


def _regmix(problem: Problem) -> Strategy:
    from mixopt.optimize.baselines.regmix import regmix

    return regmix(problem)


def _log_linear(problem: Problem) -> Strategy:
    from mixopt.optimize.baselines.log_linear import log_linear

    return log_linear(problem)


def _mde(problem: Problem) -> Strategy:
    from mixopt.optimize.baselines.mde import mde

    return mde(problem)


def _marin(problem: Problem) -> Strategy:
    from mixopt.optimize.baselines.marin_search import marin

    return marin(problem)


def _scheffe(problem: Problem) -> Strategy:
    from mixopt.optimize.baselines.scheffe import scheffe

    return scheffe(problem)


def _admire(problem: Problem) -> Strategy:
    from mixopt.optimize.baselines.admire import admire

    return admire(problem)


def _raw_admire(problem: Problem) -> Strategy:
    from mixopt.optimize.baselines.admire import raw_admire

    return raw_admire(problem)


def _stock(problem: Problem) -> Strategy:
    from mixopt.optimize.baselines.stock import stock

    return stock(problem)


def _lightgbm_model(evidence: Evidence, problem: Problem) -> Predictor:
    from mixopt.optimize.baselines.regmix import lightgbm_surrogate

    return lightgbm_surrogate(evidence, problem)


def _log_linear_model(evidence: Evidence, problem: Problem) -> Predictor:
    from mixopt.optimize.baselines.log_linear import log_linear_surrogate

    return log_linear_surrogate(evidence, problem)


def _mde_model(evidence: Evidence, problem: Problem) -> Predictor:
    from mixopt.optimize.baselines.mde import mde_surrogate

    return mde_surrogate(evidence, problem)


def _marin_model(evidence: Evidence, problem: Problem) -> Predictor:
    from mixopt.optimize.baselines.marin_search import marin_surrogate

    return marin_surrogate(evidence, problem)


def _scheffe_model(evidence: Evidence, problem: Problem) -> Predictor:
    from mixopt.optimize.baselines.scheffe import scheffe_surrogate

    return scheffe_surrogate(evidence, problem)


def _admire_model(evidence: Evidence, problem: Problem) -> Predictor:
    from mixopt.optimize.baselines.admire import admire_surrogate

    return admire_surrogate(evidence, problem)


def _raw_admire_model(evidence: Evidence, problem: Problem) -> Predictor:
    from mixopt.optimize.baselines.admire import raw_admire_surrogate

    return raw_admire_surrogate(evidence, problem)


def _stock_model(evidence: Evidence, problem: Problem) -> Predictor:
    from mixopt.optimize.baselines.stock import stock_surrogate

    return stock_surrogate(evidence, problem)


RIVALS: Mapping[str, Callable[[Problem], Strategy]] = {
    "regmix": _regmix,
    "log-linear": _log_linear,
    "mde": _mde,
    "marin": _marin,
    "scheffe": _scheffe,
    "admire": _admire,
    "admire-raw": _raw_admire,
    "botorch": _stock,
}

RIVAL_SURROGATES: Mapping[str, Callable[[Evidence, Problem], Predictor]] = {
    "lightgbm": _lightgbm_model,
    "log-linear": _log_linear_model,
    "mde": _mde_model,
    "marin": _marin_model,
    "scheffe": _scheffe_model,
    "admire": _admire_model,
    "admire-raw": _raw_admire_model,
    "botorch": _stock_model,
}
