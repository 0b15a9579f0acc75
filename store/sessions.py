"""Driver sessions: who ran a search when, with what software, on what machine and text."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.clock import now
from store.plain import plain_mapping
from store.records import DriverSession
from store.schema import SessionRow
from store.searches import require


def add(session: Session, search_id: int, *, provenance: Mapping[str, object]) -> None:
    """Record that a driver begins."""
    require(session, search_id)
    plain = plain_mapping(provenance, what="provenance")
    session.add(SessionRow(search_id=search_id, provenance=plain, started_at=now()))
    session.flush()


def read(session: Session, search_id: int) -> list[DriverSession]:
    """Return the sessions of a search, oldest first."""
    require(session, search_id)
    query = select(SessionRow).where(SessionRow.search_id == search_id).order_by(SessionRow.id)
    return [
        DriverSession(search_id=row.search_id, provenance=row.provenance, started_at=row.started_at)
        for row in session.scalars(query)
    ]
