"""Sds learned from errors held out: they hold where errors grow, and for every set of its own size."""

import numpy as np
import pytest

from mixopt.optimize.calibration import learn, reached

GUESS = {"guess": 0.2, "runs": 3.0}
APART = np.ones(5)


def _drawn(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return predictions, spreads, errors and the true sds of five sets, `5 x n`."""
    predicted, spread = rng.normal(size=(5, n)), rng.gamma(2.0, 0.05, (5, n))
    sizes = np.array([0.02, 0.05, 0.1, 0.2, 0.4])[:, None]
    sd = sizes * np.sqrt(np.exp(0.9 * predicted) + (0.6 * spread / np.median(spread)) ** 2)
    return predicted, spread, sd * rng.normal(size=(5, n)), sd


def test_nine_of_ten_errors_lie_inside_for_small_losses_and_large() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(20):
        predicted, spread, errors, _ = _drawn(64, rng)
        found = learn(predicted, spread, errors, distinct=64, apart=APART, **GUESS)
        predicted, spread, errors, _ = _drawn(300, rng)
        held = np.abs(errors) <= 1.645 * found.sd(predicted, spread)
        thirds = np.argsort(np.argsort(predicted, axis=1), axis=1) // 100
        inside.append([[held[j, thirds[j] == third].mean() for third in range(3)] for j in range(5)])
    assert np.mean(inside, axis=0) == pytest.approx(np.full((5, 3), 0.92), abs=0.05)


def test_many_rows_tell_the_sds_themselves() -> None:
    rng = np.random.default_rng(1)
    predicted, spread, errors, _ = _drawn(2_000, rng)
    found = learn(predicted, spread, errors, distinct=2_000, apart=APART, **GUESS)
    predicted, spread, _, sd = _drawn(300, rng)
    assert np.log(found.sd(predicted, spread) / sd).std() < 0.1
    assert np.median(found.sd(predicted, spread) / sd, axis=1) == pytest.approx(np.ones(5), rel=0.1)


def test_a_few_errors_of_the_guessed_size_leave_the_guess() -> None:
    flat = np.zeros((2, 4))
    found = learn(flat, flat, np.full((2, 4), 0.2) * [1.0, -1.0, -1.0, 1.0], distinct=4, apart=np.ones(2), **GUESS)
    assert found.growth == found.disagreement == 0.0
    assert found.sd(flat, flat) == pytest.approx(np.full((2, 4), 0.2))


def test_the_interval_of_many_errors_holds_nine_tenths_of_them() -> None:
    errors = np.random.default_rng(2).standard_t(3, (1, 5_000))
    assert np.mean(np.abs(errors) <= 1.645 * reached(errors, 5_000)[0]) == pytest.approx(0.9, abs=0.002)


def test_of_few_mixtures_what_is_a_multiple_as_bad_is_a_multiple_as_doubtful_and_of_many_their_errors_tell() -> None:
    rng = np.random.default_rng(3)
    predicted, errors = rng.normal(size=(2, 40)), 0.1 * rng.normal(size=(2, 40))
    bad = np.array([[0.0, 40.0, 80.0]] * 2)
    few = learn(predicted[:, :4], np.zeros((2, 4)), errors[:, :4], distinct=4, apart=np.array([1.0, 4.0]), **GUESS)
    sd = few.sd(bad, np.zeros((2, 3)))
    assert sd[:, 2] / sd[:, 1] == pytest.approx([2.0, 2.0], rel=0.01)
    assert sd[:, 1] / sd[:, 0] == pytest.approx([80.0, 20.0], rel=0.01)
    many = learn(predicted, np.zeros((2, 40)), errors, distinct=40, apart=np.array([1.0, 4.0]), **GUESS)
    assert many.far.max() == 0.0
