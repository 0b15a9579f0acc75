"""Scheffe's polynomial: found again, and its design."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mixopt.evidence import Evidence
from mixopt.optimize.baselines.scheffe import lattice, terms, train
from mixopt.optimize.strategies import STRATEGIES

Bench = Callable[..., Any]


def test_terms_are_weights_and_their_pairs() -> None:
    assert list(terms(np.array([[0.5, 0.3, 0.2]]))[0]) == pytest.approx([0.5, 0.3, 0.2, 0.15, 0.10, 0.06])


def test_it_finds_a_sparse_polynomial_again() -> None:
    rng = np.random.default_rng(0)
    weights, fresh = rng.dirichlet(np.ones(6), 80), rng.dirichlet(np.ones(6), 200)
    slopes = np.zeros(21)
    slopes[:6], slopes[[7, 12]] = [2.0, 2.1, 1.9, 2.3, 2.2, 2.0], [-1.5, 1.0]
    trained = train(weights, (terms(weights) @ slopes)[:, None])
    truth = terms(fresh) @ slopes
    assert np.sqrt(np.mean((trained.predict(fresh)[:, 0] - truth) ** 2)) < 0.05 * truth.std()


def test_noise_alone_is_its_mean() -> None:
    rng = np.random.default_rng(1)
    weights, losses = rng.dirichlet(np.ones(6), 60), rng.standard_normal((60, 1))
    assert train(weights, losses).predict(weights).std() < 0.5


def test_the_lattice_has_corners_and_halves(bench: Bench) -> None:
    problem = bench(d=4).problem
    found = lattice(problem, 100)
    assert len(found) == 4 + 6
    assert sorted(round(max(m.values()), 12) for m in found) == [0.5] * 6 + [1.0] * 4
    constrained = bench(d=4, constraints=["d0 <= 0.5"]).problem
    assert all(m in constrained.space for m in lattice(constrained, 100))


def test_the_design_opens_the_search(bench: Bench) -> None:
    world = bench(d=4)
    first = STRATEGIES["scheffe"](world.problem).propose(Evidence(), n=9, seed=0)
    assert [p.mixture for p in first[5:]] == lattice(world.problem, 100)[:4]
