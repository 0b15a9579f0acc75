"""Looking after a store as a whole: whether it is sound, a copy of it in any database, and its room given back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, exists, func, insert, select
from sqlalchemy.orm import Session

from store import guards, pages
from store.engine import Connections
from store.errors import StoreUnavailable
from store.migrate import ensure_current
from store.records import OPEN_STATES
from store.schema import AttemptRow, Base, MeasurementRow, RunRow, SearchRow, TrialRow

ROWS_AT_ONCE = 2_000


@dataclass(frozen=True, kw_only=True)
class Vacuumed:
    """The bytes that a store took before and after."""

    before_bytes: int
    after_bytes: int


def check(location: str | Path) -> list[str]:
    """Return what is wrong with the store at `location`, in words with what to do; empty where it is sound."""
    connections = Connections(location, read_only=True)
    try:
        ensure_current(connections)
        with connections.read() as session:
            connection = session.connection()
            faults = [fault for test in _CHECKS for fault in test(connection)]
    finally:
        connections.close()
    return faults


def copy(source: str | Path, target: str | Path) -> dict[str, int]:
    """Copy every row of a store into a new one, of whatever database; return how many rows each table has.

    The source may be written to meanwhile: the copy is one state of it. StoreUnavailable where `target` holds a search.
    """
    old, new = Connections(source, read_only=True), Connections(target, read_only=False)
    try:
        ensure_current(old)
        ensure_current(new)
        with old.read() as reader, new.write() as writer:
            if writer.scalar(select(func.count()).select_from(SearchRow)):
                raise StoreUnavailable(f"the store {new.shown} holds searches already; give an empty place to copy to")
            counts = {t.name: _copy_table(reader.connection(), writer.connection(), t) for t in _TABLES}
            if writer.connection().dialect.name == "postgresql":
                _count_on(writer.connection())
    finally:
        old.close()
        new.close()
    return counts


def vacuum(location: str | Path) -> Vacuumed:
    """Give back the room that rows no longer take, and renew what the database knows of its tables."""
    connections = Connections(location, read_only=False)
    try:
        ensure_current(connections)
        before = connections.size_bytes()
        connections.vacuum()
        after = connections.size_bytes()
    finally:
        connections.close()
    return Vacuumed(before_bytes=before, after_bytes=after)


_TABLES = Base.metadata.sorted_tables  # those that others refer to first


def _copy_table(source: Connection, target: Connection, table: Table) -> int:
    found = source.execute(select(table).execution_options(yield_per=ROWS_AT_ONCE))
    count = 0
    for rows in found.mappings().partitions():
        target.execute(insert(table), [dict(row) for row in rows])
        count += len(rows)
    return count


def _count_on(connection: Connection) -> None:
    """Let a server go on after the highest id that was copied."""
    for table in _TABLES:
        if "id" in table.columns:
            last = connection.scalar(select(func.max(table.c.id)))
            sequence = func.pg_get_serial_sequence(table.name, "id")
            connection.execute(select(func.setval(sequence, last or 1, last is not None)))


def _damaged(connection: Connection) -> list[str]:
    if connection.dialect.name != "sqlite":
        return []
    found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
    broken = [f"table {row[0]} refers to a missing row of {row[2]}" for row in _foreign_keys(connection)]
    said = [*(found if found != ["ok"] else []), *broken]
    return [f"the file is damaged: {what}; restore it from a backup" for what in said]


def _foreign_keys(connection: Connection) -> list[Any]:
    return list(connection.exec_driver_sql("PRAGMA foreign_key_check").all())


def _unguarded(connection: Connection) -> list[str]:
    missing = guards.missing(connection)
    return [f"triggers that guard finished rows are missing: {missing}; run `mixopt db upgrade`"] if missing else []


def _unmeasured(connection: Connection) -> list[str]:
    measured = exists().where(MeasurementRow.run_id == TrialRow.run_id, MeasurementRow.part == TrialRow.part)
    query = (
        select(SearchRow.name, TrialRow.number)
        .join(SearchRow, SearchRow.id == TrialRow.search_id)
        .where(TrialRow.state == "completed", ~measured)
    )
    return [
        f"trial {number} of {name!r} is completed and measures nothing; retract it"
        for name, number in connection.execute(query)
    ]


def _unfinished(connection: Connection) -> list[str]:
    query = (
        select(SearchRow.name, TrialRow.number)
        .join(SearchRow, SearchRow.id == TrialRow.search_id)
        .join(AttemptRow, AttemptRow.trial_id == TrialRow.id)
        .where(AttemptRow.state == "running", TrialRow.state != "running")
    )
    return [
        f"trial {number} of {name!r} has a running attempt and does not run; tell us"
        for name, number in connection.execute(query)
    ]


def _mispaged(connection: Connection) -> list[str]:
    with Session(connection) as session:
        return [
            f"a page of search {page.search_id} does not say what trials {page.first} to {page.last} say; tell us"
            for page in pages.faulty(session)
        ]


_CHECKS: tuple[Callable[[Connection], list[str]], ...] = (_damaged, _unguarded, _unmeasured, _unfinished, _mispaged)


def needs(connection: Connection) -> Mapping[str, bool]:
    """Return every run by its hash, and whether a trial still waits for it or trains it."""
    waits = exists().where(TrialRow.run_id == RunRow.id, TrialRow.state.in_(OPEN_STATES))
    return {name: bool(open_) for name, open_ in connection.execute(select(RunRow.run_hash, waits))}
