"""From a CSV file to a table of runs, every fault named: mended and said, or refused in one line."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from mixopt.errors import TableError
from mixopt.mixture import Mixture
from mixopt.objective import ERROR
from mixopt.runs_table.cells import Cells, Line
from mixopt.runs_table.columns import Columns
from mixopt.runs_table.faults import Audit, listed
from mixopt.runs_table.values import RunsTable, TableRun

SUM_TOLERANCE = 0.01  # weights written to three digits miss 1 by up to 0.004 (17 domains); beyond, a domain is missing
ROUNDING = 1e-6  # below this a sum is 1 but for the digits that were written

Row = list[str]


def read_runs(path: Path | str) -> RunsTable:
    """Return the table of the CSV file `path`.

    Rows whose weights sum to one within SUM_TOLERANCE are renormalised; `warnings` says what else was mended.

    Raises:
        TableError: one line with every fault that makes the table unusable.
    """
    audit = Audit(name=str(path))
    header, rows = split_file(Path(path), audit)
    columns = Columns.of(header, audit)
    audit.check()
    rows = _distinct(rows, columns, audit)
    runs = _runs(rows, columns, audit)
    _audit_table(runs, columns, audit)
    return RunsTable(
        runs=tuple(runs),
        domains=columns.domains,
        loss_sets=tuple(n for n in columns.groups["loss"] if any(n in run.losses for run in runs)),
        accuracy_sets=tuple(n for n in columns.groups["accuracy"] if any(n in run.accuracies for run in runs)),
        warnings=tuple(audit.mended),
    )


def split_file(path: Path, audit: Audit) -> tuple[Row, list[Row]]:
    """Return header and rows of a CSV file; TableError where it cannot be read or holds no rows."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise TableError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as CSV in UTF-8: {error}") from None
    if len(rows) < 2:
        raise TableError(f"{path}: holds no runs; a table has a header and a row for each run")
    ragged = [f"row {i}" for i, row in enumerate(rows[1:], start=2) if len(row) != len(rows[0])]
    if ragged:
        audit.refuse(f"{listed(ragged)} have more or fewer cells than the header's {len(rows[0])}")
        audit.check()
    return rows[0], rows[1:]


def _distinct(rows: Sequence[Row], columns: Columns, audit: Audit) -> list[Row]:
    """Return `rows` with each run once: a repeated row is left out, one id for different runs is a fault."""
    place = columns.plain["run_id"]
    kept: dict[str, Row] = {}
    same: list[str] = []
    other: list[str] = []
    for row in rows:
        run_id = row[place].strip()
        if run_id in kept:
            (same if kept[run_id] == row else other).append(repr(run_id))
        kept.setdefault(run_id, row)
    if same:
        audit.warn(f"rows are there twice, and kept once: run_id {listed(same)}")
    if other:
        audit.refuse(f"run_id {listed(other)} stands for different runs; give every run an id of its own")
    nameless = [name for name in ("run_id", "fidelity") if any(not row[columns.plain[name]].strip() for row in rows)]
    if nameless:
        audit.refuse(f"{' and '.join(nameless)} must be there for every run; it is empty in some")
    audit.check()
    _audit_copies(kept, place, audit)
    return list(kept.values())


def _audit_copies(rows: Mapping[str, Row], place: int, audit: Audit) -> None:
    """Say which runs are copies of others under another id; they are kept, for they may be true replicates."""
    first: dict[tuple[str, ...], str] = {}
    copies = []
    for run_id, row in rows.items():
        same = first.setdefault((*row[:place], *row[place + 1 :]), run_id)
        if same != run_id:
            copies.append(f"{run_id!r} of {same!r}")
    if copies:
        audit.warn(f"{len(copies)} runs are copies of others in everything but run_id, seed included: {listed(copies)}")


def _runs(rows: Sequence[Row], columns: Columns, audit: Audit) -> list[TableRun]:
    """Return the runs of `rows`; TableError where a cell or a sum makes the table unusable."""
    cells = Cells(audit=audit)
    totals: dict[str, float] = {}
    runs = [_run(Line(cells=cells, columns=columns, row=row), totals) for row in rows]
    cells.tell()
    _audit_totals(totals, audit)
    audit.check()
    return [run for run in runs if run is not None]


def _run(line: Line, totals: dict[str, float]) -> TableRun | None:
    """Return the run of a line, None where its weights are no mixture; their sum goes into `totals`."""
    cells = line.cells
    weights = line.group("weight", cells.weight)
    total = totals[line.run] = math.fsum(weights.values())
    accuracies = line.group("accuracy", cells.accuracy)
    run = TableRun(
        run_id=line.run,
        fidelity=line.text("fidelity"),
        cost=line.plain("cost", cells.cost),
        seed=line.plain("seed", cells.seed),
        mixture=normalised(weights) if total > 0.0 else Mixture(dict.fromkeys(weights, 1.0 / len(weights))),
        split=line.text("split"),
        losses=line.group("loss", cells.measured),
        accuracies=accuracies,
        items={name: n for name, n in line.group("items", cells.count).items() if name in accuracies},
        parameters=line.plain("parameters", cells.count),
        tokens=line.plain("tokens", cells.count),
        available={name: n for name, n in line.group("available", cells.count).items() if name in weights},
    )
    return run if abs(total - 1.0) <= SUM_TOLERANCE else None


def normalised(weights: Mapping[str, float]) -> Mixture:
    """Return the mixture of weights divided by their sum; one within float error is kept bit for bit."""
    total = math.fsum(weights.values())
    return Mixture({n: w / total for n, w in weights.items()} if abs(total - 1.0) > ROUNDING else dict(weights))


def _audit_totals(totals: Mapping[str, float], audit: Audit) -> None:
    """Say which weights did not sum to one: renormalised, or so far off that something else is wrong."""
    far = [f"{total:.6g} (run {run!r})" for run, total in totals.items() if abs(total - 1.0) > SUM_TOLERANCE]
    if far:
        advice = "add the missing domains, or divide by the sum"
        audit.refuse(f"weights must sum to 1 within {SUM_TOLERANCE:g}; got {listed(far)}; {advice}")
    near = {run: total for run, total in totals.items() if ROUNDING < abs(total - 1.0) <= SUM_TOLERANCE}
    if near:
        span = f"{min(near.values()):.6g} to {max(near.values()):.6g}"
        runs = listed([repr(run) for run in near])
        audit.warn(f"weights of {len(near)} runs sum to {span} and not to 1, and are renormalised: {runs}")


def _audit_table(runs: Sequence[TableRun], columns: Columns, audit: Audit) -> None:
    """Say what the table as a whole lacks."""
    fidelities = {run.fidelity: [r for r in runs if r.fidelity == run.fidelity] for run in runs}
    if len(fidelities) == 1:
        audit.warn(f"there is a single fidelity, {next(iter(fidelities))!r}: nothing cheaper to learn from")
    d = len(columns.domains)
    if len(runs) < d:
        audit.warn(f"there are fewer runs ({len(runs)}) than domains ({d}): what they tell of single domains is little")
    unused = [name for name in columns.domains if not any(run.mixture[name] > 0.0 for run in runs)]
    if unused:
        audit.warn(f"no run has any of {listed(unused)}: nothing is known of these domains")
    empty = [repr(run.run_id) for run in runs if not run.measured]
    if len(empty) == len(runs):
        audit.refuse("no run measured anything; fill in losses or accuracies")
        audit.check()
    if empty:
        audit.warn(f"runs without any measurement count as diverged: {listed(empty)}")
    measured = {name for run in runs for name in run.measured}
    sets = [
        f"{group}/{name}"
        for group, head in (("loss", ""), ("accuracy", ERROR))
        for name in columns.groups[group]
        if head + name not in measured
    ]
    if sets:
        audit.warn(f"nobody measured {listed(sets)}: left out")
    for name in ("parameters", "tokens"):
        varied = [repr(f) for f, mine in fidelities.items() if len({getattr(run, name) for run in mine}) > 1]
        if varied:
            audit.warn(f"{name} vary within {listed(varied)}: the median stands for the fidelity")
    _audit_costs(fidelities, audit)


def _audit_costs(fidelities: Mapping[str, Sequence[TableRun]], audit: Audit) -> None:
    costs = {name: median(run.cost for run in runs) for name, runs in fidelities.items()}
    same = [repr(name) for name, cost in costs.items() if sum(cost == other for other in costs.values()) > 1]
    if same:
        audit.warn(f"fidelities {listed(same)} cost the same, and are ordered by parameters and tokens")
