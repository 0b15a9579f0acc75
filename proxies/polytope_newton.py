"""The least value of a smooth convex function over caps and linear constraints, by Newton steps, with a certificate.

Notation: minimize f over {x : A x <= b, lower <= x <= upper, sum x = 1}, g the gradient of f, H its Hessian.

Shapes: d weights, k constraints.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxies.errors import ProxyError

Float64Array = NDArray[np.float64]
Moments = tuple[float, Float64Array, Float64Array]  # value, gradient [d], Hessian [d, d]

STEPS = 100
ARMIJO = 1e-4
RIDGE = 1e-12  # of the mean curvature: where experts are alike the Hessian is singular
MULTIPLIER = 1e-13  # of the slope; one above minus this counts as not negative
NOISE = 1e-14  # of the value; a mean of a million float64 terms is not sharper
ROUNDING = 1e-12  # of a weight; what a step does to a constraint below this is rounding
FEASIBLE = 1e-7  # how far a start may stand outside, from rounding


@dataclass(frozen=True, kw_only=True)
class Polytope:
    """Weights that sum to one with A x <= b [k] and lower <= x <= upper [d]; `inside` is any one of them."""

    A: Float64Array
    b: Float64Array
    lower: Float64Array
    upper: Float64Array
    inside: Float64Array

    def __post_init__(self) -> None:
        """Refuse a point that is not inside."""
        x = self.inside
        excess = max(
            abs(float(x.sum()) - 1.0),
            float((self.lower - x).max()),
            float((x - self.upper).max()),
            float((self.A @ x - self.b).max(initial=0.0)),
        )
        if not excess <= FEASIBLE:
            raise ProxyError(f"the start {x.tolist()} breaks a limit by {excess:.2g}; give a mixture within the limits")

    @classmethod
    def simplex(cls, d: int) -> "Polytope":
        """Return all weights of at least 0."""
        return cls(A=np.zeros((0, d)), b=np.zeros(0), lower=np.zeros(d), upper=np.ones(d), inside=np.full(d, 1.0 / d))

    def least(self, slope: Float64Array, multipliers: Float64Array) -> float:
        """Return what slope @ x is nowhere below, by `multipliers` [k] >= 0 of the constraints; the best have no gap.

        Over the box and the sum alone the minimum is greedy: what is left of the sum goes to the smallest slopes first.
        """
        dual = slope + multipliers @ self.A
        x, left = self.lower.copy(), 1.0 - float(self.lower.sum())
        for i in np.argsort(dual, kind="stable"):
            added = min(left, float(self.upper[i] - self.lower[i]))
            x[i] += added
            left -= added
        return float(dual @ x - multipliers @ self.b)


def least(
    moments: Callable[[Float64Array], Moments], polytope: Polytope, start: Float64Array, *, gap: float
) -> tuple[Float64Array, float]:
    """Return the minimizer [d] found from `start`, and how far its value is at most above the least of all.

    Ends at `gap`, or where float64 is exhausted. The bound is the Lagrangian's, and holds whatever the steps did.
    """
    x = start
    value, slope, hessian = moments(x)
    bound = np.inf
    for _ in range(STEPS):
        target, multipliers = quadratic_minimum(hessian, slope - hessian @ x, polytope, x)
        before, bound = bound, max(0.0, float(slope @ x) - polytope.least(slope, multipliers))
        if bound <= gap:
            break
        step = target - x
        length, descent, noise = 1.0, float(slope @ step), NOISE * max(1.0, abs(value))
        if -descent <= noise and bound >= 0.5 * before:
            break  # float64 is exhausted
        while length > 1e-10:
            trial = target if length == 1.0 else x + length * step
            moved = moments(trial)
            if moved[0] <= value + ARMIJO * length * descent + noise:
                break
            length /= 2.0
        else:
            break
        x, (value, slope, hessian) = trial, moved
    return x, bound


def quadratic_minimum(
    quadratic: Float64Array, linear: Float64Array, polytope: Polytope, start: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the x of the polytope with the least x.Q.x / 2 + c.x, and the multipliers [k] >= 0 of A.

    The primal active-set method from a feasible start (Nocedal and Wright, Numerical Optimization, Alg. 16.3); a
    constraint that blocks is never a combination of those at work, so that they stay independent.
    """
    d, k = len(linear), len(polytope.b)
    rows = np.vstack([polytope.A, -np.eye(d), np.eye(d)])
    limits = np.concatenate([polytope.b, -polytope.lower, polytope.upper])
    Q = quadratic + np.eye(d) * max(RIDGE * float(np.trace(quadratic)) / d, 1e-300)
    x = start.copy()
    working: list[int] = []
    lambdas = np.zeros(0)
    settled = MULTIPLIER * max(1.0, float(np.abs(linear).max()))
    for _ in range(20 * (d + k)):
        step, lambdas = _on_the_face(Q, Q @ x + linear, rows[working])
        slopes = rows @ step
        slopes[working] = 0.0
        blocking = slopes > ROUNDING
        rooms = np.where(blocking, np.maximum(limits - rows @ x, 0.0) / np.where(blocking, slopes, 1.0), np.inf)
        first = int(rooms.argmin())
        x = x + min(1.0, float(rooms[first])) * step
        if rooms[first] < 1.0:
            working.append(first)
        elif not working or lambdas.min() >= -settled:
            break
        else:
            working.pop(int(lambdas.argmin()))
    multipliers = np.zeros(len(rows))
    if len(lambdas) == len(working):
        multipliers[working] = np.maximum(lambdas, 0.0)
    at_work = np.zeros(len(rows), dtype=bool)
    at_work[working] = True
    x = np.where(at_work[k : k + d], polytope.lower, np.where(at_work[k + d :], polytope.upper, x))
    return np.clip(x, polytope.lower, polytope.upper), multipliers[:k]


def _on_the_face(Q: Float64Array, slope: Float64Array, rows: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the step to the minimum where `rows` and the sum keep their values, and the multipliers of `rows`."""
    d = len(slope)
    held = np.vstack([np.ones((1, d)), rows])
    system = np.block([[Q, held.T], [held, np.zeros((len(held), len(held)))]])
    found = np.linalg.lstsq(system, np.concatenate([-slope, np.zeros(len(held))]), rcond=None)[0]
    return found[:d], found[d + 1 :]
