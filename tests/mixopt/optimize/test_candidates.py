"""Mixtures worth scoring."""

from itertools import permutations

import numpy as np
import pytest

from mixopt.mixture import Domain
from mixopt.optimize.candidates import MOST_MOVES, STEPS, around
from mixopt.space import SearchSpace


def simplex(d: int) -> SearchSpace:
    return SearchSpace(domains=tuple(Domain(name=f"d{i}") for i in range(d)))


def test_of_few_domains_every_pair_exchanges_every_step() -> None:
    center, nothing = np.array([0.5, 0.3, 0.2]), np.empty((0, 3))
    expected = [
        center - step * center[i] * np.eye(3)[i] + step * center[i] * np.eye(3)[j]
        for step in STEPS
        for i, j in permutations(range(3), 2)
    ]
    assert around(simplex(3), center, nothing) == pytest.approx(np.array(expected))


def test_of_forty_domains_a_sample_of_the_moves_is_the_same_each_time_and_another_elsewhere() -> None:
    space, center, nothing = simplex(40), np.full(40, 1 / 40), np.empty((0, 40))
    near = around(space, center, nothing)
    assert near.shape == (MOST_MOVES, 40)
    assert near.sum(1) == pytest.approx(1.0)
    assert (near != center).sum(1).tolist() == [2] * MOST_MOVES  # every row moves weight between two domains
    assert np.array_equal(near, around(space, center, nothing))
    finer = around(space, center, nothing, scale=0.4)
    assert {tuple(row) for row in near != center} != {tuple(row) for row in finer != center}
