"""How far a pick is drawn towards the natural mixture: no farther than picks among held-out mixtures ask for.

Shapes: k mixtures, S strengths.
"""

import numpy as np

from mixopt.optimize.encoding import Array
from mixopt.optimize.held_out import held_out
from mixopt.optimize.surrogate import Surrogate
from mixopt.problem import Problem

STRENGTHS = (0.0, 0.02, 0.05, 0.1, 0.2)  # spreads of the objective for a nat of divergence from the natural mixture
LEAST_MIXTURES = 12  # at a rung, below which picks among those held out tell nothing
PICKS = 400  # from random halves of the mixtures
VISIBLE = 0.2  # of the noise: what a stronger pull must save at least
SMALLEST = 1e-6  # of a natural weight: what the space has and nature has not stays possible


def divergence(rows: Array, natural: Array) -> Array:
    """Return the Kullback-Leibler divergence of mixtures, `k x d`, from the natural one (`d`), `k`, in nats."""
    known = np.maximum(rows, 1e-300)
    nats: Array = (rows * np.log(known / np.maximum(natural, SMALLEST))).sum(1)
    return nats


def strength(model: Surrogate, problem: Problem) -> float:
    """Return the strength of the pull, in bits per byte a nat: the weakest that no other visibly improves on.

    By what the picks among mixtures cost whose predictions come from fits without them, at the dearest rung that has
    enough of them.
    """
    rung = next((rung for rung in reversed(model.rungs) if rung.table.distinct >= LEAST_MIXTURES), None)
    if rung is None:
        return 0.0
    known = held_out(model, rung)
    nats = divergence(known.weights, problem.natural.array(problem.space.names))
    regrets = picked(known.measured, known.predicted, nats, width=rung.scale.objective_width, seed=problem.seed)
    enough = regrets <= regrets.min() + VISIBLE * rung.noise_sd
    return STRENGTHS[int(enough.argmax())] * rung.scale.objective_width


def picked(values: Array, predicted: Array, nats: Array, *, width: float, seed: int) -> Array:
    """Return for every strength what picks from random halves of the mixtures cost on average, `S`."""
    rng = np.random.default_rng(seed)
    scores = predicted + width * np.array(STRENGTHS)[:, None] * nats
    regrets = np.zeros(len(STRENGTHS))
    for _ in range(PICKS):
        half = rng.permutation(len(values))[: (len(values) + 1) // 2]
        regrets += values[half][scores[:, half].argmin(1)] - values[half].min()
    mean: Array = regrets / PICKS
    return mean
