"""Processes with a length for every domain: slopes, interpolation, and domains that do not matter."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from mixopt.optimize import processes


def test_slopes_are_those_of_the_value() -> None:
    rng = np.random.default_rng(0)
    points, y = rng.dirichlet(np.ones(4), 20) ** processes.EXPONENT, rng.normal(size=20)
    theta = np.concatenate([[0.2, -1.5], rng.normal(size=4)])
    numeric = approx_fprime(theta, lambda t: processes.objective(t, points, y)[0], 1e-6)
    assert processes.objective(theta, points, y)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_the_value_is_the_normal_density_of_the_rows_and_of_the_prior() -> None:
    points, y = np.array([[0.3, 0.7]]) ** processes.EXPONENT, np.array([0.8])
    mean, sd = processes.prior(2)
    theta = mean + 0.5 * sd
    variance = np.exp(2.0 * theta[0]) + np.exp(2.0 * theta[1]) + processes.JITTER
    expected = 0.5 * (0.8**2 / variance + np.log(variance)) + 0.5 * 4 * 0.5**2
    assert processes.objective(theta, points, y)[0] == pytest.approx(expected)


def test_two_domains_of_eight_are_found_from_forty_rows() -> None:
    rng = np.random.default_rng(1)
    rows = rng.dirichlet(np.ones(8), 240)
    true = -np.log(0.02 + rows[:, 0]) - 0.5 * np.log(0.05 + rows[:, 3])
    y = (true - true[:40].mean())[None, :40]
    predict, _ = processes.fit(rows[:40], y, np.full((1, 40), True), np.zeros(1, dtype=np.intp))
    errors = predict(rows[40:], slice(None))[0] + true[:40].mean() - true[40:]
    assert np.sqrt(np.mean(errors**2)) < 0.2 * true.std()


def test_rows_held_out_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    rows, y = rng.dirichlet(np.ones(3), 24), rng.normal(size=(2, 24))
    y[1] = y[0]
    kept = np.stack([np.arange(24) < 18, np.full(24, True)])
    spoiled = np.where(kept[0], y[0], y[0] + 0.5)
    first, second = (
        processes.fit(rows, np.stack([held, y[1]]), kept, np.zeros(2, dtype=np.intp))[0](rows, slice(0, 1))
        for held in (y[0], spoiled)
    )
    assert first == pytest.approx(second, abs=1e-3)
