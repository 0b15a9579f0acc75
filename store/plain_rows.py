"""Rows of very long tables, as plain tuples."""

from collections.abc import Iterator
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
