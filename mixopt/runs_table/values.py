"""A table of finished runs, possibly of several fidelities, as frozen values.

Shapes: n rows, d domains, m evaluation sets. Losses keep the unit of the table; an accuracy counts as the share of
wrong answers, 1 - accuracy, under the name `error/<set>`, so that less is better everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import TableError
from mixopt.evidence import Failure, Observation
from mixopt.fidelity import Fidelity, Ladder
from mixopt.mixture import Domain, Mixture
from mixopt.objective import ACCURACY, ERROR, Objective, error_items, minimized
from mixopt.problem import Problem
from mixopt.space import SearchSpace

UNKNOWN = 1  # parameters and tokens of a fidelity that the table does not tell
AMPLE = 10**15  # tokens of every domain where the table tells none: no training repeats any of them
STEP = 1e-6  # by which the second of two fidelities of one cost is made the dearer one


@dataclass(frozen=True, kw_only=True)
class TableRun:
    """One finished run: what was trained at which cost, and what was measured (nothing: it diverged).

    cost: in the unit of the table. split: "" where the table has none. items: questions behind an accuracy.
    parameters, tokens: of the fidelity, None where the table does not tell. available: tokens that each domain has.
    """

    run_id: str
    fidelity: str
    cost: float
    seed: int
    mixture: Mixture
    split: str = ""
    losses: Mapping[str, float] = field(default_factory=dict)
    accuracies: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, int] = field(default_factory=dict)
    parameters: int | None = None
    tokens: int | None = None
    available: Mapping[str, int] = field(default_factory=dict)

    @property
    def measured(self) -> Mapping[str, float]:
        """Losses, and the errors of accuracies under `error/<set>`."""
        return minimized(self.losses, self.accuracies)


@dataclass(frozen=True, kw_only=True)
class RunsTable:
    """Runs with ids of their own, over the same domains; `warnings` tell what was mended when the table was read."""

    runs: tuple[TableRun, ...]
    domains: tuple[str, ...]
    loss_sets: tuple[str, ...]
    accuracy_sets: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.runs or not self.domains or not self.sets:
            got = f"{len(self.runs)} runs, {len(self.domains)} domains and {len(self.sets)} evaluation sets"
            raise TableError(f"a table needs runs, domains and evaluation sets; got {got}")
        if len({run.run_id for run in self.runs}) < len(self.runs):
            raise TableError("every run of a table needs a run_id of its own; some are there twice")

    @classmethod
    def of(cls, runs: Iterable[TableRun], *, warnings: Sequence[str] = ()) -> RunsTable:
        """Return the table of `runs`, with the domains and sets in the order in which they come up."""
        kept = tuple(runs)
        return cls(
            runs=kept,
            domains=tuple(dict.fromkeys(name for run in kept for name in run.mixture)),
            loss_sets=tuple(dict.fromkeys(name for run in kept for name in run.losses)),
            accuracy_sets=tuple(dict.fromkeys(name for run in kept for name in run.accuracies)),
            warnings=tuple(warnings),
        )

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def sets(self) -> tuple[str, ...]:
        """The evaluation sets: those of losses, then `error/<set>` of those of accuracies."""
        return (*self.loss_sets, *(ERROR + name for name in self.accuracy_sets))

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The weights, `n x d`, in the order of `domains`."""
        return np.array([run.mixture.array(self.domains) for run in self.runs])

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """What was measured, `n x m`, in the order of `sets`; NaN where nothing was."""
        measured = [run.measured for run in self.runs]
        return np.array([[row.get(name, math.nan) for name in self.sets] for row in measured])

    @cached_property
    def ladder(self) -> Ladder:
        """All fidelities by their median cost; equal costs are told apart by parameters, tokens and order."""
        names = dict.fromkeys(run.fidelity for run in self.runs)
        found = [_fidelity(name, [run for run in self.runs if run.fidelity == name]) for name in names]
        rungs: list[Fidelity] = []
        for rung in sorted(found, key=lambda rung: (rung.cost_flops, rung.parameters, rung.tokens)):
            least = rungs[-1].cost_flops * (1.0 + STEP) if rungs else 0.0
            cost = max(rung.cost_flops, least)
            rungs.append(Fidelity(name=rung.name, tokens=rung.tokens, parameters=rung.parameters, cost_flops=cost))
        return Ladder(rungs=tuple(rungs))

    @property
    def fidelities(self) -> tuple[str, ...]:
        """The names of the fidelities, the cheapest first."""
        return tuple(rung.name for rung in self.ladder)

    def rows(self, fidelity: str, split: str | None = None) -> NDArray[np.intp]:
        """Return the places of the runs at `fidelity`, of one split or (None) all; TableError where none is."""
        if fidelity not in self.fidelities:
            raise TableError(f"no fidelity is named {fidelity!r}; the table has {list(self.fidelities)}")
        found = [i for i, r in enumerate(self.runs) if r.fidelity == fidelity and split in (None, r.split)]
        if not found:
            known = sorted({run.split for run in self.runs if run.fidelity == fidelity} - {""})
            raise TableError(f"fidelity {fidelity!r} has no split {split!r}; it has {known or 'none at all'}")
        return np.array(found, dtype=np.intp)

    def mean(self) -> Objective:
        """Return the objective that is the plain mean of all losses, or of all errors where there are no losses."""
        return Objective(dict.fromkeys(self.loss_sets or self.sets, 1.0))

    def set_named(self, name: str) -> str:
        """Return the evaluation set that a user means: `NAME` of a loss or else of an accuracy, or `accuracy/NAME`."""
        bare = name.removeprefix(ACCURACY)
        known = {ERROR + bare} if bare != name else {name, name.removeprefix("loss/"), ERROR + name}
        found = next((one for one in self.sets if one in known), None)
        if found is None:
            raise TableError(f"no evaluation set is named {name!r}; the table has {list(self.sets)}")
        return found

    def truth(self, objective: Objective) -> NDArray[np.float64]:
        """Return what each run measured of `objective`, `n`; NaN where a set that counts was not measured."""
        columns = [self.sets.index(self.set_named(name)) for name in objective.sets]
        return objective.of_array(self.values[:, columns], objective.sets)

    def available(self, fidelity: str) -> dict[str, int]:
        """Return how many tokens each domain has at `fidelity`; empty where the table does not tell of all domains."""
        runs = [run for run in self.runs if run.fidelity == fidelity]
        counts = {n: [run.available[n] for run in runs if n in run.available] for n in self.domains}
        return {n: max(found) for n, found in counts.items()} if all(counts.values()) else {}

    def problem(self, objective: Objective, top: str | None = None, *, only: Collection[str] | None = None) -> Problem:
        """Return the search for the whole simplex's best mixture at the fidelity `top` (None: the dearest).

        The ladder has `top` and what is cheaper; of these, the fidelities in `only` and `top` (None: all). Where
        the table tells no tokens of the domains, natural is uniform and every domain has AMPLE of them; where it tells
        no parameters or tokens of a fidelity, they are UNKNOWN.
        """
        last = self.ladder.top if top is None else self.ladder[self.fidelities[self._place(top)]]
        below = [
            rung for rung in self.ladder if rung.cost_flops < last.cost_flops and (only is None or rung.name in only)
        ]
        available = self.available(last.name)
        tokens = available or dict.fromkeys(self.domains, AMPLE)
        return Problem(
            space=SearchSpace(domains=tuple(Domain(name=n, available_tokens=available.get(n)) for n in self.domains)),
            ladder=Ladder(rungs=(*below, last)),
            objective=objective,
            sets=self.sets,
            natural=Mixture.proportional({name: float(count) for name, count in tokens.items()}),
            available_tokens=tokens,
            pools={
                r.name: self.available(r.name) for r in (*below, last) if self.available(r.name) and r.tokens > UNKNOWN
            },
        )

    def observations(self, rows: Iterable[int]) -> tuple[Observation, ...]:
        """Return the runs in the places `rows` that measured anything; the place is the trial's number."""
        return tuple(
            Observation(
                trial=int(i),
                mixture=self.runs[i].mixture,
                fidelity=self.runs[i].fidelity,
                seed=self.runs[i].seed,
                losses=self.runs[i].measured,
                cost_flops=self.runs[i].cost,
                items=error_items(self.runs[i].items),
            )
            for i in rows
            if self.runs[i].measured
        )

    def failures(self, rows: Iterable[int]) -> tuple[Failure, ...]:
        """Return the runs in the places `rows` that measured nothing, as diverged."""
        return tuple(
            Failure(trial=int(i), mixture=self.runs[i].mixture, fidelity=self.runs[i].fidelity, kind="diverged")
            for i in rows
            if not self.runs[i].measured
        )

    def _place(self, fidelity: str) -> int:
        self.rows(fidelity)
        return self.fidelities.index(fidelity)


def _fidelity(name: str, runs: Sequence[TableRun]) -> Fidelity:
    return Fidelity(
        name=name,
        tokens=_middle([run.tokens for run in runs]),
        parameters=_middle([run.parameters for run in runs]),
        cost_flops=median(run.cost for run in runs),
    )


def _middle(counts: Sequence[int | None]) -> int:
    known = [count for count in counts if count is not None]
    return round(median(known)) if known else UNKNOWN
