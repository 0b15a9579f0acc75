"""Gains per trial on beliefs small enough to know the answer."""

import numpy as np
import pytest
from scipy.stats import norm

from mixopt.optimize.acquisition import ACQUISITIONS, Belief, knowledge_gradient, least_values, max_value_entropy


def independent(mean: list[float], sd: list[float], noise: float = 0.0) -> Belief:
    return Belief(mean=np.array([mean]), covariance=np.diag(np.array(sd) ** 2), noise=np.array([noise]))


def two_rungs(correlation: float, noise: float = 1e-6) -> Belief:
    """Two mixtures, known apart at both rungs, whose rungs are so correlated."""
    block = np.array([[1.0, correlation], [correlation, 1.0]])
    return Belief(mean=np.zeros((2, 2)), covariance=np.kron(block, np.eye(2)), noise=np.full(2, noise))


def test_the_knowledge_gradient_is_the_closed_form_of_two_mixtures() -> None:
    belief = independent([0.0, 0.3], [0.0, 0.5], noise=0.04)
    spread = 0.25 / np.sqrt(0.29)
    expected = spread * (norm.pdf(0.3 / spread) - 0.3 / spread * norm.cdf(-0.3 / spread))
    assert knowledge_gradient(belief, 0)[1] == pytest.approx(expected, rel=0.1)  # 16 nodes see the kink coarsely


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_a_cheap_rung_is_worth_what_it_says_of_the_top(name: str) -> None:
    gain = ACQUISITIONS[name]
    worth = [gain(two_rungs(correlation), 0)[0] for correlation in (0.0, 0.5, 0.9)]
    assert worth[0] == pytest.approx(0.0, abs=1e-12)
    assert worth[0] < worth[1] < worth[2] < gain(two_rungs(0.9), 1)[0]


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_what_is_known_is_worth_nothing(name: str) -> None:
    belief = independent([0.0, 0.1], [0.2, 0.2])
    for mixture in (0, 1):
        belief = belief.expecting(mixture, 0)
    assert ACQUISITIONS[name](belief, 0).max() < 1e-9


def test_a_pending_trial_lowers_variance_and_keeps_means() -> None:
    belief = two_rungs(0.8, noise=0.25)
    after = belief.expecting(0, 0)
    assert (after.mean == belief.mean).all()
    assert after.sd(0)[0] ** 2 == pytest.approx(1.0 - 1.0 / 1.25)
    assert after.sd(1)[0] ** 2 == pytest.approx(1.0 - 0.64 / 1.25)
    assert after.sd(1)[1] == pytest.approx(1.0)


def test_the_entropy_of_a_lone_mixture_measured_without_noise_is_that_of_a_truncated_normal() -> None:
    # One uncertain mixture among certain ones: given the least value, its own lies above it. An exact measurement
    # tells what truncation takes from a normal's entropy.
    belief = independent([0.0, 0.4], [1.0, 0.0])
    least = least_values(belief, 64)
    ratio = norm.pdf(least) / norm.sf(least)
    truncated = norm.entropy() + np.log(norm.sf(least)) + least * ratio / 2.0
    moment = 0.5 * np.log(2.0 * np.pi * np.e * (1.0 + least * ratio - ratio**2))
    told = max_value_entropy(belief, 0)[0]
    assert told == pytest.approx(norm.entropy() - moment.mean(), rel=1e-6)  # by the variance: a lower bound
    assert told <= norm.entropy() - truncated.mean() + 1e-9


def test_least_values_are_the_least_of_joint_samples() -> None:
    together = Belief(mean=np.array([[0.0, 0.5]]), covariance=np.ones((2, 2)), noise=np.zeros(1))
    assert least_values(together, 4_000).mean() == pytest.approx(0.0, abs=0.05)
    apart = independent([0.0, 0.0], [1.0, 1.0])
    assert least_values(apart, 4_000).mean() == pytest.approx(-1.0 / np.sqrt(np.pi), abs=0.05)
