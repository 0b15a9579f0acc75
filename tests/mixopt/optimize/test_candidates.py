"""Mixtures worth scoring."""

from itertools import permutations

import numpy as np
import pytest

from mixopt.mixture import Domain
from mixopt.optimize.candidates import MOST_MOVES, STEPS, around, polish
from mixopt.space import LinearConstraint, SearchSpace


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


@pytest.mark.parametrize("d", [3, 17, 40])
def test_descent_finds_the_bottom_of_a_bowl_and_its_exact_zeros(d: int) -> None:
    bottom = np.zeros(d)
    bottom[:2] = 0.7, 0.3

    def bowl(rows: np.ndarray) -> np.ndarray:
        return np.asarray(((rows - bottom) ** 2).sum(1))

    start = np.full(d, 1.0 / d)
    found, value = polish(simplex(d), start, bowl, rounds=60)
    assert value == pytest.approx(bowl(found[None])[0])
    assert value < 1e-4 * bowl(start[None])[0]
    assert (found[2:] == 0.0).all()


def test_descent_stays_inside_constraints_and_ends_at_their_best_vertex() -> None:
    space = SearchSpace(
        domains=tuple(Domain(name=f"d{i}") for i in range(4)),
        constraints=LinearConstraint.parse("d0 + d1 <= 0.5", [f"d{i}" for i in range(4)]),
    )
    found, value = polish(space, np.full(4, 0.25), lambda rows: rows @ np.array([-3.0, -2.0, -1.0, 0.0]), rounds=30)
    assert found == pytest.approx([0.5, 0.0, 0.5, 0.0], abs=1e-6)
    assert value == pytest.approx(-2.0, abs=1e-5)


def test_descent_leaves_a_face_that_a_root_makes_look_steep() -> None:
    def valley(rows: np.ndarray) -> np.ndarray:
        return np.asarray((np.sqrt(rows[:, 0]) - 0.6) ** 2 - 0.3 * rows[:, 1])

    found, _ = polish(simplex(3), np.array([0.0, 0.5, 0.5]), valley, rounds=30)
    best = min(valley(np.array([[a, 1.0 - a, 0.0]]))[0] for a in np.linspace(0.0, 1.0, 2001))
    assert valley(found[None])[0] == pytest.approx(best, abs=1e-4)
