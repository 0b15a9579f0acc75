"""Rows of very long tables, as plain tuples."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import Row, Select
from sqlalchemy.orm import Session

AT_ONCE = 2_000


def rows(session: Session, query: Select[*tuple[Any, ...]]) -> Iterator[Row[*tuple[Any, ...]]]:
    """Yield what `query` finds, some rows at a time.

    To look each up as an object of the session takes most of the time, and while all are held Python looks them
    through for garbage, again and again.
    """
    yield from session.connection().execute(query.execution_options(yield_per=AT_ONCE))


def raw_rows(session: Session, query: Select[*tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Return what `query` finds as the database's driver gives it: for columns of numbers and text alone.

    A third quicker than `rows`, which is what very long tables of few columns take most of their time for.
    """
    cursor = session.connection().execute(query).cursor
    assert cursor is not None
    return chain.from_iterable(iter(partial(cursor.fetchmany, AT_ONCE), []))


def raw_columns(session: Session, query: Select[*tuple[Any, ...]]) -> list[list[Any]]:
    """Return what `raw_rows` finds by columns."""
    cursor = session.connection().execute(query).cursor
    assert cursor is not None
    found: list[list[Any]] = [[] for _ in cursor.description]
    for some in iter(partial(cursor.fetchmany, AT_ONCE), []):
        for column, values in zip(found, zip(*some, strict=True), strict=True):
            column.extend(values)
    return found


@contextmanager
def without_sweeps() -> Iterator[None]:
    """Do not look for garbage meanwhile: what is built of very many rows is none, and to look it through takes longer.

    Reference counts free as ever what leaves no cycles behind.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
