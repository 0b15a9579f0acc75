"""What is proposed where the model is sure of itself."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mixopt.optimize.agreement import listen
from mixopt.optimize.desk import ALIKE, INCUMBENT, Desk
from tests.mixopt.optimize.conftest import Bench


def test_a_model_that_expects_no_gain_is_tested_at_the_top_mixture_by_mixture(bench: Callable[..., Bench]) -> None:
    world = bench(d=3)
    evidence = world.evidence(cheap=16, top=3, seed=3)
    heard = listen(evidence, world.problem)
    assert heard is not None
    desk = Desk.open(world.problem, heard, evidence, [], np.random.default_rng(0))
    desk.belief = replace(desk.belief, covariance=1e-18 * np.eye(len(desk.belief.covariance)))
    best = desk.mixtures[INCUMBENT]
    found = [desk.next() for _ in range(4)]
    proposed = [proposal.mixture for proposal in found if proposal is not None and proposal.fidelity == "large"]
    assert len(proposed) == 4
    assert proposed[0] == best
    seen = [observation.mixture for observation in evidence.history.at("large")]
    for place, mixture in enumerate(proposed):
        assert min(mixture.distance(other) for other in [*seen, *proposed[:place]]) > ALIKE
    means = [desk.belief.top_mean[desk.mixtures.index(mixture)] for mixture in proposed]
    assert means[1:] == sorted(means[1:])
