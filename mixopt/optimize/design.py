"""The opening of a search: the natural mixture at several seeds, and mixtures spread over the space."""

from collections.abc import Sequence

import numpy as np

from mixopt.evidence import Evidence, Proposal
from mixopt.mixture import Mixture
from mixopt.optimize.encoding import Array
from mixopt.problem import Problem

POOL = 240  # mixtures that the spread is chosen from
PRESENT = 1e-6  # a weight below this is an absent domain


def opening(problem: Problem) -> list[Proposal]:
    """Return the trials that come before any model: the same list for the same problem.

    Natural at `natural_seeds` seeds on the cheapest rung (noise, and the reference of every claim), `spread` others
    there, and natural once on the top rung. Where the space forbids natural, the nearest allowed mixture stands in.
    """
    cheap = problem.ladder.cheapest.name
    others = [_proposal(m, cheap, 0, "spread over the space") for m in spread(problem, problem.spread)]
    natural = natural_opening(problem)
    return [*natural[:2], *others, *natural[2:]]


def natural_opening(problem: Problem) -> list[Proposal]:
    """Return natural once at the cheapest rung, once at the top one (what a trial takes there), then for the noise."""
    natural, cheap, top = reference(problem), problem.ladder.cheapest.name, problem.ladder.top.name
    repeats = [_proposal(natural, cheap, seed, "natural, for the noise") for seed in range(problem.natural_seeds)]
    anchor = [_proposal(natural, top, 0, "natural, the reference at the top rung")] if top != cheap else []
    return [*repeats[:1], *anchor, *repeats[1:]]


def missing(evidence: Evidence, wanted: Sequence[Proposal]) -> list[Proposal]:
    """Return those of `wanted` that were never tried: neither observed, pending nor failed."""
    history = evidence.history
    tried = {(seen.mixture, seen.fidelity, seen.seed) for seen in history.observations}
    tried |= {(running.mixture, running.fidelity, running.seed) for running in history.pending}
    failed = {(failure.mixture, failure.fidelity) for failure in history.failures}
    return [p for p in wanted if (p.mixture, p.fidelity, p.seed) not in tried and (p.mixture, p.fidelity) not in failed]


def reference(problem: Problem) -> Mixture:
    """Return the natural mixture, or the allowed one nearest to it."""
    return (
        problem.natural if problem.natural in problem.space else problem.space.project(_row(problem, problem.natural))
    )


def spread(problem: Problem, count: int) -> list[Mixture]:
    """Return up to `count` different mixtures far from each other, from natural and from the corners.

    By turns from near natural, from the inside, from faces and from edges; each the farthest of its kind.
    """
    space = problem.space
    rng = np.random.default_rng(problem.seed)
    natural = _row(problem, reference(problem))
    drawn = np.array([_row(problem, mixture) for mixture in space.sample(POOL, rng)])
    corners = np.array([_row(problem, mixture) for mixture in space.corners()])
    halves = [0.5 * (a + b) for i, a in enumerate(corners) for b in corners[:i]]
    inside, faces, edges = _by_domains(drawn)
    kinds = [
        0.5 * natural + 0.5 * drawn,
        _or(inside, drawn),
        _or(faces, drawn),
        np.array([*edges, *halves]).reshape(-1, space.d),
    ]
    taken = [natural, *corners]
    chosen: list[Mixture] = []
    for turn in range(4 * count):
        if len(chosen) == count:
            break
        kind = _or(kinds[turn % 4], drawn)
        distances = np.min([_distance(kind, row) for row in taken], axis=0)
        if distances.max() > 1e-3:
            taken.append(kind[int(distances.argmax())])
            chosen.append(Mixture.from_array(space.names, taken[-1]))
    return chosen


def _by_domains(drawn: Array) -> tuple[Array, Array, Array]:
    """Return the rows with all domains that any row has, with fewer, and with two."""
    present = (drawn > PRESENT).sum(1)
    return drawn[present == present.max()], drawn[(present < present.max()) & (present > 2)], drawn[present == 2]


def _or(rows: Array, otherwise: Array) -> Array:
    return rows if len(rows) else otherwise


def _distance(rows: Array, row: Array) -> Array:
    distance: Array = np.linalg.norm(np.sqrt(np.maximum(rows, 0.0)) - np.sqrt(np.maximum(row, 0.0)), axis=1)
    return distance


def _row(problem: Problem, mixture: Mixture) -> Array:
    return mixture.array(problem.space.names)


def _proposal(mixture: Mixture, fidelity: str, seed: int, reason: str) -> Proposal:
    return Proposal(mixture=mixture, fidelity=fidelity, seed=seed, purpose="design", reason=reason)
