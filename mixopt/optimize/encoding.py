"""Mixtures and evidence to arrays, rung by rung, and back.

Shapes: n observations, d domains, m evaluation sets, B mixtures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixopt.evidence import Evidence, MixtureLosses
from mixopt.mixture import Mixture
from mixopt.problem import Problem

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

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
    """The observations at one rung: `inputs` of `n` rows, `losses` `n x m`, `groups` `n`: equal for equal mixtures."""

    inputs: Inputs
    losses: Array
    groups: Indices

    @property
    def distinct(self) -> int:
        """How many different mixtures there are."""
        return len(np.unique(self.groups))


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Domains in the space's order, and the evaluation sets that every observation used here has measured."""

    names: tuple[str, ...]
    sets: tuple[str, ...]
    ensemble: MixtureLosses | None

    @classmethod
    def of(cls, evidence: Evidence, problem: Problem) -> "Encoding":
        """Return the encoding of `evidence`: all sets of the objective, and others that were measured throughout."""
        rows = [o.losses for o in evidence.history.observations if o.fidelity in problem.ladder]
        rows = [losses for losses in rows if all(name in losses for name in problem.objective.sets)]
        needed = set(problem.objective.sets)
        sets = tuple(name for name in problem.sets if name in needed or all(name in losses for losses in rows))
        ensemble = evidence.ensemble
        if ensemble is not None and not (
            set(sets) <= set(ensemble.sets) and set(ensemble.domains) == set(problem.space.names)
        ):
            ensemble = None
        return cls(names=problem.space.names, sets=sets, ensemble=ensemble)

    def inputs(self, weights: Array) -> Inputs:
        """Return the inputs of `weights`, `B x d`."""
        if self.ensemble is None or not len(weights):
            experts = None if self.ensemble is None else np.zeros((0, len(self.sets)))
            return Inputs(weights=weights, experts=experts)
        order = [self.names.index(name) for name in self.ensemble.domains]
        columns = [self.ensemble.sets.index(name) for name in self.sets]
        return Inputs(weights=weights, experts=self.ensemble.losses(weights[:, order])[:, columns])

    def weights(self, mixtures: Sequence[Mixture]) -> Array:
        """Return the weights of `mixtures`, `B x d`."""
        return np.array([mixture.array(self.names) for mixture in mixtures]).reshape(-1, len(self.names))

    def table(self, evidence: Evidence, fidelity: str) -> Table:
        """Return the observations at the rung `fidelity` with finite losses of every set."""
        found = [
            o for o in evidence.history.at(fidelity) if all(np.isfinite(o.losses.get(s, np.nan)) for s in self.sets)
        ]
        weights = self.weights([o.mixture for o in found])
        losses = np.array([[o.losses[name] for name in self.sets] for o in found]).reshape(-1, len(self.sets))
        return Table(inputs=self.inputs(weights), losses=losses, groups=groups(weights))


def groups(weights: Array) -> Indices:
    """Return a number for every row of `weights`, `n x d`, the same for the same mixture."""
    if not len(weights):
        return np.zeros(0, dtype=np.intp)
    _, inverse = np.unique(np.round(weights / SAME_WEIGHT).astype(np.int64), axis=0, return_inverse=True)
    return inverse.astype(np.intp)
