"""The time of day, as every fact in the store wears it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return this moment in UTC, aware of its time zone."""
    return datetime.now(UTC)
