"""Tuning a learning rate: valleys with a known bottom."""

import math

import pytest

from proxies.tuning import tune


@pytest.mark.parametrize("bottom", [-3, -1, 0, 2, 4])
def test_the_bottom_of_a_valley_is_found_and_bracketed(bottom: int) -> None:
    asked = []

    def loss(rate: float) -> float:
        asked.append(rate)
        return (math.log2(rate / 0.01) - bottom) ** 2

    found = tune(loss, 0.01)
    assert found.best == pytest.approx(0.01 * 2.0**bottom)
    assert found.bracketed
    assert len(asked) == len(set(asked)) == len(found.losses) <= 4 + abs(bottom)


def test_rates_that_diverge_are_above_the_bottom() -> None:
    found = tune(lambda rate: math.inf if rate > 0.01 else 0.01 / rate, 0.04)
    assert found.best == pytest.approx(0.01)
    assert found.bracketed


def test_a_loss_that_falls_for_ever_is_not_bracketed() -> None:
    found = tune(lambda rate: rate, 1.0)
    assert not found.bracketed
    assert len(found.losses) == 9
