"""Candidates are weighed by a sample of the experts' tokens; what is fitted to, and told, comes from all of them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mixopt.evidence import Evidence, Experts, History, MixtureLosses
from mixopt.optimize.design import opening
from mixopt.optimize.encoding import Encoding
from mixopt.optimize.recommend import predict, recommend
from mixopt.optimize.strategies import STRATEGIES
from proxies.coreset import coreset
from proxies.experts import Ensemble
from tests.mixopt.optimize.conftest import Bench

TOKENS = 8_000  # of the simulated experts' 16,000


@dataclass(frozen=True)
class Counted:
    """Losses, and how many mixtures were asked for."""

    known: MixtureLosses
    asked: list[int] = field(default_factory=list)

    @property
    def domains(self) -> tuple[str, ...]:
        return self.known.domains

    @property
    def sets(self) -> tuple[str, ...]:
        return self.known.sets

    def losses(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        self.asked.append(len(weights))
        return self.known.losses(weights)

    def gradients(self, weights: NDArray[np.float64], set_weights: dict[str, float]) -> NDArray[np.float64]:
        return self.known.gradients(weights, set_weights)


def sampled(evidence: Evidence) -> Evidence:
    assert evidence.experts is not None
    ensemble = evidence.experts.ensemble
    assert isinstance(ensemble, Ensemble)
    return replace(
        evidence, experts=Experts(ensemble=Counted(ensemble), sample=Counted(coreset(ensemble, tokens=TOKENS, seed=0)))
    )


def asked(evidence: Evidence) -> tuple[int, int]:
    assert evidence.experts is not None
    whole, sample = evidence.experts.ensemble, evidence.experts.sample
    assert isinstance(whole, Counted)
    assert isinstance(sample, Counted)
    return sum(whole.asked), sum(sample.asked)


def test_a_proposal_asks_all_tokens_for_what_was_measured_and_no_more(bench: Callable[..., Bench]) -> None:
    world = bench(d=5)
    opened = [world.observe(500 + i, p.mixture, p.fidelity, p.seed) for i, p in enumerate(opening(world.problem))]
    history = world.evidence(10, 3).history
    history = History(observations=(*history.observations, *opened))
    evidence = sampled(replace(world.experts(), history=history))
    assert STRATEGIES["bayesian"](world.problem).propose(evidence, n=1, seed=0)
    whole, sample = asked(evidence)
    assert 0 < whole <= 4 * len(history.observations)
    assert sample > 10 * whole


def test_the_recommendation_is_told_by_all_tokens(bench: Callable[..., Bench]) -> None:
    world = bench(d=5)
    plain = world.evidence(10, 3)
    found = recommend(sampled(plain), world.problem)
    exact = predict(recommend(plain, world.problem).fitted, world.problem, [found.mixture])[0]
    assert found.predicted.mean == pytest.approx(exact.mean, abs=1e-7)  # the weights are rounded once


def test_what_is_fitted_is_the_same_with_a_sample_and_without(bench: Callable[..., Bench]) -> None:
    world = bench(d=5)
    plain = world.evidence(10, 3)
    of_all, of_few = (Encoding.of(e, world.problem) for e in (plain, sampled(plain)))
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 50)
    exact, weighed = of_few.inputs(rows).experts, of_few.weighed(rows).experts
    assert exact is not None
    assert weighed is not None
    assert np.array_equal(exact, of_all.inputs(rows).experts)
    assert np.array_equal(exact, of_all.weighed(rows).experts)
    assert 0.0 < np.abs(weighed - exact).max() < 0.1 * exact.std(0).min()
