"""A table of runs as CSV: what reading it again returns bit for bit."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from mixopt.runs_table.values import RunsTable, TableRun

Cell = str | int | float | None
Column = Callable[[TableRun], Cell]
Field = Literal["mixture", "losses", "accuracies", "items", "available"]


def write_runs(table: RunsTable, path: Path | str) -> None:
    """Write `table` to the CSV file `path`."""
    Path(path).write_text(table_text(table), encoding="utf-8", newline="")


def table_text(table: RunsTable) -> str:
    """Return `table` as CSV; optional columns only where a run has something to say in them."""
    columns = _columns(table)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(read(run)) for read in columns.values()] for run in table.runs)
    return file.getvalue()


def _columns(table: RunsTable) -> dict[str, Column]:
    optional: dict[str, Column] = {
        "split": lambda run: run.split or None,
        "parameters": lambda run: run.parameters,
        "tokens": lambda run: run.tokens,
    }
    columns: dict[str, Column] = {
        "run_id": lambda run: run.run_id,
        "fidelity": lambda run: run.fidelity,
        "cost": lambda run: run.cost,
        "seed": lambda run: run.seed,
    }
    columns |= {name: read for name, read in optional.items() if any(read(run) is not None for run in table.runs)}
    columns |= {f"weight/{name}": _cell("mixture", name) for name in table.domains}
    columns |= {f"loss/{name}": _cell("losses", name) for name in table.loss_sets}
    columns |= {f"accuracy/{name}": _cell("accuracies", name) for name in table.accuracy_sets}
    columns |= {
        f"items/{name}": _cell("items", name)
        for name in table.accuracy_sets
        if any(name in run.items for run in table.runs)
    }
    columns |= {
        f"available/{name}": _cell("available", name)
        for name in table.domains
        if any(name in run.available for run in table.runs)
    }
    return columns


def _cell(field: Field, name: str) -> Column:
    """Return how a run's cell of a group of columns is read; a weight that it does not name is 0."""

    def read(run: TableRun) -> Cell:
        cells: Mapping[str, float] = getattr(run, field)
        return cells.get(name, 0.0 if field == "mixture" else None)

    return read


def _text(cell: Cell) -> str:
    """Return a cell as text; a float as the shortest that reads back the same."""
    return "" if cell is None else repr(cell) if isinstance(cell, float) else str(cell)
