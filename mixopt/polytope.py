"""Linear programs and projections of a few dozen variables, in numpy: scipy.optimize takes half a second to import.

Notation: `d` variables, `k` inequalities; rows `A` (`k x d`), limits `b` (`k`), `lower` and `upper` bounds (`d`).
The polytope is {w : A @ w <= b, lower <= w <= upper, sum(w) = 1}.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEASIBLE = 1e-9  # weights are of order one: a violation below this is float error
_REDUCED_COST = 1e-11  # a gain below this is float error
_PIVOT = 1e-9  # a pivot below this is float error
_PIVOTS = 20_000  # far above what a few hundred rows need; more would be a cycle


def linear_program(c: Array, *, A: Array, b: Array, E: Array, f: Array) -> Array | None:
    """Return x >= 0 minimizing `c @ x` with `A @ x <= b` and `E @ x = f`, or None where no such x exists.

    Two-phase simplex on a dense tableau; the minimum must be finite. The solution is a vertex.
    """
    n, inequalities, rows = c.size, b.size, b.size + f.size
    left = np.zeros((rows, n + inequalities))
    left[:inequalities, :n], left[inequalities:, :n] = A, E
    left[:inequalities, n:] = np.eye(inequalities)
    right = np.concatenate([b, f])
    flip = right < 0.0
    left[flip], right = -left[flip], np.abs(right)
    needy = [i for i in range(rows) if i >= inequalities or flip[i]]  # no slack of theirs can start in the basis
    artificial = np.zeros((rows, len(needy)))
    artificial[needy, np.arange(len(needy))] = 1.0
    tableau = np.hstack([left, artificial, right[:, None]])
    basis = np.array([n + i for i in range(rows)])
    basis[needy] = n + inequalities + np.arange(len(needy))

    first = np.concatenate([np.zeros(n + inequalities), np.ones(len(needy))])
    _descend(tableau, basis, first)
    if first[basis] @ tableau[:, -1] > FEASIBLE:
        return None
    tableau, basis = _without_artificials(tableau, basis, n + inequalities)
    _descend(tableau, basis, np.concatenate([c, np.zeros(inequalities)]))
    x = np.zeros(n + inequalities)
    x[basis] = np.maximum(tableau[:, -1], 0.0)
    return x[:n]


def vertex(c: Array, *, A: Array, b: Array, lower: Array, upper: Array) -> Array | None:
    """Return the vertex of the polytope that minimizes `c @ w`, `d`, or None where the polytope is empty."""
    room = 1.0 - lower.sum()
    if room < -FEASIBLE or np.any(upper < lower - FEASIBLE):
        return None
    width = np.maximum(upper - lower, 0.0)
    capped = np.flatnonzero(width < room)
    caps = np.zeros((capped.size, c.size))
    caps[np.arange(capped.size), capped] = 1.0
    y = linear_program(
        c,
        A=np.vstack([A, caps]),
        b=np.concatenate([b - A @ lower, width[capped]]),
        E=np.ones((1, c.size)),
        f=np.array([max(room, 0.0)]),
    )
    return None if y is None else np.clip(lower + y, lower, np.maximum(upper, lower))


def project_box(point: Array, *, lower: Array, upper: Array) -> Array:
    """Return the nearest w with sum(w) = 1 and lower <= w <= upper (which must exist): clip(point - t) for one t."""
    breaks = np.sort(np.concatenate([point - lower, point - upper]))
    sums = np.array([np.clip(point - t, lower, upper).sum() for t in breaks])  # falls as t rises
    k = int(np.clip(np.searchsorted(-sums, -1.0), 1, breaks.size - 1))
    low, high = breaks[k - 1], breaks[k]
    drop = sums[k - 1] - sums[k]
    t = low if drop <= 0.0 else low + (high - low) * (sums[k - 1] - 1.0) / drop
    near: Array = np.clip(point - t, lower, upper)
    return near


def project(point: Array, *, A: Array, b: Array, lower: Array, upper: Array) -> Array:
    """Return the point of the polytope (not empty) nearest to `point`, `d`.

    Least distance programming by non-negative least squares (Lawson and Hanson 1974, ch. 23), in the plane sum(w) = 1.
    """
    near = project_box(point, lower=lower, upper=upper)
    if np.all(A @ near <= b + 1e-14):
        return near
    d = point.size
    plane = np.linalg.svd(np.ones((1, d)))[2][1:].T  # d x (d - 1), orthonormal, columns sum to zero
    origin = point + (1.0 - point.sum()) / d
    rows = np.vstack([A, np.eye(d), -np.eye(d)])
    room = np.concatenate([b, upper, -lower]) - rows @ origin
    inner = rows @ plane
    lengths = np.maximum(np.linalg.norm(inner, axis=1), 1e-12)
    inner, room = inner / lengths[:, None], room / lengths
    system = np.vstack([-inner.T, -room[None, :]])
    goal = np.zeros(d)
    goal[-1] = 1.0
    dual = _nonnegative_least_squares(system, goal)
    residual = system @ dual - goal
    move = -residual[:-1] / min(residual[-1], -1e-300)
    active = dual > 0.0
    if active.any():  # once more on the active rows alone, which takes the rounding out
        exact = np.linalg.lstsq(inner[active], room[active], rcond=1e-11)[0]
        if np.all(inner @ exact <= room + FEASIBLE):
            move = exact
    return np.asarray(np.clip(origin + plane @ move, lower, upper), dtype=np.float64)


def _descend(tableau: Array, basis: NDArray[np.int64], cost: Array) -> None:
    """Pivot in place until no column lowers `cost`; Dantzig's rule, and Bland's once that may be going round."""
    for pivots in range(_PIVOTS):
        reduced = cost - cost[basis] @ tableau[:, :-1]
        candidates = np.flatnonzero(reduced < -_REDUCED_COST)
        if candidates.size == 0:
            return
        bland = pivots > 4 * tableau.shape[1]
        column = int(candidates[0] if bland else np.argmin(reduced))
        entries = tableau[:, column]
        usable = np.flatnonzero(entries > _PIVOT)
        assert usable.size, "the linear program is unbounded"
        ratios = tableau[usable, -1] / entries[usable]
        ties = usable[ratios <= ratios.min() + 1e-15]
        row = int(ties[np.argmin(basis[ties])] if bland else ties[np.argmax(entries[ties])])
        _pivot(tableau, basis, row, column)
    raise AssertionError("the simplex method went round in a circle")


def _pivot(tableau: Array, basis: NDArray[np.int64], row: int, column: int) -> None:
    tableau[row] /= tableau[row, column]
    others = tableau[:, column].copy()
    others[row] = 0.0
    tableau -= np.outer(others, tableau[row])
    tableau[:, -1] = np.maximum(tableau[:, -1], 0.0)
    basis[row] = column


def _without_artificials(tableau: Array, basis: NDArray[np.int64], real: int) -> tuple[Array, NDArray[np.int64]]:
    """Return tableau and basis over the first `real` columns; rows that only repeat others go."""
    keep = np.ones(basis.size, dtype=bool)
    for row in np.flatnonzero(basis >= real):
        column = int(np.argmax(np.abs(tableau[row, :real])))
        if abs(tableau[row, column]) > _PIVOT:
            _pivot(tableau, basis, int(row), column)
        else:
            keep[row] = False
    return np.hstack([tableau[keep, :real], tableau[keep, -1:]]), basis[keep]


def _nonnegative_least_squares(A: Array, b: Array) -> Array:
    """Return x >= 0 minimizing |A @ x - b| (Lawson and Hanson 1974, algorithm NNLS)."""
    x, active = np.zeros(A.shape[1]), np.zeros(A.shape[1], dtype=bool)
    for _ in range(10 * A.shape[1]):
        gradient = np.where(active, -np.inf, A.T @ (b - A @ x))
        best = int(np.argmax(gradient))
        if active.all() or gradient[best] <= 1e-13:
            break
        active[best] = True
        while True:
            trial = np.zeros_like(x)
            trial[active] = np.linalg.lstsq(A[:, active], b, rcond=None)[0]
            if np.all(trial[active] > 0.0):
                break
            falling = active & (trial <= 0.0)
            step = np.min(x[falling] / np.maximum(x[falling] - trial[falling], 1e-300))
            x = x + step * (trial - x)
            active &= x > 1e-15
            x[~active] = 0.0
            if not active.any():
                trial = np.zeros_like(x)
                break
        x = trial
    return x
