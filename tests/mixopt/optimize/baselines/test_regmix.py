"""RegMix: LightGBM as its authors set it, and its swarm around natural."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mixopt.errors import ConfigError
from mixopt.evidence import Evidence, History
from mixopt.optimize.baselines.swarm import RUNS, around_natural, cloud, dirichlet, runs
from mixopt.optimize.strategies import STRATEGIES

Bench = Callable[..., Any]
regmix = pytest.importorskip("mixopt.optimize.baselines.regmix", exc_type=ConfigError)


def test_without_lightgbm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.delitem(sys.modules, "mixopt.optimize.baselines.regmix")
    with pytest.raises(ConfigError, match=r"not installed; pip install mixopt\[regmix\]$"):
        importlib.import_module("mixopt.optimize.baselines.regmix")


def test_trees_learn_a_step_and_nothing_of_few_rows() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), 200)
    losses = np.where(weights[:, :1] > 0.3, 1.0, 2.0)
    predict = regmix.trees(weights, losses).predict
    assert predict(np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]]))[:, 0] == pytest.approx([1.0, 2.0], abs=0.01)
    few = regmix.trees(weights[:39], losses[:39]).predict(weights)
    assert np.ptp(few) < 1e-9


def test_the_swarm_has_the_mean_and_the_zeros_of_the_released_one(bench: Bench) -> None:
    problem = bench().problem
    drawn = dirichlet(problem, 4_000, np.random.default_rng(0))
    natural = problem.natural.array(problem.space.names)
    smoothed = np.sqrt(natural) / np.sqrt(natural).sum()
    assert spearman_of(drawn.mean(axis=0), smoothed) == 1.0
    assert 0.3 < np.mean(drawn == 0.0) < 0.7


def spearman_of(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def test_the_swarm_costs_what_rungs_allow(bench: Bench) -> None:
    problem = bench().problem
    assert runs(problem) == 36  # four trials at the top, nine times as dear
    assert RUNS == 512


def test_swarm_and_candidates_keep_the_limits(bench: Bench) -> None:
    problem = bench(constraints=["d1 + d2 >= 0.3", "d0 <= 0.4"], pinned={"d3": 0.05}).problem
    assert all(m in problem.space for m in around_natural(problem, 30, np.random.default_rng(0)))
    rows = cloud(problem, 500, np.random.default_rng(0))
    assert len(rows) >= 500
    assert all(problem.space.project(row).array(problem.space.names) == pytest.approx(row) for row in rows[:50])


def test_the_pick_follows_the_swarm(bench: Bench) -> None:
    world = bench(d=3)
    mixtures = around_natural(world.problem, 36, np.random.default_rng(1))
    rows = tuple(world.observe(i, m, "small") for i, m in enumerate(mixtures))
    evidence = Evidence(history=History(observations=rows))
    first = STRATEGIES["regmix"](world.problem).propose(Evidence(), n=9, seed=0)[5:]
    assert {p.fidelity for p in first} == {"small"}
    last = STRATEGIES["regmix"](world.problem).propose(evidence, n=7, seed=0)[5:]
    assert [(p.fidelity, p.seed) for p in last] == [("large", 0), ("large", 1)]
