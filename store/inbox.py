"""The inbox of a search: anyone adds, the driver does what it says and marks it drained."""

from collections.abc import Mapping

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from store.clock import now
from store.plain import named, plain_mapping
from store.records import Message
from store.schema import MessageRow
from store.searches import require


def post(session: Session, search_id: int, kind: str, payload: Mapping[str, object]) -> Message:
    """Leave a message for the driver of a search."""
    require(session, search_id)
    row = MessageRow(
        search_id=search_id,
        kind=named(kind, what="the kind of a message"),
        payload=plain_mapping(payload, what="payload"),
        posted_at=now(),
    )
    session.add(row)
    session.flush()
    return _to_record(row)


def waiting(session: Session, search_id: int) -> list[Message]:
    """Return the messages that have not been drained, oldest first."""
    require(session, search_id)
    query = select(MessageRow).where(MessageRow.search_id == search_id, MessageRow.drained_at.is_(None))
    return [_to_record(row) for row in session.scalars(query.order_by(MessageRow.id))]


def mark_drained(session: Session, message_id: int) -> None:
    """Record that the driver has done what a message says."""
    undrained = (MessageRow.id == message_id, MessageRow.drained_at.is_(None))
    session.execute(update(MessageRow).where(*undrained).values(drained_at=now()))


def _to_record(row: MessageRow) -> Message:
    return Message(id=row.id, search_id=row.search_id, kind=row.kind, payload=row.payload, posted_at=row.posted_at)
