"""The law that rungs hand up: it stays where nothing speaks against it, and follows rows that do."""

import numpy as np
import pytest

from mixopt.optimize.laws import LAWS
from mixopt.optimize.scale_law import drifted, handed_up

ROWS = np.random.default_rng(0).dirichlet(np.ones(4), 60)
BELOW = np.array([[-1.0, 0.0, 0.3, -0.7, -2.0, 0.0, 0.0, -2.0, -1.0, -3.0]])  # power's, of four domains


def values(theta: np.ndarray) -> np.ndarray:
    return LAWS["power"].evaluate(theta, ROWS, np.zeros((1, len(ROWS))))[0]


def test_a_level_alone_moves_nothing_else() -> None:
    found = drifted("power", BELOW, ROWS, values(BELOW) + 0.8, np.full((1, len(ROWS)), 1e4))
    assert found[0, 0] == pytest.approx(BELOW[0, 0] + 0.8, abs=1e-3)
    assert found[0, 1:] == pytest.approx(BELOW[0, 1:], abs=1e-3)


def test_without_rows_the_law_of_the_rung_below_stands() -> None:
    found = drifted("power", BELOW, ROWS, np.zeros((1, len(ROWS))), np.zeros((1, len(ROWS))))
    assert found == pytest.approx(BELOW)


def test_six_rows_tell_which_domain_is_worth_more_than_below() -> None:
    true = BELOW.copy()
    true[0, 7] += 1.0
    precision = np.zeros((1, len(ROWS)))
    precision[0, :6] = 1e3
    found = drifted("power", BELOW, ROWS, values(true), precision)
    unseen = slice(6, None)
    missed = [np.abs(values(theta) - values(true))[0, unseen].mean() for theta in (BELOW, found)]
    assert missed[1] < 0.2 * missed[0]
    assert found[0, 7] - BELOW[0, 7] > 0.5


def test_what_drifted_once_is_handed_on() -> None:
    assert handed_up({"power": BELOW, "drifted power": BELOW + 1.0})["power"] == pytest.approx(BELOW + 1.0)
    assert handed_up({"ridge": BELOW}) == {}
