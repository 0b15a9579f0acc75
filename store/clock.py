"""The time of day, as every fact in the store wears it."""

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def now() -> datetime:
    """Return this moment in UTC, aware of its time zone."""
    return datetime.now(UTC)


def moment_of(session: Session) -> datetime:
    """Return this moment by the database's clock, which drivers on several hosts share; a file has only ours."""
    if session.get_bind().dialect.name == "sqlite":
        return now()
    moment: datetime = session.scalars(select(func.clock_timestamp())).one()
    return moment.astimezone(UTC)
