"""The cells of a table of runs as numbers: what is missing, no number or out of its range goes into the audit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from mixopt.runs_table.columns import Columns
from mixopt.runs_table.faults import Audit, listed

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)


@dataclass(kw_only=True)
class Cells:
    """One reading of all cells; faults are gathered a column and told at the end, so that each is one message."""

    audit: Audit
    faults: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def number(self, text: str, *, run: str, column: str) -> float | None:
        """Return the number in a cell (NaN and infinity too), None for an empty one."""
        if not text.strip():
            return None
        try:
            return float(text)
        except ValueError:
            self._note("no number", column, f"{text.strip()!r} (run {run!r})")
            return None

    def measured(self, text: str, *, run: str, column: str) -> float | None:
        """Return a loss; None where it is missing, NaN or infinite."""
        value = self.number(text, run=run, column=column)
        if value is None or math.isfinite(value):
            return value
        self._note("not finite", column, repr(run))
        return None

    def accuracy(self, text: str, *, run: str, column: str) -> float | None:
        """Return an accuracy in [0, 1]; None where it is missing, NaN or infinite."""
        value = self.measured(text, run=run, column=column)
        if value is not None and not 0.0 <= value <= 1.0:
            self._note("outside", column, f"{value:g} (run {run!r})")
            return None
        return value

    def positive(self, text: str, *, run: str, column: str) -> float | None:
        """Return a number above 0, None for an empty cell."""
        value = self.number(text, run=run, column=column)
        if value is not None and not (value > 0.0 and math.isfinite(value)):
            self._note("not positive", column, f"{value:g} (run {run!r})")
            return None
        return value

    def count(self, text: str, *, run: str, column: str) -> int | None:
        """Return a whole number above 0, rounded, None for an empty cell."""
        value = self.positive(text, run=run, column=column)
        return None if value is None else max(1, round(value))

    def seed(self, text: str, *, run: str, column: str) -> int:
        """Return a seed; 0 for an empty cell."""
        value = self.number(text, run=run, column=column)
        if value is None:
            return 0
        if not (0.0 <= value < 2**63 and value.is_integer()):
            self._note("no seed", column, f"{text.strip()} (run {run!r})")
            return 0
        return int(text) if text.strip().isdecimal() else int(value)

    def weight(self, text: str, *, run: str, column: str) -> float:
        """Return a weight of at least 0; 0 for an empty cell."""
        value = self.number(text, run=run, column=column)
        if value is None:
            return 0.0
        if not (value >= 0.0 and math.isfinite(value)):
            self._note("no weight", column, f"{value:g} (run {run!r})")
            return 0.0
        return value + 0.0

    def cost(self, text: str, *, run: str, column: str) -> float:
        """Return a number above 0; a missing one is noted and taken as 1, for the table is refused then."""
        value = self.positive(text, run=run, column=column)
        if value is None and not text.strip():
            self._note("missing", column, repr(run))
        return 1.0 if value is None else value

    def tell(self) -> None:
        """Put the faults of all cells into the audit."""
        for (kind, column), examples in self.faults.items():
            say, words = WORDS[kind]
            say(self.audit, words.format(column=column, count=len(examples), examples=listed(examples)))

    def _note(self, kind: str, column: str, example: str) -> None:
        self.faults.setdefault((kind, column), []).append(example)


class Read(Protocol[Value_co]):
    """A method of Cells that turns the text of a cell into a value."""

    def __call__(self, text: str, *, run: str, column: str) -> Value_co:
        """Return the value of `text`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table, and how its cells are read."""

    cells: Cells
    columns: Columns
    row: Sequence[str]

    @property
    def run(self) -> str:
        """The run's id."""
        return self.text("run_id")

    def text(self, column: str) -> str:
        """Return the text of a column, "" where the table has no such column."""
        place = self.columns.plain.get(column)
        return "" if place is None else self.row[place].strip()

    def plain(self, column: str, read: Read[Value]) -> Value:
        """Return the value of a column."""
        return read(self.text(column), run=self.run, column=column)

    def group(self, group: str, read: Read[Value | None]) -> dict[str, Value]:
        """Return the values of a group of columns by name, without the missing ones."""
        found = {
            name: read(self.row[place], run=self.run, column=f"{group}/{name}")
            for name, place in self.columns.groups[group].items()
        }
        return {name: value for name, value in found.items() if value is not None}


WORDS: Mapping[str, tuple[Callable[[Audit, str], None], str]] = {
    "no number": (Audit.refuse, "{column} must be a number; got {examples}"),
    "missing": (Audit.refuse, "{column} is needed for every run; it is missing for {examples}"),
    "not positive": (Audit.refuse, "{column} must be finite and positive; got {examples}"),
    "no weight": (Audit.refuse, "{column} must be finite and at least 0; got {examples}"),
    "outside": (Audit.refuse, "{column} must lie in [0, 1], higher being better; got {examples}"),
    "not finite": (Audit.warn, "{column} is NaN or infinite in {count} runs, taken as not measured: {examples}"),
    "no seed": (Audit.warn, "{column} must be a whole number of at least 0, taken as 0: {examples}"),
}
