"""The number of items behind an accuracy is told from its noise, where the noise can be told from shape."""

import math

import numpy as np
import pytest
from scipy.special import expit

from mixopt.optimize.encoding import Array, Inputs, Table
from mixopt.optimize.item_counts import likely_items, with_items
from mixopt.optimize.links import ASSUMED, Links

LINKS = Links.of(("loss", "error/quiz"))


def asked(items: int, *, n: int, seed: int = 0) -> Table:
    """A loss and an error over `items` answers of `n` mixtures of three domains; nobody tells the items."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(3), n)
    value = 2.0 - weights[:, 0] ** 0.5 + 0.3 * weights[:, 1]
    wrong = rng.binomial(items, expit(3.0 * (value - 1.5))) / items
    return Table(
        inputs=Inputs(weights=weights, experts=None),
        losses=np.column_stack([value, wrong]),
        groups=np.arange(n),
        items=np.full((n, 2), math.nan),
        passes=None,
        noise_sd=None,
        stale=np.zeros(n),
    )


@pytest.mark.parametrize("items", [30, 300, 3_000])
def test_the_noise_of_many_rows_tells_the_items(items: int) -> None:
    found = np.array([with_items(asked(items, n=120, seed=seed), LINKS).items[0, 1] for seed in range(6)])
    assert 0.5 * items < np.exp(np.log(found).mean()) < 2.0 * items


def test_items_that_are_told_stay_and_losses_have_none() -> None:
    table = asked(50, n=40)
    table.items[:3, 1] = 77.0
    found = with_items(table, LINKS).items
    assert np.isnan(found[:, 0]).all()
    assert (found[:3, 1] == 77.0).all()
    assert (found[3:, 1] == found[3, 1]).all()
    assert with_items(table, Links.of(("loss", "other"))) is table


def test_rows_that_lack_the_set_tell_nothing() -> None:
    table = asked(50, n=40)
    cut = asked(50, n=60)
    cut.inputs.weights[:40], cut.losses[:40] = table.inputs.weights, table.losses
    cut.losses[40:, 1] = math.nan
    assert with_items(cut, LINKS).items[0, 1] == pytest.approx(with_items(table, LINKS).items[0, 1])


@pytest.mark.parametrize("errors", [np.zeros((30, 1)), np.full((30, 1), 0.4), np.ones((2, 1))])
def test_errors_that_tell_nothing_leave_a_finite_guess(errors: Array) -> None:
    coordinates = np.sqrt(np.random.default_rng(0).dirichlet(np.ones(3), len(errors)))
    found = likely_items(coordinates, np.log((errors + 1e-3) / (1.001 - errors)), errors)
    assert np.isfinite(found).all()
    assert (found > 0.0).all()
    if len(errors) < 8:
        assert found == pytest.approx([ASSUMED])
