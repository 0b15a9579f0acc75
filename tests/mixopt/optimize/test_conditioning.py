"""Residuals of several rungs given their rows: as the closed form of a joint Gaussian has it."""

import numpy as np
import pytest

from mixopt.optimize.conditioning import PASSED_ON, At, Conditioned, Told
from mixopt.optimize.residual import Residual

RESIDUALS = (
    Residual(amplitude=0.3, length=0.5, growth=0.3, far=0.0),
    Residual(amplitude=0.2, length=0.3, growth=0.0, far=0.0),
    Residual(amplitude=0.1, length=0.4, growth=0.2, far=0.0),
)
SLOPES, SIZES, D = (0.0, 0.9, 0.7), (7, 4, 2), 3
EDGES = np.cumsum([0, *SIZES])


def drawn(count: int, rng: np.random.Generator) -> At:
    return At(points=np.sqrt(rng.dirichlet(np.ones(D), count)), predicted=rng.uniform(-1.0, 1.0, (3, count)))


def rungs(rng: np.random.Generator) -> list[Told]:
    return [
        Told(
            residual=residual,
            slope=slope,
            own=slice(start, end),
            left=rng.normal(size=end - start),
            noise=rng.uniform(0.01, 0.1, end - start),
        )
        for residual, slope, start, end in zip(RESIDUALS, SLOPES, EDGES, EDGES[1:], strict=False)
    ]


def prior(at: At) -> np.ndarray:
    """The joint covariance of all rungs, rung by rung, written out: f_r = b_r f_(r-1) + delta_r."""
    count = len(at.points)
    grams = [
        residual.covariance(at.points, predicted, at.points, predicted)
        for residual, predicted in zip(RESIDUALS, at.predicted, strict=True)
    ]
    lower = np.array([[1.0, 0.0, 0.0], [SLOPES[1], 1.0, 0.0], [SLOPES[2] * SLOPES[1], SLOPES[2], 1.0]])
    whole = np.zeros((3 * count, 3 * count))
    for r in range(3):
        for s in range(3):
            block = sum(lower[r, q] * lower[s, q] * grams[q] for q in range(min(r, s) + 1))
            whole[r * count : (r + 1) * count, s * count : (s + 1) * count] = block
    return whole


def test_covariances_are_those_of_the_joint_gaussian() -> None:
    rng = np.random.default_rng(0)
    rows, at = drawn(sum(SIZES), rng), drawn(5, rng)
    told = rungs(rng)
    _, covariance = Conditioned.on(told, rows).posterior(at)
    both = At(points=np.vstack([at.points, rows.points]), predicted=np.hstack([at.predicted, rows.predicted]))
    joint, count = prior(both), len(both.points)
    asked = np.concatenate([r * count + np.arange(5) for r in range(3)])
    seen = np.concatenate([r * count + 5 + np.arange(t.own.start, t.own.stop) for r, t in enumerate(told)])
    noise = np.diag(np.concatenate([t.noise for t in told]))
    gain = np.linalg.solve(joint[np.ix_(seen, seen)] + noise, joint[np.ix_(seen, asked)]).T
    assert covariance == pytest.approx(joint[np.ix_(asked, asked)] - gain @ joint[np.ix_(seen, asked)], abs=1e-10)


def test_one_rung_is_the_textbook_process() -> None:
    rng = np.random.default_rng(1)
    rows, at = drawn(6, rng), drawn(4, rng)
    told = Told(residual=RESIDUALS[0], slope=0.0, own=slice(0, 6), left=rng.normal(size=6), noise=np.full(6, 0.05))
    mean, _ = Conditioned.on([told], rows).posterior(at)
    gram = RESIDUALS[0].covariance(rows.points, rows.predicted[0], rows.points, rows.predicted[0])
    cross = RESIDUALS[0].covariance(at.points, at.predicted[0], rows.points, rows.predicted[0])
    assert mean[0] == pytest.approx(cross @ np.linalg.solve(gram + 0.05 * np.eye(6), told.left))


def test_of_what_a_rung_has_shown_a_part_is_handed_up() -> None:
    rng = np.random.default_rng(2)
    rows, at = drawn(sum(SIZES), rng), drawn(5, rng)
    first, second, _ = rungs(rng)
    below = Conditioned.on([first], rows).posterior(at)[0][0]
    silent = Told(residual=second.residual, slope=second.slope, own=slice(0, 0), left=np.zeros(0), noise=np.zeros(0))
    above = Conditioned.on([first, silent], rows).posterior(at)[0][1]
    assert above == pytest.approx(PASSED_ON * second.slope * below)


def test_a_row_without_noise_is_met() -> None:
    rng = np.random.default_rng(3)
    rows = drawn(sum(SIZES), rng)
    told = [
        Told(residual=t.residual, slope=t.slope, own=t.own, left=t.left, noise=0.0 * t.noise + 1e-10)
        for t in rungs(rng)
    ]
    mean, covariance = Conditioned.on(told, rows).posterior(rows)
    at_top = mean[2, told[2].own]
    assert at_top == pytest.approx(told[2].left, abs=1e-4)
    assert covariance.diagonal()[2 * sum(SIZES) + EDGES[2] :] == pytest.approx(0.0, abs=1e-6)
