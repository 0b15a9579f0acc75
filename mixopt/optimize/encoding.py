"""Mixtures and evidence to arrays, rung by rung, and back.

Shapes: n observations, d domains, m evaluation sets, B mixtures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixopt.evidence import Evidence, Experts, KnownLosses, Observation
from mixopt.mixture import Mixture
from mixopt.objective import ERROR
from mixopt.optimize.links import Links
from mixopt.problem import Problem

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

MOST_ROWS = 0.95  # of a rung's that a set must leave whole, if the objective does not need it
SAME_WEIGHT = 1e-9  # mixtures whose weights differ by less are one


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is known of mixtures without training: `weights`, `B x d`; `experts`, their ensemble's losses, `B x m`."""

    weights: Array
    experts: Array | None

    @property
    def coordinates(self) -> Array:
        """Square roots of the weights, `B x d`: small weights are told apart, and zero is a point."""
        return np.sqrt(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True, kw_only=True)
class Table:
    """The observations at one rung: `inputs` of `n` rows, `losses` `n x m`, `groups` `n`: equal for equal mixtures.

    items: `n x m`, how many answers an error is a share of; nan where nobody says.
    passes: epochs of a domain that has all the weight, `d`; noise_sd: of the objective; None where nobody knows.
    stale: `n`, the fraction of the tokens from text that is another by now.
    """

    inputs: Inputs
    losses: Array
    groups: Indices
    items: Array
    passes: Array | None
    noise_sd: float | None
    stale: Array

    @property
    def distinct(self) -> int:
        """How many different mixtures there are."""
        return len(np.unique(self.groups))


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Domains in the space's order, and the evaluation sets that are modelled.

    passes: for rungs whose pools are known, epochs of a domain that has all the weight, `d`; noise_sds: of the rungs.
    """

    names: tuple[str, ...]
    sets: tuple[str, ...]
    experts: Experts | None
    passes: Mapping[str, Array] = field(default_factory=dict)
    noise_sds: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, evidence: Evidence, problem: Problem) -> "Encoding":
        """Return the encoding of `evidence`: all sets of the objective, and others that hardly any row lacks."""
        sets = _modelled(evidence, problem)
        experts = evidence.experts
        if experts is not None and not (
            set(map(_covariate, sets)) <= set(experts.ensemble.sets)
            and set(experts.ensemble.domains) == set(problem.space.names)
        ):
            experts = None
        known = {rung.name: problem.passes(rung.name) for rung in problem.ladder}
        passes = {rung: np.array([of[n] for n in problem.space.names]) for rung, of in known.items() if of}
        noise = {rung.name: rung.noise_sd for rung in problem.ladder}
        return cls(names=problem.space.names, sets=sets, experts=experts, passes=passes, noise_sds=noise)

    def inputs(self, weights: Array) -> Inputs:
        """Return the inputs of `weights`, `B x d`, exactly: for what is recorded, fitted to or told."""
        return self._inputs(weights, None if self.experts is None else self.experts.ensemble)

    def weighed(self, weights: Array) -> Inputs:
        """Return the inputs of `weights`, `B x d`, nearly: by the sample, where there is one, for many candidates."""
        return self._inputs(weights, None if self.experts is None else self.experts.sample or self.experts.ensemble)

    def _inputs(self, weights: Array, known: KnownLosses | None) -> Inputs:
        if known is None:
            return Inputs(weights=weights, experts=None)
        if not len(weights):
            return Inputs(weights=weights, experts=np.zeros((0, len(self.sets))))
        order = [self.names.index(name) for name in known.domains]
        columns = [known.sets.index(_covariate(name)) for name in self.sets]
        return Inputs(weights=weights, experts=known.losses(weights[:, order])[:, columns])

    def weights(self, mixtures: Sequence[Mixture]) -> Array:
        """Return the weights of `mixtures`, `B x d`."""
        return np.array([mixture.array(self.names) for mixture in mixtures]).reshape(-1, len(self.names))

    def table(self, evidence: Evidence, fidelity: str) -> Table:
        """Return the observations at the rung `fidelity` with finite losses of every set."""
        whole = [o for o in evidence.history.at(fidelity) if self._measured(o) == len(self.sets)]
        return self._table(whole, fidelity)

    def every(self, evidence: Evidence, fidelity: str) -> Table:
        """Return `table`, and after it the observations that lack some of the sets: nan there."""
        found = evidence.history.at(fidelity)
        whole = [o for o in found if self._measured(o) == len(self.sets)]
        return self._table(whole + [o for o in found if 0 < self._measured(o) < len(self.sets)], fidelity)

    @property
    def links(self) -> Links:
        """The scales on which the sets are modelled."""
        return Links.of(self.sets)

    def _measured(self, observation: Observation) -> int:
        return sum(math.isfinite(observation.losses.get(name, math.nan)) for name in self.sets)

    def _table(self, found: Sequence[Observation], fidelity: str) -> Table:
        weights = self.weights([o.mixture for o in found])
        shape = (-1, len(self.sets))
        losses = np.array([[o.losses.get(name, np.nan) for name in self.sets] for o in found]).reshape(shape)
        items = np.array([[o.items.get(name, np.nan) for name in self.sets] for o in found], dtype=float).reshape(shape)
        return Table(
            inputs=self.inputs(weights),
            losses=np.where(np.isfinite(losses), losses, np.nan),
            groups=groups(weights),
            items=items,
            passes=self.passes.get(fidelity),
            noise_sd=self.noise_sds.get(fidelity),
            stale=np.array([o.stale for o in found]),
        )


def _modelled(evidence: Evidence, problem: Problem) -> tuple[str, ...]:
    """Return the needed sets, and of the others, the most measured first, those for which no rung loses many rows."""
    needed = problem.objective.needed
    rungs = [[o.losses for o in evidence.history.at(rung.name)] for rung in problem.ladder]
    rungs = [[losses for losses in rows if _has(losses, needed)] for rows in rungs]
    found, left = set(needed), rungs
    lacking = {n: sum(not _has(losses, [n]) for rows in rungs for losses in rows) for n in problem.sets}
    for name in sorted(problem.sets, key=lacking.__getitem__):
        kept = [[losses for losses in rows if _has(losses, [name])] for rows in left]
        if all(len(some) >= MOST_ROWS * len(rows) for some, rows in zip(kept, rungs, strict=True)):
            found, left = found | {name}, kept
    return tuple(name for name in problem.sets if name in found)


def _has(losses: Mapping[str, float], names: Sequence[str]) -> bool:
    return all(math.isfinite(losses.get(name, math.nan)) for name in names)


def _covariate(name: str) -> str:
    """Return the set whose loss the experts tell of `name`: that of the right answers, of an error."""
    return name.removeprefix(ERROR)


def groups(weights: Array) -> Indices:
    """Return a number for every row of `weights`, `n x d`, the same for the same mixture."""
    if not len(weights):
        return np.zeros(0, dtype=np.intp)
    _, inverse = np.unique(np.round(weights / SAME_WEIGHT).astype(np.int64), axis=0, return_inverse=True)
    return inverse.astype(np.intp)
