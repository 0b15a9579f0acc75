"""The least value of a smooth function over the polytope; for a convex one, with a certificate.

Shapes: d domains, k constraints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, minimize

from mixopt.objective import Objective
from mixopt.optimize.encoding import Array
from mixopt.polytope import project, vertex
from mixopt.space import SearchSpace

Function = Callable[[Array], tuple[float, Array]]

STEPS = 500
RESTARTS = 4
PRECISE = 1e-9  # of the gap, in units of the value: far below the noise of a training
RESOLUTION = 2.0**-24  # of a value, in float32
POLISHING = 0.25 ** np.arange(14.0)  # lengths of the steps that are tried
SHARPNESS = 1e4  # of the smooth maximum, per bit: off by less than log(m) / 1e4
SAME = 1e-12


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The polytope: A @ w <= b, lower <= w <= upper, sum(w) = 1."""

    A: Array
    b: Array
    lower: Array
    upper: Array

    @classmethod
    def of(cls, space: SearchSpace, caps: Array | None = None) -> "Limits":
        """Return the limits of `space`, with `caps` (`d`) on the weights too where any mixture satisfies both."""
        if caps is not None:
            upper = np.minimum(space.upper, caps)
            if vertex(np.zeros(space.d), A=space.A, b=space.b, lower=space.lower, upper=upper) is not None:
                return cls(A=space.A, b=space.b, lower=space.lower, upper=upper)
        return cls(A=space.A, b=space.b, lower=space.lower, upper=space.upper)

    def nearest(self, point: Array) -> Array:
        """Return the point of the polytope nearest to `point`."""
        return project(point, A=self.A, b=self.b, lower=self.lower, upper=self.upper)

    def steepest(self, slope: Array) -> Array:
        """Return the vertex with the least `slope @ w`."""
        found = vertex(slope, A=self.A, b=self.b, lower=self.lower, upper=self.upper)
        assert found is not None, "a polytope that exists is not empty"
        return found


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """Weights, `d`, and their value; no point has one below value - gap, if the function is convex."""

    weights: Array
    value: float
    gap: float


def least(function: Function, limits: Limits, start: Array) -> Minimum:
    """Return the least value that sequential quadratic programming finds from `start`, and its Frank-Wolfe gap.

    function: value and gradient at `w`, all weights above 0 (those at 0 are seen as 1e-12).
    """
    best = _measured(function, limits, start)
    for _ in range(RESTARTS):
        moved = _measured(function, limits, _descend(function, limits, best.weights))
        if moved.value < best.value or (moved.value == best.value and moved.gap < best.gap):
            best = moved
        else:
            break
        if best.gap <= PRECISE * max(1.0, abs(best.value)):
            break
    return _polished(function, limits, best)


def _descend(function: Function, limits: Limits, start: Array) -> Array:
    rows, bounds, equal, targets = _split(limits)
    sums = LinearConstraint(np.vstack([np.ones((1, len(start))), equal]), *[np.concatenate([[1.0], targets])] * 2)
    constraints = [sums, *([LinearConstraint(rows, -np.inf, bounds)] if len(rows) else [])]

    def value(w: Array) -> tuple[float, Array]:
        return function(np.maximum(w, SAME))

    found = minimize(
        value,
        start,
        jac=True,
        method="SLSQP",
        bounds=Bounds(limits.lower, np.maximum(limits.upper, limits.lower)),
        constraints=constraints,
        options={"maxiter": STEPS, "ftol": 1e-14},
    )
    point: Array = found.x
    return point if np.all(np.isfinite(point)) else start


def _polished(function: Function, limits: Limits, start: Minimum) -> Minimum:
    """Return the point of the least gap that steps along the slope and towards its vertex find from `start`.

    They go by the gap: near the least value, values in float32 no longer tell one point from another. None that is
    found is worse than `start` by more than they resolve.
    """
    best, worst = start, start.value + RESOLUTION * max(1.0, abs(start.value))
    for _ in range(STEPS // 10):
        if best.gap <= PRECISE * max(1.0, abs(best.value)):
            break
        _, slope = function(np.maximum(best.weights, SAME))
        ways = (limits.steepest(slope) - best.weights, -slope)
        tries = [_measured(function, limits, best.weights + step * way) for way in ways for step in POLISHING]
        moved = min((one for one in tries if one.value <= worst), key=lambda one: one.gap, default=best)
        if moved.gap >= best.gap:
            break
        best = moved
    return best


def _measured(function: Function, limits: Limits, point: Array) -> Minimum:
    weights = limits.nearest(point)
    value, slope = function(np.maximum(weights, SAME))
    return Minimum(weights=weights, value=value, gap=max(0.0, float(slope @ (weights - limits.steepest(slope)))))


def _split(limits: Limits) -> tuple[Array, Array, Array, Array]:
    """Return inequalities and their bounds, and the equalities that two opposite ones make with their targets."""
    paired: set[int] = set()
    equal: list[int] = []
    for i in range(len(limits.A)):
        for j in range(i):
            opposite = np.abs(limits.A[i] + limits.A[j]).max() < SAME and abs(limits.b[i] + limits.b[j]) < SAME
            if opposite and not {i, j} & paired:
                paired |= {i, j}
                equal.append(i)
    kept: NDArray[np.intp] = np.array([i for i in range(len(limits.A)) if i not in paired], dtype=np.intp)
    return limits.A[kept], limits.b[kept], limits.A[equal], limits.b[equal]


def composed(objective: Objective, sets: Sequence[str], losses: Array) -> tuple[float, Array]:
    """Return the objective of `losses`, `m`, and what each of them counts for its slope, `m`.

    The worst of some losses is seen through a smooth maximum that is above it by log(m) / SHARPNESS at most.
    """
    weights = objective.array(sets)
    if objective.kind == "mean":
        return float(losses @ weights), weights
    counted = np.where(weights > 0.0, losses, -np.inf)
    shares = np.exp(SHARPNESS * (counted - counted.max()))
    value = float(counted.max() + np.log(shares.sum()) / SHARPNESS)
    return value, shares / shares.sum()
