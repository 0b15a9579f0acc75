"""The inbox of a search: anyone adds, the driver drains."""

from collections.abc import Mapping

from sqlalchemy import select
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


def drain(session: Session, search_id: int) -> list[Message]:
    """Return the messages that have not been drained, oldest first, and mark them."""
    require(session, search_id)
    query = select(MessageRow).where(MessageRow.search_id == search_id, MessageRow.drained_at.is_(None))
    rows = list(session.scalars(query.order_by(MessageRow.id)))
    for row in rows:
        row.drained_at = now()
    session.flush()
    return [_to_record(row) for row in rows]


def _to_record(row: MessageRow) -> Message:
    return Message(id=row.id, search_id=row.search_id, kind=row.kind, payload=row.payload, posted_at=row.posted_at)
