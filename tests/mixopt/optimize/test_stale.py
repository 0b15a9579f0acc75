"""Observations of text that is another by now: believed the less, the more of their tokens it was."""

import numpy as np

from mixopt.evidence import Evidence, History, Observation
from mixopt.fidelity import Fidelity, Ladder
from mixopt.mixture import Domain, Mixture
from mixopt.objective import Objective
from mixopt.optimize.fitting import fit
from mixopt.problem import Problem
from mixopt.space import SearchSpace

NAMES = ("a", "b", "c")
RUNG = Fidelity(name="top", tokens=1_000, parameters=1_000, cost_flops=1.0)
PROBLEM = Problem(
    space=SearchSpace(domains=tuple(Domain(name=name, available_tokens=100) for name in NAMES)),
    ladder=Ladder(rungs=(RUNG,)),
    objective=Objective({"set": 1.0}),
    sets=("set",),
    natural=Mixture(dict.fromkeys(NAMES, 1.0 / 3.0)),
    available_tokens=dict.fromkeys(NAMES, 100),
)


def loss(mixture: Mixture, worth: float) -> float:
    """The loss of a mixture where a token of domain `a` is worth so much."""
    return 1.0 + float((0.05 + worth * mixture["a"] + 0.6 * mixture["b"] + 0.2 * mixture["c"]) ** -0.5)


def error(stale: float) -> float:
    """How far predictions are off, where of 36 observations 24 are of a text whose domain `a` was worth nothing."""
    rng = np.random.default_rng(0)
    mixtures = PROBLEM.space.sample(36, rng)
    observations = [
        Observation(
            trial=number,
            mixture=mixture,
            fidelity="top",
            seed=0,
            losses={"set": loss(mixture, 0.05 if number < 24 else 1.0)},
            cost_flops=1.0,
            stale=stale * mixture["a"] if number < 24 else 0.0,
        )
        for number, mixture in enumerate(mixtures)
    ]
    model = fit(Evidence(history=History(observations=tuple(observations))), PROBLEM)
    assert model is not None
    others = PROBLEM.space.sample(60, np.random.default_rng(1))
    means = model.means(model.encoding.inputs(model.encoding.weights(others)))[-1]
    return float(np.mean(np.abs(means - [loss(mixture, 1.0) for mixture in others])))


def test_stale_observations_mislead_less_where_they_are_known_to_be_stale() -> None:
    assert error(1.0) < 0.3 * error(0.0)
