"""Laws recover what they generated, and their derivatives are their slopes."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mixopt.optimize.laws import LAWS, Law, fit


@pytest.mark.parametrize("name", LAWS)
def test_derivatives_are_the_slopes_of_the_values(name: str) -> None:
    rng, law = np.random.default_rng(0), LAWS[name]
    w, z = rng.dirichlet(np.ones(3), 5), rng.normal(size=(2, 5))
    theta = law.prior(3)[0] + 0.3 * rng.normal(size=(2, len(law.prior(3)[0])))
    derivatives = law.evaluate(theta, w, z)[1]
    for p in range(theta.shape[1]):
        step = 1e-6 * np.eye(theta.shape[1])[p]
        slope = (law.evaluate(theta + step, w, z)[0] - law.evaluate(theta - step, w, z)[0]) / 2e-6
        assert derivatives[..., p] == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_predicts_what_it_generated(name: str) -> None:
    rng, law = np.random.default_rng(1), LAWS[name]
    theta = _drawn(law, rng, 3)
    theta[:, 1] = 0.0
    train, test = rng.dirichlet(np.ones(5), 40), rng.dirichlet(np.ones(5), 200)
    y = law.evaluate(theta, train, np.zeros((3, 40)))[0]
    found = fit(law, train, np.zeros((3, 40)), y, np.full((3, 40), 1e4))
    guess, true = (law.evaluate(t, test, np.zeros((3, 200)))[0] for t in (found, theta))
    assert np.sqrt(np.mean((guess - true) ** 2)) < 0.02 * true.std()


def test_rows_held_out_do_not_matter() -> None:
    rng, law = np.random.default_rng(2), LAWS["power"]
    w, y = rng.dirichlet(np.ones(3), 20), rng.normal(size=(1, 20))
    kept = np.where(np.arange(20) < 15, 10.0, 0.0)[None]
    spoiled = np.where(kept > 0.0, y, 99.0)
    a, b = (fit(law, w, np.zeros((1, 20)), values, kept) for values in (y, spoiled))
    assert a == pytest.approx(b, abs=1e-9)


def test_saturating_benefits_stand_in_for_effective_data() -> None:
    rng, power, additive = np.random.default_rng(3), LAWS["power"], LAWS["additive"]
    w = rng.dirichlet(np.ones(5), 240)
    theta = _drawn(power, rng, 1)
    y = power.evaluate(theta, w, np.zeros((1, 240)))[0]
    y = (y - y.mean()) / y.std()
    found = fit(additive, w[:40], np.zeros((1, 40)), y[:, :40], np.full((1, 40), 1e2))
    guess = additive.evaluate(found, w[40:], np.zeros((1, 200)))[0][0]
    assert spearmanr(guess, y[0, 40:])[0] > 0.99


def _drawn(law: Law, rng: np.random.Generator, problems: int) -> np.ndarray:
    """Return parameters by which every domain helps, `L x p`: about the prior mean but for the worths of domains."""
    mean = law.prior(5)[0].copy()
    mean[-5:] = -1.0
    return mean + 0.5 * rng.normal(size=(problems, len(mean)))
