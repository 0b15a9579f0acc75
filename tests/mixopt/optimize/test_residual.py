"""The process of what the stack misses: as wide as the errors are where they are."""

import numpy as np
import pytest

from mixopt.optimize.members import matern
from mixopt.optimize.residual import Residual

N = 400


def errors(
    amplitude: float, growth: float, noise: float, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points, predictions and errors of a process that is nearly white, with noise."""
    rng = np.random.default_rng(seed)
    points, predicted = rng.dirichlet(np.ones(6), N), rng.uniform(-1.5, 2.0, N)
    sd = np.sqrt((amplitude * np.exp(growth * predicted)) ** 2 + noise**2)
    return points, predicted, rng.standard_normal(N) * sd


def found(amplitude: float, growth: float, noise: float, *, explained: float = 0.0, distinct: int = N) -> Residual:
    points, predicted, missed = errors(amplitude, growth, noise)
    return Residual.of(
        missed,
        predicted,
        points,
        noise=np.full(N, noise**2),
        explained=np.full(N, explained),
        guess=amplitude,
        distinct=distinct,
        apart=1.0,
    )


def of_four(points: np.ndarray, predicted: np.ndarray, missed: np.ndarray, *, apart: float) -> Residual:
    nothing = np.zeros(4)
    known = {"noise": nothing, "explained": nothing, "guess": 0.1, "distinct": 4, "apart": apart}
    return Residual.of(missed[:4], predicted[:4], points[:4], **known)


@pytest.mark.parametrize("growth", [0.0, 0.3, 0.6])
def test_what_grows_is_told_from_what_does_not(growth: float) -> None:
    residual = found(0.1, growth, 0.0)
    assert residual.growth == pytest.approx(growth, abs=0.16)  # a step of the grid
    assert residual.amplitude == pytest.approx(0.1, rel=0.2)


def test_nine_of_ten_errors_lie_within_the_interval_among_good_mixtures_and_among_bad_ones() -> None:
    points, predicted, missed = errors(0.1, 0.5, 0.0, seed=1)
    sd = np.sqrt(found(0.1, 0.5, 0.0).covariance(points, predicted, points, predicted).diagonal())
    for good in (predicted < 0.0, predicted > 1.0):
        assert np.mean(np.abs(missed[good]) <= 1.645 * sd[good]) == pytest.approx(0.9, abs=0.06)


def test_noise_and_what_the_rung_below_leaves_open_are_not_counted_twice() -> None:
    plain, noisy = found(0.1, 0.0, 0.0), found(0.1, 0.0, 0.1)
    assert noisy.amplitude == pytest.approx(plain.amplitude, rel=0.2)
    assert found(0.1, 0.0, 0.0, explained=0.1**2).amplitude < 0.5 * plain.amplitude


def test_few_mixtures_tell_no_growth_and_no_length() -> None:
    points, predicted, missed = errors(0.1, 0.6, 0.0)
    few = of_four(points, predicted, missed, apart=1.0)
    assert few.growth == 0.0


def test_neighbours_share_what_is_missed_of_them() -> None:
    points, predicted, _ = errors(0.1, 0.0, 0.0)
    covariance = Residual(amplitude=2.0, length=0.5, growth=0.0, far=0.0).covariance(
        points, predicted, points, predicted
    )
    assert covariance == pytest.approx(4.0 * matern(points, points, 0.5))
    grown = Residual(amplitude=2.0, length=0.5, growth=0.3, far=0.0).covariance(points, predicted, points, predicted)
    assert grown.diagonal() == pytest.approx(4.0 * np.exp(0.6 * predicted))
    assert np.linalg.eigvalsh(grown).min() > -1e-9


def test_of_few_mixtures_one_that_is_a_multiple_as_bad_is_a_multiple_as_doubtful() -> None:
    points, predicted, missed = errors(0.1, 0.0, 0.0)
    few = of_four(points, predicted, missed, apart=3.0)
    bad = np.array([-1.0, 0.0, 30.0, 60.0])
    sd = np.sqrt(few.covariance(points[:4], bad, points[:4], bad).diagonal())
    assert sd[0] == pytest.approx(sd[1])
    assert sd[3] / sd[2] == pytest.approx(2.0, rel=0.01)
    assert found(0.1, 0.0, 0.0).far == 0.0  # many tell themselves
