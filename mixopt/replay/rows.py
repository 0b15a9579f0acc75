"""Which rows of a table a replay may learn from, and which it is scored on."""

from dataclasses import dataclass

import numpy as np

from mixopt.errors import ReplayError
from mixopt.objective import Objective, shown_set
from mixopt.optimize.encoding import Array, Indices
from mixopt.runs_table import RunsTable

GRAMMAR = "FIDELITY, FIDELITY:SPLIT or either with @ROWS"


@dataclass(frozen=True, kw_only=True)
class RowChoice:
    """Rows of one fidelity; split: of one split only (None: of all); count: so many at random (None: all)."""

    fidelity: str
    split: str | None = None
    count: int | None = None

    @classmethod
    def parse(cls, text: str, table: RunsTable) -> "RowChoice":
        """Return the choice that `text` words; a fidelity may itself contain a colon or an at sign."""
        if text in table.fidelities:
            return cls(fidelity=text)
        rest, at, digits = text.rpartition("@")
        if at and not digits.isdecimal():
            raise ReplayError(f"rows are chosen as {GRAMMAR}, ROWS a count; got {text!r}")
        count = int(digits) if at else None
        rest = rest if at else text
        if rest in table.fidelities:
            return cls(fidelity=rest, count=count)
        fidelity, colon, split = rest.rpartition(":")
        if not colon or fidelity not in table.fidelities:
            raise ReplayError(f"no fidelity is named {rest!r}; the table has {list(table.fidelities)}")
        return cls(fidelity=fidelity, split=split, count=count)

    def places(self, table: RunsTable, truth: Array) -> Indices:
        """Return the places of all rows meant that measured the objective (`truth`, `n`, is finite), `count` aside."""
        rows = table.rows(self.fidelity, self.split)
        return rows[np.isfinite(truth[rows])]

    def draw(self, table: RunsTable, truth: Array, rng: np.random.Generator) -> Indices:
        """Return the rows meant, in random order, cut to `count`; ReplayError where there are fewer."""
        rows = self.places(table, truth)
        if self.count is not None and self.count > len(rows):
            raise ReplayError(f"{self.words} has {len(rows)} rows that measured the objective; asked for {self.count}")
        return rng.permutation(rows)[: self.count]

    def lacking(self, table: RunsTable, objective: Objective) -> str | None:
        """Return how many of the rows meant lack sets of the objective, and which; None where none does."""
        rows = table.rows(self.fidelity, self.split)
        names = [table.set_named(name) for name in objective.sets]
        absent = ~np.isfinite(table.values[rows][:, [table.sets.index(name) for name in names]])
        if not absent.any():
            return None
        counts = zip(names, absent.sum(0), strict=True)
        told = ", ".join(f"{shown_set(name)} is missing in {count}" for name, count in counts if count)
        return f"{self.words}: {absent.any(1).sum()} of {len(rows)} rows are left out for sets of the objective: {told}"

    @property
    def words(self) -> str:
        """The fidelity, with the split where one is meant."""
        return self.fidelity if self.split is None else f"{self.fidelity}:{self.split}"
