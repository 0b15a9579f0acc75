"""The choice among measured neighbours: by what was measured where the model misses it, else by the model."""

from dataclasses import replace

import numpy as np

from mixopt.optimize.local_choice import WIDTH, Measured, settled

PICK = np.array([0.5, 0.3, 0.2])
NOISE = 0.001


def line(missed: np.ndarray, *, counts: np.ndarray | None = None, apart: float = 0.02) -> Measured:
    """Return neighbours along a line through the pick, all of one score by the model."""
    steps = apart * (np.arange(len(missed)) - len(missed) // 2 + 0.5)
    return Measured(
        weights=PICK + steps[:, None] * np.array([1.0, -1.0, 0.0]),
        scores=np.zeros(len(missed)),
        missed=missed,
        counts=np.ones(len(missed)) if counts is None else counts,
        noise_sd=NOISE,
    )


def test_without_more_scatter_than_noise_the_pick_stands() -> None:
    noise = NOISE * np.array([0.9, -0.9, 0.7, -0.9, 0.8, -0.7])
    assert np.array_equal(settled(PICK, 0.0, line(noise), caution=0.5), PICK)


def test_neighbours_measured_far_below_the_model_are_chosen() -> None:
    known = line(np.array([0.0, 0.0, 0.001, -0.008, -0.008, -0.008]))
    chosen = settled(PICK, 0.0, known, caution=0.5)
    assert any(np.array_equal(chosen, row) for row in known.weights[3:])


def test_a_pick_beyond_neighbours_that_are_all_worse_stands() -> None:
    worse = line(np.array([0.005, 0.006, 0.004, 0.005, 0.006, 0.005]))
    moved = PICK + 0.08 * np.array([0.0, 1.0, -1.0])
    assert np.array_equal(settled(moved, 0.0, worse, caution=0.5), moved)


def test_one_lucky_trial_counts_less_than_several_that_agree() -> None:
    missed = np.array([-0.009, 0.004, 0.004, 0.004, -0.008, -0.008])
    counts = np.array([1.0, 1.0, 1.0, 1.0, 16.0, 16.0])
    known = replace(line(missed, counts=counts, apart=0.03), noise_sd=4.0 * NOISE)
    chosen = settled(PICK, 0.0, known, caution=0.5)
    assert any(np.array_equal(chosen, row) for row in known.weights[4:])


def test_few_or_far_neighbours_say_nothing() -> None:
    three = line(np.array([-0.01, 0.01, -0.01]))
    far = line(np.array([-0.01, 0.01, -0.01, 0.01]))
    assert np.array_equal(settled(PICK, 0.0, three, caution=0.5), PICK)
    moved = PICK + 0.15 * np.array([0.0, 1.0, -1.0])
    assert np.array_equal(settled(moved, 0.0, far, caution=0.5), moved)


def test_it_finds_better_mixtures_of_a_rough_field_than_a_model_that_sees_none_of_it() -> None:
    gained = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = PICK + np.array([rng.uniform(-0.05, 0.05, 12), rng.uniform(-0.05, 0.05, 12), np.zeros(12)]).T
        rows[:, 2] = 1.0 - rows[:, 0] - rows[:, 1]
        points = np.vstack([rows, PICK])
        distances = 0.5 * np.abs(points[:, None] - points[None]).sum(2)
        field = 0.004 * np.linalg.cholesky(np.exp(-distances / (2.0 * WIDTH)))
        truth = field @ rng.standard_normal(13)
        known = Measured(
            weights=rows,
            scores=np.zeros(12),
            missed=truth[:12] + NOISE * rng.standard_normal(12),
            counts=np.ones(12),
            noise_sd=NOISE,
        )
        chosen = settled(PICK, 0.0, known, caution=0.5)
        gained.append(truth[12] - truth[int(np.abs(points - chosen).sum(1).argmin())])
    assert np.mean(gained) > 0.002
