"""Rungs that mislead are found out; those that are fine stay."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mixopt.evidence import Evidence, History
from mixopt.optimize.agreement import listen

Bench = Callable[..., Any]
Change = Callable[[float, np.random.Generator], float]


def turned(loss: float, rng: np.random.Generator) -> float:
    """A rung whose best mixtures are the worst."""
    return 4.0 - loss


def noise(loss: float, rng: np.random.Generator) -> float:
    """A rung that sees nothing but noise."""
    return 2.0 + 0.1 * float(rng.standard_normal())


def fine(loss: float, rng: np.random.Generator) -> float:
    return loss


@pytest.mark.parametrize(("change", "misleads"), [(turned, True), (noise, True), (fine, False)])
def test_wide_trials_at_both_rungs_tell_which_rung_misleads(bench: Bench, change: Change, misleads: bool) -> None:
    world = bench(d=3, noise=0.005)
    rng = np.random.default_rng(1)
    rows = []
    for i, mixture in enumerate(world.problem.space.sample(40, rng)):
        cheap = world.observe(2 * i, mixture, "small")
        rows += [
            replace(cheap, losses={name: change(loss, rng) for name, loss in cheap.losses.items()}),
            world.observe(2 * i + 1, mixture, "large"),
        ]
    heard = listen(Evidence(history=History(observations=tuple(rows))), world.problem)
    assert heard is not None
    assert (heard.misleading == ("small",)) == misleads
