"""Mixtures worth scoring: around good ones, on faces, and from the whole polytope; and the best of them, polished.

Shapes: B mixtures, d domains.
"""

from collections.abc import Callable
from zlib import crc32

import numpy as np

from mixopt.evidence import Evidence
from mixopt.mixture import Mixture
from mixopt.optimize.encoding import Array
from mixopt.space import SearchSpace

STEPS = (1.0, 0.5, 0.2)  # of a weight, moved to another domain
MOST_MOVES = 400  # at a time, all there are of 12 domains; 40 would have 4,680, and a joint covariance of a gigabyte
DIFFERENCE = 1e-4  # of a weight, over which slopes are taken
FRACTIONS = (1.0, 0.5, 0.2, 0.05)  # of a domain's weight, given to another one that promises to lower the score
EXCHANGES = 24  # pairs of domains that are tried in a round
GRADIENT_STEPS = (0.4, 0.2, 0.1, 0.05, 0.02, 0.01)  # of weight, down the gradient
SMALL_WEIGHT = 0.02  # a domain moves in proportion to its weight, and one without any as if it had this
INWARD = 0.1  # of the way to the center, from where descent begins
LEAST_SCALE = 0.02  # of the steps: finer ones change nothing that a training shows
TOLERANCE = 1e-9  # slack of the space's limits
SUM_TOLERANCE = 1e-6  # of rows computed, which are then scaled to sum to 1
RISK_DISTANCE = 0.1  # total variation at which a failure says half of what it says of its own mixture; a guess
ALIKE = 1e-4  # total variation below which two candidates are one


def draw(space: SearchSpace, count: int, rng: np.random.Generator) -> Array:
    """Return `count` mixtures from the whole space, `count x d`."""
    return np.array([mixture.array(space.names) for mixture in space.sample(count, rng)]).reshape(-1, space.d)


def around(space: SearchSpace, center: Array, drawn: Array, *, scale: float = 1.0) -> Array:
    """Return mixtures of the space near `center` (`d`): weight moved between two domains, or towards `drawn` ones.

    Of more than `MOST_MOVES` moves, a sample that depends on `center` and `scale` alone.
    """
    towards = [center + scale * share * (drawn - center) for share in (-0.1, 0.1, 0.3)]
    return feasible(space, np.vstack([_moved(center, scale), *towards]))


def feasible(space: SearchSpace, rows: Array) -> Array:
    """Return the rows that are mixtures of the space, exact zeros kept."""
    inside = np.abs(rows.sum(1) - 1.0) <= SUM_TOLERANCE
    inside &= (rows >= space.lower - TOLERANCE).all(1) & (rows <= space.upper + TOLERANCE).all(1)
    inside &= (rows @ space.A.T <= space.b + TOLERANCE).all(1)
    kept = np.clip(rows[inside], space.lower, space.upper)
    kept = np.where(kept < TOLERANCE, 0.0, kept)
    result: Array = kept / kept.sum(1, keepdims=True)
    return result


def polish(space: SearchSpace, start: Array, score: Callable[[Array], Array], *, rounds: int) -> tuple[Array, float]:
    """Return the lowest-scoring mixture that descent from `start` (`d`) finds, and its score.

    Every round takes slopes by differences, and scores exchanges between the domains that promise most and steps down
    the projected gradient, all at once: exchanges reach exact zeros, gradients everything else. It begins a little
    inside of the space, since a model in roots of weights hardly sees a way out of a face.
    """
    inner = (1.0 - INWARD) * start + INWARD * space.center.array(space.names)
    best, value, scale = start, float(score(start[None])[0]), 1.0
    here, height = inner, np.inf
    for _ in range(rounds):
        around_here = score(np.vstack([here, here + DIFFERENCE * np.eye(space.d)]))
        height = min(height, float(around_here[0]))
        near = _descents(space, here, (around_here[1:] - around_here[0]) / DIFFERENCE, scale)
        scores = score(near) if len(near) else np.full(1, np.inf)
        place = int(scores.argmin())
        if scores[place] < height - 1e-9:
            here, height = near[place], float(scores[place])
        else:
            scale *= 0.3
            if scale < LEAST_SCALE:
                break
    return (here, height) if height < value else (best, value)


def _descents(space: SearchSpace, center: Array, slopes: Array, scale: float) -> Array:
    """Return mixtures of the space that `slopes` (`d`, inf where no value was had) promise to lie lower, `B x d`."""
    slopes = np.where(np.isfinite(slopes), slopes, 0.0)
    promise = center[:, None] * (slopes[:, None] - slopes[None, :])
    order = np.argsort(-promise, axis=None, kind="stable")[:EXCHANGES]
    source, target = np.unravel_index(order[promise.ravel()[order] > 0.0], promise.shape)
    rows = np.tile(center, (len(FRACTIONS), len(source), 1))
    amount = scale * np.array(FRACTIONS)[:, None] * center[source]
    rows[:, np.arange(len(source)), source] -= amount
    rows[:, np.arange(len(source)), target] += amount
    downhill = -(center + SMALL_WEIGHT) * (slopes - slopes @ center)
    downhill /= max(float(np.abs(downhill).max()), 1e-12)
    stepped = [space.project(center + scale * step * downhill).array(space.names) for step in GRADIENT_STEPS]
    return feasible(space, np.vstack([rows.reshape(-1, space.d), *stepped]))


def distinct(rows: Array) -> Array:
    """Return `rows` without those that repeat an earlier one; the order is kept."""
    _, first = np.unique(np.round(rows / ALIKE).astype(np.int64), axis=0, return_index=True)
    kept: Array = rows[np.sort(first)]
    return kept


def risk(evidence: Evidence, names: tuple[str, ...], rows: Array) -> Array:
    """Return the probability that a training on `rows` fails, `B`: the share of failures among trials nearby."""
    failed = _closeness([f.mixture for f in evidence.history.failures], names, rows)
    completed = _closeness([o.mixture for o in evidence.history.observations], names, rows)
    share: Array = failed / (failed + completed + 0.5)
    return share


def _moved(center: Array, scale: float) -> Array:
    """Return `center` with weight moved from one domain to another, at most `MOST_MOVES x d`."""
    step, source, target = np.indices((len(STEPS), len(center), len(center))).reshape(3, -1)
    amount = scale * np.array(STEPS)[step] * center[source]
    moves = np.flatnonzero((amount > 0.0) & (source != target))
    if len(moves) > MOST_MOVES:
        rng = np.random.default_rng(crc32(np.append(center, scale).tobytes()))
        moves = np.sort(rng.choice(moves, MOST_MOVES, replace=False))
    rows, places = np.tile(center, (len(moves), 1)), np.arange(len(moves))
    rows[places, source[moves]] -= amount[moves]
    rows[places, target[moves]] += amount[moves]
    return rows


def _closeness(mixtures: list[Mixture], names: tuple[str, ...], rows: Array) -> Array:
    total = np.zeros(len(rows))
    for mixture in dict.fromkeys(mixtures):
        distance = 0.5 * np.abs(rows - mixture.array(names)).sum(1)
        total += 0.5 ** ((distance / RISK_DISTANCE) ** 2)
    return total
