"""The law in epochs: published numbers, slopes, and what it knows of repetition."""

import numpy as np
import pytest

from mixopt.optimize.epoch_laws import EPOCHS, benefit, harm, rows
from mixopt.optimize.laws import LAWS, fit
from proxies.simulated import SimulatedLaw


def test_benefit_and_harm_are_the_published_ones() -> None:
    assert benefit(np.array([1.0, 4.0]), 0.5, 0.5) == pytest.approx([0.506931, 0.756883], abs=1e-6)
    assert harm(np.array([1.0, 4.0, 16.0]), 2.0) == pytest.approx([0.057382, 0.267096, 1.425957], abs=1e-6)


def test_the_whole_law_is_the_published_one_and_its_best_epochs_too() -> None:
    a, g, phi = np.array([0.2, 0.1]), np.array([0.02, 0.03]), 0.8
    epochs = np.array([[0.35, 6.0]])
    theta = np.concatenate([[phi, 0.0, -0.5, np.log(0.5), np.log(0.5), 2.0], np.log(a), np.log(g)])[None]
    value = EPOCHS.evaluate(theta, np.hstack([epochs, epochs]), np.zeros((1, 1)))[0]
    assert value[0, 0] == pytest.approx(1.328988, abs=1e-6)
    grid = np.linspace(0.1, 30.0, 20_000)
    assert grid[(0.03 * harm(grid, 2.0) - 0.1 * benefit(grid, 0.5, 0.5)).argmin()] == pytest.approx(5.685, abs=2e-3)


def test_slopes_are_differences() -> None:
    rng = np.random.default_rng(0)
    x = rows(rng.dirichlet(np.ones(3), 7), np.array([2.0, 9.0, 40.0]))
    theta, z = EPOCHS.prior(6)[0][None] + 0.3 * rng.normal(size=(1, 12)), rng.normal(size=(1, 7))
    values, slopes = EPOCHS.evaluate(theta, x, z)
    for k in range(12):
        moved = theta.copy()
        moved[0, k] += 1e-6
        assert (EPOCHS.evaluate(moved, x, z)[0] - values) / 1e-6 == pytest.approx(slopes[..., k], abs=2e-5)


def test_what_repeats_too_often_is_found_to_harm() -> None:
    weights, passes = np.random.default_rng(1).dirichlet(np.ones(3), 80), np.array([0.5, 2.0, 60.0])
    epochs = weights * passes
    true = 1.5 * np.exp(-2.0 * weights[:, 2] ** 0.5) + 0.5 * harm(epochs[:, 2], 2.0)
    y, precision = true[None] - true.mean(), np.full((1, 80), 400.0)
    theta = fit(EPOCHS, rows(weights, passes), np.zeros((1, 80)), y, precision)
    line = np.array([[(1.0 - w) / 2.0, (1.0 - w) / 2.0, w] for w in np.linspace(0.0, 1.0, 101)])
    found = EPOCHS.evaluate(theta, rows(line, passes), np.zeros((1, 101)))[0][0]
    exact = 1.5 * np.exp(-2.0 * line[:, 2] ** 0.5) + 0.5 * harm(60.0 * line[:, 2], 2.0)
    assert exact[found.argmin()] - exact.min() < 0.02
    assert 0 < exact.argmin() < 60


def test_where_repetition_harms_the_law_in_epochs_picks_better_than_the_law_in_weights() -> None:
    regrets = np.array([_regrets(seed) for seed in range(4)]).mean(0)
    assert regrets[0] < 0.5 * regrets[1]


def _regrets(seed: int) -> list[float]:
    """Return what the picks of both laws lose, fitted to 40 noiseless runs of the simulated law."""
    names, size = tuple(f"d{i}" for i in range(5)), {"parameters": 400_000, "tokens": 2_000_000}
    pools = {name: int(1e6 * 2.0**-i) for i, name in enumerate(names)}
    world = SimulatedLaw(domains=names, sets=("a",), seed=seed, harm=0.03, pools=pools)
    draws, grid = np.random.default_rng(seed).dirichlet(np.full(5, 0.7), (2, 3_000))
    weights, passes = draws[:40], np.array([size["tokens"] / pools[name] for name in names])
    y = world.exact(weights, **size).T
    center, width = np.median(y), y.std()
    precision = 1.0 / (0.12**2 * (1.0 + (np.maximum((y - center) / width, 0.0) / 3.0) ** 2))
    true, zero, found = world.exact(grid, **size)[:, 0], np.zeros_like(y), []
    for law, x, at in ((EPOCHS, rows(weights, passes), rows(grid, passes)), (LAWS["additive"], weights, grid)):
        theta = fit(law, x, zero, (y - center) / width, precision)
        found.append(float(true[law.evaluate(theta, at, np.zeros((1, len(grid))))[0][0].argmin()] - true.min()))
    return found
