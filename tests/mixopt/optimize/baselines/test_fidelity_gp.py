"""The process over weights and cost: its kernel, its predictions, and its searches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mixopt.evidence import Evidence
from mixopt.optimize.baselines.admire import admire_surrogate, raw_admire_surrogate
from mixopt.optimize.baselines.fidelity_gp import FidelityGP, joined
from mixopt.optimize.baselines.stock import stock_surrogate
from mixopt.optimize.members import matern
from mixopt.optimize.strategies import STRATEGIES

Bench = Callable[..., Any]


@pytest.fixture(scope="module")
def fitted(bench: Bench) -> tuple[Any, FidelityGP]:
    world = bench(d=3)
    return world, admire_surrogate(world.evidence(cheap=10, top=5), world.problem)


def test_the_kernel_is_the_published_one(fitted: tuple[Any, FidelityGP]) -> None:
    world, gp = fitted
    X = np.vstack(
        [joined(world.problem, np.random.default_rng(0).dirichlet(np.ones(3), 5), f) for f in ("small", "large")]
    )
    kernel = gp.model.covar_module
    inner = kernel.base_kernel.kernels[0]
    scale, power = kernel.outputscale.item(), inner.power.item()
    lengths = [k.lengthscale.detach().numpy()[0] for k in (inner.covar_module_unbiased, inner.covar_module_biased)]
    k0, k1 = (matern(X[:, :3] / length, X[:, :3] / length, 1.0) for length in lengths)
    s = X[:, 3]
    expected = scale * (k0 + np.outer(1 - s, 1 - s) * (1 + np.outer(s, s)) ** power * k1)
    assert kernel(torch.from_numpy(X)).to_dense().detach().numpy() == pytest.approx(expected, abs=1e-6)


def test_outcomes_are_standardised_or_raw(bench: Bench) -> None:
    world = bench(d=3)
    evidence = world.evidence(cheap=10, top=5)
    floors = [
        build(evidence, world.problem).model.likelihood.noise.sqrt().item()
        for build in (admire_surrogate, raw_admire_surrogate)
    ]
    assert all(floor >= 1e-2 * 0.999 for floor in floors)  # a variance of 1e-4 at least, of different units


@pytest.mark.parametrize("build", [admire_surrogate, stock_surrogate])
def test_the_top_rung_is_predicted(bench: Bench, build: Callable[..., FidelityGP]) -> None:
    world = bench(d=3)
    model = build(world.evidence(cheap=20, top=8), world.problem)
    rows = np.array([m.array(world.law.domains) for m in world.problem.space.sample(200, np.random.default_rng(1))])
    predicted = model.predict(rows, "large")
    assert spearmanr(predicted.mean, world.true(rows))[0] > 0.8
    assert predicted.sets_mean.shape == (200, len(world.problem.sets))
    place = world.problem.sets.index("target")
    exact = world.law.exact(rows, parameters=400_000, tokens=2_000_000)[:, place]
    assert spearmanr(predicted.sets_mean[:, place], exact)[0] > 0.7
    assert np.all(predicted.sd > 0.0)


def test_sets_weighed_alone_are_the_objective(fitted: tuple[Any, FidelityGP]) -> None:
    world, gp = fitted
    rows = np.random.default_rng(2).dirichlet(np.ones(3), 20)
    predicted = gp.predict(rows, "large")
    composed = world.problem.objective.of_array(predicted.sets_mean, world.problem.sets)
    assert composed == pytest.approx(predicted.mean, abs=0.05 * np.ptp(predicted.mean))


@pytest.mark.parametrize("name", ["admire", "admire-raw", "botorch"])
def test_the_search_chooses_untried_trials_at_any_rung(bench: Bench, name: str) -> None:
    world = bench(d=3)
    strategy = STRATEGIES[name](world.problem)
    assert {p.fidelity for p in strategy.propose(Evidence(), n=7, seed=0)[5:]} == {"small"}
    evidence = world.evidence(cheap=6, top=3)
    tried = {(o.mixture, o.fidelity) for o in evidence.history.observations}
    proposals = strategy.propose(evidence, n=3, seed=0)
    assert len(proposals) == 3
    assert not tried & {(p.mixture, p.fidelity) for p in proposals}
