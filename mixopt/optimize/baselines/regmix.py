"""RegMix (arXiv:2407.01492): gradient-boosted trees on the weights, from many random runs around natural.

As released: 1000 rounds at rate 1e-2, everything else LightGBM's default, an own model for every evaluation set. Their
notebook stops early on the rows it tests with; nothing is stopped here. The pick is the mean of the hundred candidates
with the best predictions.
"""

import numpy as np

from mixopt.errors import ConfigError
from mixopt.evidence import Evidence, Strategy
from mixopt.optimize.baselines.rungwise import RungwisePredictor, Trained, rungwise, swarm_rows
from mixopt.optimize.baselines.swarm import SwarmStrategy, around_natural, cloud, runs
from mixopt.optimize.encoding import Array
from mixopt.problem import Problem

try:
    import lightgbm
except ImportError:
    raise ConfigError("regmix needs LightGBM, which is not installed; pip install mixopt[regmix]") from None

ROUNDS = 1_000
PARAMETERS = {
    "objective": "regression",
    "learning_rate": 1e-2,
    "verbosity": -1,
    "seed": 42,
    "num_threads": 1,  # a few hundred rows: more threads only wait for each other
    "deterministic": True,
    "force_row_wise": True,
}
CANDIDATES = 20_000  # they simulate 100,000, which takes a minute for a dozen sets
AVERAGED = 100


def trees(weights: Array, losses: Array) -> Trained:
    """Return boosted trees for every set; with fewer than 40 rows LightGBM's default leaf size leaves a constant."""
    boosters = []
    for column in losses.T:
        rows = lightgbm.Dataset(weights, label=column, free_raw_data=True)
        boosters.append(lightgbm.train(PARAMETERS, rows, num_boost_round=ROUNDS))

    def predict(rows: Array) -> Array:
        return np.stack([np.asarray(booster.predict(rows)) for booster in boosters], axis=1)

    return Trained(predict=predict)


def lightgbm_surrogate(evidence: Evidence, problem: Problem) -> RungwisePredictor:
    """Return LightGBM on the weights of every rung; SearchError if nothing was measured."""
    return rungwise(evidence, problem, trees)


def pick(evidence: Evidence, problem: Problem) -> Array:
    """Return the mean of the best candidates by the trees of the swarm's rung, `d`."""
    rows = cloud(problem, CANDIDATES, np.random.default_rng(problem.seed))
    predicted = trees(*swarm_rows(evidence, problem)).predict(rows)
    scores = problem.objective.of_array(predicted, problem.objective.sets)
    best: Array = rows[np.argsort(scores, kind="stable")[:AVERAGED]].mean(axis=0)
    return best


def regmix(problem: Problem) -> Strategy:
    """Return RegMix: a swarm at the cheapest rung, then its pick at the top."""
    return SwarmStrategy(problem=problem, pick=pick, swarm=around_natural, runs=runs(problem), method="RegMix")
