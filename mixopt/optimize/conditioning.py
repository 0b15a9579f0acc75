"""The residual processes of all rungs, joined, given what every rung's rows left: once for the rows, then anywhere.

Rungs are joined as f_r = b_r f_(r-1) + delta_r (Kennedy and O'Hagan 2000) and conditioned one after another, cheap to
expensive: of the mean that a rung has shown, PASSED_ON is handed up, since what members miss of a mixture at one rung
is mostly its own. What concerns the rows alone is factored once, so that mixtures cost the same however many calls ask
for them.

Shapes: N rows, those of all rungs, n of one of them; B mixtures; k rungs so far, R in all. A joint vector goes rung by
rung, `k N` or `k B`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from mixopt.optimize.encoding import Array
from mixopt.optimize.residual import Residual

PASSED_ON = 0.2  # of the residual's mean; all of it lowered ranks above


@dataclass(frozen=True, kw_only=True)
class Told:
    """One rung: its `residual` process and `slope` b_r; what its rows, at `own` of N, `left`, with variance `noise`."""

    residual: Residual
    slope: float
    own: slice
    left: Array
    noise: Array


@dataclass(frozen=True, kw_only=True)
class At:
    """Mixtures: their `points`, and the objective `predicted` by the members at every rung, `R x B`, standardised."""

    points: Array
    predicted: Array


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """A rung conditioned on its rows: `root` of their covariance, `moved` what they move the means by, `n` each.

    crossed: their covariance with all rows so far, divided by their own, `n x k N`.
    """

    told: Told
    own: slice
    root: Array
    moved: Array
    crossed: Array


@dataclass(frozen=True, kw_only=True)
class Conditioned:
    """What the rows of all rungs tell of the residuals."""

    rows: At
    stages: tuple[_Stage, ...]

    @classmethod
    def on(cls, rungs: Sequence[Told], rows: At) -> "Conditioned":
        """Return what `rungs` tell, `rows` being those of all of them."""
        stages: list[_Stage] = []
        mean, joint = np.zeros(0), np.zeros((0, 0))
        for place, told in enumerate(rungs):
            mean, joint = _raised_mean(mean, told, len(rows.points)), _raised(joint, told, place, rows, rows)
            start = place * len(rows.points)
            own = slice(start + told.own.start, start + told.own.stop)
            root = cholesky(joint[own, own] + np.diag(told.noise), lower=True)
            moved, crossed = cho_solve((root, True), told.left - mean[own]), cho_solve((root, True), joint[own])
            mean = mean + joint[:, own] @ moved
            joint = joint - joint[:, own] @ crossed
            stages.append(_Stage(told=told, own=own, root=root, moved=moved, crossed=crossed))
        return cls(rows=rows, stages=tuple(stages))

    def posterior(self, at: At) -> tuple[Array, Array]:
        """Return means, `R x B`, and the covariance of all rungs and mixtures, `R B x R B`."""
        mean, joint, with_rows = np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0))
        for place, stage in enumerate(self.stages):
            mean = _raised_mean(mean, stage.told, len(at.points))
            joint = _raised(joint, stage.told, place, at, at)
            with_rows = _raised(with_rows, stage.told, place, at, self.rows)
            shared = with_rows[:, stage.own]
            told = solve_triangular(stage.root, shared.T, lower=True)
            mean = mean + shared @ stage.moved
            joint = joint - told.T @ told
            with_rows = with_rows - shared @ stage.crossed
        return mean.reshape(len(self.stages), -1), joint


def _raised_mean(mean: Array, told: Told, count: int) -> Array:
    """Return the means of one rung more, of `count` mixtures."""
    above: Array = PASSED_ON * told.slope * mean[-count:] if len(mean) else np.zeros(count)
    return np.concatenate([mean, above])


def _raised(joint: Array, told: Told, place: int, these: At, those: At) -> Array:
    """Return the covariance between two sets of mixtures, with the rung at `place` as one more."""
    own = told.residual.covariance(these.points, these.predicted[place], those.points, those.predicted[place])
    if not len(joint):
        return own
    last, across = joint[-len(these.points) :], joint[:, -len(those.points) :]
    corner = told.slope**2 * last[:, -len(those.points) :] + own
    return np.block([[joint, told.slope * across], [told.slope * last, corner]])
