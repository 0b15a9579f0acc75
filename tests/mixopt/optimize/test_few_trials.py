"""What few trials tell of mixtures that lie far from them: with the doubt that it deserves, and nothing absurd."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from mixopt.evidence import Evidence, History
from mixopt.mixture import Mixture
from mixopt.optimize.fitting import fit
from mixopt.optimize.recommend import predict
from mixopt.replay.landscapes import Landscape

SEEDS = range(10)


def alone(landscape: Landscape) -> list[Mixture]:
    names = landscape.problem.space.names
    return [Mixture({name: float(name == only) for name in names}) for only in names]


def drawn(landscape: Landscape, count: int) -> list[Mixture]:
    """The natural mixture and others of the space."""
    rng = np.random.default_rng(landscape.seed)
    return [landscape.problem.natural, *landscape.problem.space.sample(count - 1, rng)]


def measured(landscape: Landscape, rungs: Iterable[tuple[str, Sequence[Mixture]]]) -> Evidence:
    trials = [(rung, mixture) for rung, mixtures in rungs for mixture in mixtures]
    seen = tuple(landscape.observe(k, mixture, rung, seed=0) for k, (rung, mixture) in enumerate(trials))
    return Evidence(history=History(observations=seen))


def missed(landscape: Landscape, evidence: Evidence, mixtures: Sequence[Mixture]) -> np.ndarray:
    """What is predicted of mixtures at the top rung less the truth, and in sds, `2 x B`."""
    problem = landscape.problem
    found = predict(fit(evidence, problem), problem, mixtures)
    truth = landscape.true(np.array([mixture.array(problem.space.names) for mixture in mixtures]))
    errors = np.array([prediction.mean for prediction in found]) - truth
    return np.stack([errors, errors / [prediction.sd for prediction in found]])


@pytest.mark.parametrize(("d", "count"), [(3, 8), (7, 4)])
def test_single_domains_that_few_large_trials_say_little_of_lie_within_their_intervals(d: int, count: int) -> None:
    """Experts were trained on each at the cheap rung; at the top one there are none but mixtures."""
    found = []
    for seed in SEEDS:
        landscape = Landscape(d=d, seed=seed)
        mixtures = drawn(landscape, count)
        rungs = [("small", [*mixtures, *alone(landscape)]), ("large", mixtures)]
        found.append(missed(landscape, measured(landscape, rungs), alone(landscape))[1])
    assert np.mean(np.abs(np.concatenate(found)) < 1.645) >= 0.8


def test_no_law_is_believed_that_calls_a_domain_hundreds_of_bits_bad() -> None:
    for seed in (13, 15):  # landscapes of which a power law says that
        landscape = Landscape(d=3, seed=seed)
        evidence = measured(landscape, [("large", drawn(landscape, 11))])
        assert np.abs(missed(landscape, evidence, alone(landscape))[0]).max() < 2.0


def test_a_model_that_knows_nothing_of_mixtures_doubts_as_far_as_trials_lie_apart() -> None:
    ratios = []
    for seed in SEEDS:
        landscape = Landscape(d=7, seed=seed)
        evidence = measured(landscape, [("large", drawn(landscape, 4))])
        model = fit(evidence, landscape.problem)
        assert model is not None
        assert model.rungs[-1].members == ("constant",)
        objectives = [np.mean(list(o.losses.values())) for o in evidence.history.observations]
        ratios.append(predict(model, landscape.problem, alone(landscape))[0].sd / np.std(objectives, ddof=1))
    assert np.median(ratios) > 0.9
