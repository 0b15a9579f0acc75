"""Retractions: a wrong result is never changed, but taken back by a row of its own; whatever reads it follows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, select, update
from sqlalchemy.orm import Session

from store.clock import now
from store.errors import NotInStore, TrialStateError
from store.plain import named
from store.records import FAILED, OPEN_STATES, OUTDATED, RETRACTED, Retraction
from store.schema import OutdatedRow, RetractionRow, RunRow, TrialRow
from store.searches import reopen, require, touch

RETRACTABLE = ("completed", *FAILED)
EXPERTS = "experts"  # of a run's content: by domain the runs that its training starts from, where it starts from any


def add(session: Session, trial_id: int, *, reason: str) -> list[int]:
    """Take a finished trial back, and return the ids of all trials that fall with it.

    What a run measured is wrong for every trial that rests on it, or on a run that started from it, in every search; a
    failure is the trial's own. Trials that still wait for such a run, or train it, are given a new one of the same
    content; where that starts from what was taken back, they fall as they end (`follow`).
    """
    row = session.execute(select(TrialRow.state, TrialRow.number, TrialRow.run_id).where(TrialRow.id == trial_id))
    found = row.one_or_none()
    if found is None:
        raise NotInStore(f"the store has no trial with id {trial_id}; read the trials of the search again")
    if found.state not in RETRACTABLE:
        raise TrialStateError(
            f"trial {found.number} is {found.state}; only {', '.join(RETRACTABLE)} ones are retracted"
        )
    if session.get(RetractionRow, trial_id) is not None:
        raise TrialStateError(f"trial {found.number} is retracted already; there is nothing more to do")
    runs = [found.run_id, *_started_from(session, found.run_id)] if found.state == "completed" else []
    rests = TrialRow.run_id.in_(runs) if runs else TrialRow.id == trial_id
    falls = (rests, TrialRow.state == found.state, ~is_retracted())
    ids = list(session.scalars(select(TrialRow.id).where(*falls)))
    moment = now()
    named(reason, what="the reason of a retraction")
    session.add_all(RetractionRow(trial_id=each, reason=reason, retracted_at=moment) for each in ids)
    session.flush()
    for search_id in _mark(session, ids):
        reopen(session, search_id)
    for run_id in runs:
        _move_open(session, run_id)
    return ids


def follow(session: Session, trial_id: int) -> None:
    """Take back a trial that has ended where its training started from a run that was taken back meanwhile."""
    content = session.scalars(select(RunRow.content).join(TrialRow).where(TrialRow.id == trial_id)).one()
    if not (began := _experts(content)):
        return
    theirs = select(TrialRow.number).join(RunRow).where(RunRow.run_hash.in_(began), is_retracted())
    number = session.scalar(theirs.limit(1))
    if number is not None:
        add(session, trial_id, reason=f"it started from the data expert of trial {number}, which was taken back")


def read(session: Session, search_id: int) -> list[Retraction]:
    """Return the retractions of a search by trial."""
    require(session, search_id)
    query = (
        select(RetractionRow, TrialRow.number)
        .join(TrialRow, TrialRow.id == RetractionRow.trial_id)
        .where(TrialRow.search_id == search_id)
        .order_by(TrialRow.number)
    )
    return [
        Retraction(trial_id=row.trial_id, number=number, reason=row.reason, retracted_at=row.retracted_at)
        for row, number in session.execute(query)
    ]


def is_retracted() -> ColumnElement[bool]:
    """Return the condition that a trial was taken back."""
    return select(RetractionRow.trial_id).where(RetractionRow.trial_id == TrialRow.id).correlate(TrialRow).exists()


def is_outdated() -> ColumnElement[bool]:
    """Return the condition that a trial that has ended weighs a domain which is no more."""
    marked = select(OutdatedRow.trial_id).where(OutdatedRow.trial_id == TrialRow.id).correlate(TrialRow).exists()
    return and_(TrialRow.state.in_(RETRACTABLE), marked)


def shown_state() -> ColumnElement[str]:
    """Return the state of a trial as it reads."""
    return case((is_retracted(), RETRACTED), (is_outdated(), OUTDATED), else_=TrialRow.state)


def run_id_of(session: Session, run_hash: str, content: Mapping[str, Any]) -> int | None:
    """Return the id of the run named `run_hash`, or of what took its place; None where it is yet to be added.

    A run that was taken back is followed by `run_hash.1`, that one by `run_hash.2`, of the same content.
    """
    number = 0
    while True:
        name = run_hash if number == 0 else f"{run_hash}.{number}"
        run_id = session.scalar(select(RunRow.id).where(RunRow.run_hash == name))
        if run_id is None and number == 0:
            return None
        if run_id is None:
            return _new_run(session, name, content)
        if not _is_run_retracted(session, run_id):
            return run_id
        number += 1


def _is_run_retracted(session: Session, run_id: int) -> bool:
    query = select(TrialRow.id).where(TrialRow.run_id == run_id, TrialRow.state == "completed", is_retracted())
    return session.scalar(query.limit(1)) is not None


def _new_run(session: Session, name: str, content: Mapping[str, Any]) -> int:
    row = RunRow(run_hash=name, content=dict(content), epochs={}, details={})
    session.add(row)
    session.flush()
    return row.id


def _started_from(session: Session, run_id: int) -> list[int]:
    """Return the ids of the runs whose trainings started from that one."""
    run_hash = session.scalars(select(RunRow.run_hash).where(RunRow.id == run_id)).one()
    named_there = select(RunRow.id, RunRow.content).where(cast(RunRow.content, String).contains(run_hash))
    return [row.id for row in session.execute(named_there) if run_hash in _experts(row.content)]


def _experts(content: Mapping[str, Any]) -> list[str]:
    """Return the runs that a training of that content starts from."""
    return [each for each in (content.get(EXPERTS) or {}).values() if each is not None]


def _move_open(session: Session, run_id: int) -> None:
    """Give the trials that wait for a run, or train it, the one that takes its place."""
    waiting = (TrialRow.run_id == run_id, TrialRow.state.in_(OPEN_STATES))
    ids = list(session.scalars(select(TrialRow.id).where(*waiting)))
    if not ids:
        return
    run = session.execute(select(RunRow.run_hash, RunRow.content).where(RunRow.id == run_id)).one()
    place = run_id_of(session, run.run_hash.partition(".")[0], run.content)
    session.execute(update(TrialRow).where(TrialRow.id.in_(ids)).values(run_id=place))
    _mark(session, ids)


def _mark(session: Session, ids: Sequence[int]) -> list[int]:
    """Count the change of these trials in their searches, and return the ids of these."""
    searches = list(session.scalars(select(TrialRow.search_id).where(TrialRow.id.in_(ids)).distinct()))
    for search_id in searches:
        mine = (TrialRow.id.in_(ids), TrialRow.search_id == search_id)
        session.execute(update(TrialRow).where(*mine).values(change=touch(session, search_id)))
    return searches
