"""RegMix's published CSV files (github.com/sail-sg/regmix, MIT; arXiv:2407.01492) as a table of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixopt.errors import TableError
from mixopt.runs_table.cells import Cells
from mixopt.runs_table.faults import Audit, listed
from mixopt.runs_table.reading import ROUNDING, SUM_TOLERANCE, normalised, split_file
from mixopt.runs_table.values import RunsTable, TableRun

INDEX = "index"  # the column that joins a file of mixtures with its file of losses
DOMAIN = "train_the_pile_"
SET, SET_END = "metric/the_pile_", "_val_loss"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One pair of RegMix's files: the end of their names after `mixture_` and `pile_loss_`, and what they hold."""

    head: str
    size: str
    fidelity: str
    cost: float
    split: str
    parameters: int
    tokens: int

    @property
    def title(self) -> str:
        """Fidelity and split in words."""
        return f"{self.fidelity} {self.split}".strip()


# Costs are parameters in units of the largest model's; tokens as in the paper (1M and 60M models on 1B
# tokens, 1B models on 25B).
PARTS = (
    Part(head="train", size="1m", fidelity="1m", cost=0.001, split="train", parameters=10**6, tokens=10**9),
    Part(head="test", size="1m", fidelity="1m", cost=0.001, split="test", parameters=10**6, tokens=10**9),
    Part(head="test", size="60m", fidelity="60m", cost=0.06, split="", parameters=60 * 10**6, tokens=10**9),
    Part(head="test", size="1B", fidelity="1b", cost=1.0, split="", parameters=10**9, tokens=25 * 10**9),
)


def regmix(folder: Path) -> RunsTable:
    """Return RegMix's runs from the files `<head>_mixture_<size>.csv` and `<head>_pile_loss_<size>.csv` in `folder`.

    Runs are joined by the files' index, never by position; each is named `<fidelity>-<split>-<index>`.

    Raises:
        TableError: a file is missing or not as RegMix has it, or nothing could be joined.
    """
    warnings: list[str] = []
    parts = [
        part for part in PARTS if _path(folder, part, "mixture").exists() or _path(folder, part, "pile_loss").exists()
    ]
    if not parts:
        wanted = listed([_path(folder, part, "mixture").name for part in PARTS])
        raise TableError(f"{folder}: holds none of RegMix's files ({wanted}); give the folder of its CSV files")
    missing = [f"{part.head} {part.size}" for part in PARTS if part not in parts]
    if missing:
        warnings.append(f"{folder} has no files of {', '.join(missing)}")
    runs = [run for part in parts for run in _part(folder, part, warnings)]
    return RunsTable.of(runs, warnings=warnings)


def _part(folder: Path, part: Part, warnings: list[str]) -> list[TableRun]:
    """Return the runs of one pair of files; what could not be joined goes into `warnings`."""
    mixtures = _numbers(_path(folder, part, "mixture"), DOMAIN, "")
    losses = _numbers(_path(folder, part, "pile_loss"), SET, SET_END)
    alone = sorted(set(mixtures) ^ set(losses))
    if alone:
        warnings.append(f"{part.title}: left out, being in one file only: index {listed(alone)}")
    both = [index for index in mixtures if index in losses]
    if not both:
        raise TableError(f"{folder}: the files of {part.head} {part.size} have no index in common; nothing to join")
    totals = {index: math.fsum(mixtures[index].values()) for index in both}
    far = [f"{totals[index]:g} (index {index})" for index in both if abs(totals[index] - 1.0) > SUM_TOLERANCE]
    if far:
        raise TableError(
            f"{_path(folder, part, 'mixture')}: weights must sum to 1 within {SUM_TOLERANCE:g}; got {listed(far)}"
        )
    near = [total for total in totals.values() if abs(total - 1.0) > ROUNDING]
    if near:
        span = f"{min(near):g} to {max(near):g}"
        warnings.append(f"{part.title}: weights of {len(near)} runs sum to {span}, and are renormalised")
    return [
        TableRun(
            run_id="-".join(filter(None, (part.fidelity, part.split, index))),
            fidelity=part.fidelity,
            cost=part.cost,
            seed=0,
            split=part.split,
            parameters=part.parameters,
            tokens=part.tokens,
            mixture=normalised(mixtures[index]),
            losses={name: loss for name, loss in losses[index].items() if math.isfinite(loss)},
        )
        for index in both
    ]


def _numbers(path: Path, start: str, end: str) -> dict[str, dict[str, float]]:
    """Return {index: {name: number}} of a file whose columns are called `start` + name + `end`."""
    audit = Audit(name=str(path))
    header, rows = split_file(path, audit)
    cells = Cells(audit=audit)
    names = {i: c.removeprefix(start).removesuffix(end) for i, c in enumerate(header) if c.startswith(start)}
    if INDEX not in header or not names:
        raise TableError(f"{path}: is not as RegMix has it; it needs a column {INDEX!r} and columns {start}...{end}")
    place = header.index(INDEX)
    ids = [row[place].strip() for row in rows]
    twice = sorted({index for index in ids if ids.count(index) > 1})
    if twice:
        audit.refuse(f"index {listed(twice)} is there more than once; nothing can be joined by it")
    found = {index: _row(row, index, names, cells) for index, row in zip(ids, rows, strict=True)}
    cells.tell()
    audit.check()
    return found


def _row(row: Sequence[str], index: str, names: Mapping[int, str], cells: Cells) -> dict[str, float]:
    numbers = {name: cells.number(row[i], run=index, column=name) for i, name in names.items()}
    return {name: value for name, value in numbers.items() if value is not None}


def _path(folder: Path, part: Part, kind: str) -> Path:
    return folder / f"{part.head}_{kind}_{part.size}.csv"
