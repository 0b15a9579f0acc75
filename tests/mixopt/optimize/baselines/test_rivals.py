"""One contract for every rival's model; and what importing them costs."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mixopt.optimize.baselines.rivals import RIVAL_SURROGATES, RIVALS
from mixopt.optimize.strategies import STRATEGIES

Bench = Callable[..., Any]


@pytest.mark.parametrize("name", RIVAL_SURROGATES)
def test_every_model_ranks_mixtures_of_the_simulated_law(bench: Bench, name: str) -> None:
    world = bench(d=4)
    model = RIVAL_SURROGATES[name](world.evidence(cheap=56, top=6), world.problem)
    rows = np.array([m.array(world.law.domains) for m in world.problem.space.sample(200, np.random.default_rng(1))])
    for fidelity in ("small", "large"):
        predicted = model.predict(rows, fidelity)
        assert predicted.sets_mean.shape == predicted.sets_sd.shape == (200, len(world.problem.sets))
        assert np.isfinite(predicted.mean).all()
        assert np.all(predicted.sd > 0.0)
        assert np.all(predicted.sets_sd > 0.0)
    assert spearmanr(predicted.mean, world.true(rows))[0] > 0.75


def test_every_rival_is_a_strategy() -> None:
    assert set(RIVALS) <= set(STRATEGIES)


def test_strategies_load_none_of_what_only_a_rival_needs() -> None:
    program = (
        "import sys, mixopt.optimize.strategies; print(*sorted({'lightgbm', 'botorch', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
