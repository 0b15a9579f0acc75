"""Leases: one driver writes a search at a time, and a dead one does not block it for ever."""

import os
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.clock import moment_of
from store.errors import LeaseHeld, LeaseLost
from store.plain import named, not_negative
from store.records import Lease
from store.schema import AttemptRow, LeaseRow, TrialRow
from store.searches import require


def acquire(session: Session, search_id: int, *, owner: str, host: str, pid: int, ttl_s: float) -> Lease:
    """Take the lease of a search, also from a holder whose time is over or who died on `host`; else raise LeaseHeld."""
    require(session, search_id)
    named(owner, what="the owner of a lease")
    row = session.get(LeaseRow, search_id)
    moment = moment_of(session)
    if row is not None and row.owner != owner and _is_held(row, moment) and not _is_dead(row, host=host):
        raise LeaseHeld(
            f"the search is run by process {row.pid} on {row.host} since {row.acquired_at:%Y-%m-%d %H:%M:%S} UTC, "
            f"last heard of {max(0.0, (moment - row.renewed_at).total_seconds()):.0f} s ago; wait for that process or "
            f"end it, then run again (one not heard of for {(row.expires_at - row.renewed_at).total_seconds():.0f} s "
            "is taken for dead)"
        )
    row = LeaseRow(search_id=search_id) if row is None else row
    if row.owner != owner:
        row.owner, row.acquired_at = owner, moment
    row.host, row.pid, row.renewed_at = host, pid, moment
    row.expires_at = moment + _ttl(ttl_s)
    session.add(row)
    session.flush()
    return _to_record(row)


def renew(session: Session, search_id: int, *, owner: str, ttl_s: float) -> Lease:
    """Hold the lease for `ttl_s` more, and mark the running attempts as alive; LeaseLost where it is not `owner`'s."""
    require(session, search_id)
    row = session.get(LeaseRow, search_id)
    if row is None or row.owner != owner:
        holder = "nobody" if row is None else f"process {row.pid} on {row.host}"
        raise LeaseLost(f"this driver no longer holds the search, {holder} does; stop, and run again to resume")
    moment = moment_of(session)
    row.renewed_at, row.expires_at = moment, moment + _ttl(ttl_s)
    session.flush()
    mine = select(TrialRow.id).where(TrialRow.search_id == search_id, TrialRow.state == "running")
    session.execute(
        update(AttemptRow).where(AttemptRow.trial_id.in_(mine), AttemptRow.state == "running").values(seen_at=moment)
    )
    return _to_record(row)


def confirm(session: Session, search_id: int, *, owner: str) -> None:
    """Raise LeaseLost where the lease is not `owner`'s any more."""
    holder = session.scalar(select(LeaseRow.owner).where(LeaseRow.search_id == search_id))
    if holder != owner:
        raise LeaseLost("this driver no longer holds the search, and wrote nothing; stop, and run again to resume")


def release(session: Session, search_id: int, *, owner: str) -> None:
    """Give the lease back; nothing happens where it is not `owner`'s."""
    session.execute(delete(LeaseRow).where(LeaseRow.search_id == search_id, LeaseRow.owner == owner))


def get(session: Session, search_id: int) -> Lease | None:
    """Return the lease of a search, expired or not; None where nobody has one."""
    require(session, search_id)
    row = session.get(LeaseRow, search_id)
    return None if row is None else _to_record(row)


def _is_held(row: LeaseRow, moment: datetime) -> bool:
    """Say whether a lease is in its time.

    One renewed in the future, by as much as it lasts, is not: the clock has jumped back. Were its holder alive,
    `confirm` would keep it from writing.
    """
    return row.renewed_at - (row.expires_at - row.renewed_at) <= moment < row.expires_at


def _is_dead(row: LeaseRow, *, host: str) -> bool:
    """Say whether the holder was a process of this host that is gone; of other hosts nothing is known."""
    if row.host != host:
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _ttl(ttl_s: float) -> timedelta:
    return timedelta(seconds=not_negative(ttl_s, what="ttl_s"))


def _to_record(row: LeaseRow) -> Lease:
    return Lease(
        search_id=row.search_id,
        owner=row.owner,
        host=row.host,
        pid=row.pid,
        acquired_at=row.acquired_at,
        renewed_at=row.renewed_at,
        expires_at=row.expires_at,
    )
