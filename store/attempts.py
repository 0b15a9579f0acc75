"""The life of a trial: started, completed, failed, put back. Each step is a compare-and-set on the state it needs."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, case, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from store import pages, retractions, trials
from store.clock import moment_of, now
from store.errors import NotInStore, RunInTraining, TrialStateError
from store.plain import named, not_negative, one_of
from store.records import FAILED, Attempt, NewTrial, Result, Trial
from store.runs import record
from store.schema import AttemptRow, LeaseRow, SearchRow, TrialRow
from store.searches import require, touch

FAILURES = (*FAILED, "cancelled")
ELSEWHERE = "elsewhere"  # the worker of trials whose runs ended before they came into the store
OUTSIDE = "outside:"  # begins the worker of an attempt that no driver watches: whoever asked for it tells its end


def start(
    session: Session, trial_id: int, *, worker: str, node: str | None = None, began_s: float | None = None
) -> Attempt:
    """Move a queued trial to running, and open its next attempt; RunInTraining where another trains its content."""
    moment = now()
    _refuse_second(session, trial_id)
    _move(session, trial_id, old=("queued",), new="running", started_at=moment)
    last = session.scalar(select(func.max(AttemptRow.number)).where(AttemptRow.trial_id == trial_id))
    row = AttemptRow(
        trial_id=trial_id,
        number=0 if last is None else last + 1,
        worker=named(worker, what="the worker of an attempt"),
        node=node,
        state="running",
        spent_flops=0.0,
        began_s=None if began_s is None else not_negative(began_s, what="began_s"),
        started_at=moment,
        seen_at=moment,
    )
    session.add(row)
    session.flush()
    return _to_record(row)


def add_finished(session: Session, search_id: int, finished: Sequence[tuple[NewTrial, Result]]) -> list[Trial]:
    """Add trials of runs that ended elsewhere, each with what it measured; one whose run is known keeps what it has."""
    added = trials.add(session, search_id, [new for new, _ in finished])
    for trial, (_, result) in zip(added, finished, strict=True):
        if trial.state == "queued":
            start(session, trial.id, worker=ELSEWHERE)
            _finish(session, trial.id, result)
    pages.close(session, search_id, [trial.number for trial in added])
    first = min((trial.number for trial in added), default=0)
    return trials.read(session, and_(TrialRow.search_id == search_id, TrialRow.number >= first)) if added else []


def beat(session: Session, trial_id: int, *, spent_flops: float | None) -> None:
    """Record that the running attempt at a trial lives, and what it has spent so far; None leaves that as it is."""
    spent = {} if spent_flops is None else {"spent_flops": not_negative(spent_flops, what="spent_flops")}
    session.execute(
        update(AttemptRow)
        .where(AttemptRow.trial_id == trial_id, AttemptRow.state == "running")
        .values(seen_at=now(), **spent)
    )


def complete(session: Session, trial_id: int, result: Result, *, node: str | None) -> Trial:
    """Move a running trial to completed and record what its run measured, unless another trial was quicker."""
    _place(session, trial_id, node)
    _finish(session, trial_id, result)
    return _ended(session, [trial_id])[0]


def fail(
    session: Session,
    trial_id: int,
    *,
    state: str,
    error: str,
    spent_flops: float,
    elapsed_s: float,
    node: str | None,
) -> Trial:
    """Move a running trial to failed, diverged or cancelled; only a queued one may be cancelled before it starts."""
    one_of(state, FAILURES, what="the state of a trial that did not complete")
    not_negative(spent_flops, what="spent_flops")
    not_negative(elapsed_s, what="elapsed_s")
    end = _end(session, trial_id)
    if state == "cancelled":
        _move(session, trial_id, old=("queued", "running"), new=state, finished_at=end, error=error, charged_flops=0.0)
    else:
        _move(session, trial_id, old=("running",), new=state, finished_at=end, error=error)
    _place(session, trial_id, node)
    _close(session, trial_id, state=state, error=error, spent_flops=spent_flops, elapsed_s=elapsed_s)
    return _ended(session, [trial_id])[0]


def requeue(session: Session, search_id: int) -> list[Trial]:
    """Put the running trials of a search back; their attempts are lost, with the time until they were last seen.

    Those that are trained outside go on: no driver's death is theirs.
    """
    require(session, search_id)
    outside = exists().where(
        AttemptRow.trial_id == TrialRow.id, AttemptRow.state == "running", AttemptRow.worker.startswith(OUTSIDE)
    )
    mine = and_(TrialRow.search_id == search_id, TrialRow.state == "running", ~outside)
    ids = list(session.scalars(select(TrialRow.id).where(mine)))
    for trial_id in ids:
        _put_back(session, trial_id, error="the driver ended before this attempt did")
    settle(session, search_id)
    return trials.read(session, TrialRow.id.in_(ids))


def requeue_trial(session: Session, trial_id: int, *, error: str, node: str | None) -> Trial:
    """Put one running trial back whose worker was lost; its attempt is lost, with the time until now."""
    beat(session, trial_id, spent_flops=None)
    _place(session, trial_id, node)
    _put_back(session, trial_id, error=error)
    return trials.read(session, TrialRow.id == trial_id)[0]


def settle(session: Session, search_id: int) -> list[Trial]:
    """Complete the queued trials of a search whose runs have been measured meanwhile, and return them."""
    require(session, search_id)
    ready = and_(TrialRow.search_id == search_id, TrialRow.state == "queued", trials.is_measured())
    ids = list(session.scalars(select(TrialRow.id).where(ready)))
    for trial_id in ids:
        _move(session, trial_id, old=("queued",), new="completed", finished_at=now())
    return _ended(session, ids)


def read(session: Session, trial_id: int) -> list[Attempt]:
    """Return the attempts at a trial, oldest first."""
    query = select(AttemptRow).where(AttemptRow.trial_id == trial_id).order_by(AttemptRow.number)
    return [_to_record(row) for row in session.scalars(query)]


def driven_s(session: Session, search_id: int) -> float | None:
    """Return for how long a search was driven until the last thing that is known of it; None where no attempt says.

    An attempt that was lost tells when it began: how long it ran meanwhile is not known.
    """
    require(session, search_id)
    took = case((AttemptRow.state.in_(("lost", "running")), 0.0), else_=AttemptRow.elapsed_s)
    query = (
        select(func.max(AttemptRow.began_s + took))
        .join(TrialRow, TrialRow.id == AttemptRow.trial_id)
        .where(TrialRow.search_id == search_id)
    )
    return session.scalar(query)


def _finish(session: Session, trial_id: int, result: Result) -> None:
    _move(session, trial_id, old=("running",), new="completed", finished_at=_end(session, trial_id))
    row = session.execute(select(TrialRow.run_id, TrialRow.part).where(TrialRow.id == trial_id)).one()
    new = record(session, row.run_id, part=row.part, result=result)
    state = "completed" if new else "duplicate"
    _close(session, trial_id, state=state, error=None, spent_flops=result.spent_flops, elapsed_s=result.elapsed_s)
    retractions.follow(session, trial_id)


def _ended(session: Session, ids: Sequence[int]) -> list[Trial]:
    """Return trials that have just ended, after all that was to be recorded of them."""
    found = trials.read(session, TrialRow.id.in_(ids))
    for search_id in {trial.search_id for trial in found}:
        pages.close(session, search_id, [trial.number for trial in found if trial.search_id == search_id])
    return found


def _place(session: Session, trial_id: int, node: str | None) -> None:
    """Record on which node the running attempt at a trial is; None leaves what is known."""
    if node is not None:
        running = (AttemptRow.trial_id == trial_id, AttemptRow.state == "running")
        session.execute(update(AttemptRow).where(*running).values(node=node))


def _put_back(session: Session, trial_id: int, *, error: str) -> None:
    _move(session, trial_id, old=("running",), new="queued", started_at=None)
    row = session.scalars(
        select(AttemptRow).where(AttemptRow.trial_id == trial_id, AttemptRow.state == "running")
    ).one()
    row.seen_at = max(row.seen_at, row.started_at)
    row.state, row.error, row.ended_at = "lost", error, row.seen_at
    row.elapsed_s = max(0.0, (row.seen_at - row.started_at).total_seconds())
    session.flush()


def _refuse_second(session: Session, trial_id: int) -> None:
    """Raise RunInTraining where another trial of the same run is running, under a driver that lives."""
    mine = aliased(TrialRow)
    query = (
        select(TrialRow.number, SearchRow.name)
        .join(mine, and_(mine.run_id == TrialRow.run_id, mine.id != TrialRow.id))
        .join(SearchRow, SearchRow.id == TrialRow.search_id)
        .outerjoin(LeaseRow, LeaseRow.search_id == TrialRow.search_id)
        .where(
            mine.id == trial_id,
            TrialRow.state == "running",
            or_(TrialRow.search_id == mine.search_id, LeaseRow.expires_at > moment_of(session)),
        )
    )
    other = session.execute(query).first()
    if other is not None:
        raise RunInTraining(
            f"trial {other.number} of {other.name!r} is training the same content; wait for its end, and settle"
        )


def _move(session: Session, trial_id: int, *, old: Sequence[str], new: str, **values: object) -> None:
    """Set the state of a trial if it is among `old`, or raise TrialStateError."""
    search_id = session.scalar(select(TrialRow.search_id).where(TrialRow.id == trial_id))
    moved = search_id is not None and session.scalar(
        update(TrialRow)
        .where(TrialRow.id == trial_id, TrialRow.state.in_(old))
        .values(state=new, change=touch(session, search_id), **values)
        .returning(TrialRow.id)
        .execution_options(synchronize_session=False)
    )
    if not moved:
        raise _refusal(session, trial_id, old=old, new=new)


def _refusal(session: Session, trial_id: int, *, old: Sequence[str], new: str) -> NotInStore | TrialStateError:
    row = session.execute(
        select(TrialRow.number, TrialRow.state, SearchRow.name)
        .join(SearchRow, SearchRow.id == TrialRow.search_id)
        .where(TrialRow.id == trial_id)
    ).one_or_none()
    if row is None:
        return NotInStore(f"the store has no trial with id {trial_id}; read the trials of the search again")
    return TrialStateError(
        f"trial {row.number} of {row.name!r} is {row.state} and cannot become {new}, which needs {' or '.join(old)}; "
        "read the trials of the search again"
    )


def _close(
    session: Session, trial_id: int, *, state: str, error: str | None, spent_flops: float, elapsed_s: float
) -> None:
    running = (AttemptRow.trial_id == trial_id, AttemptRow.state == "running")
    moment = _not_before(session.scalar(select(AttemptRow.started_at).where(*running)))
    session.execute(
        update(AttemptRow)
        .where(*running)
        .values(
            state=state,
            error=error,
            spent_flops=float(spent_flops),
            elapsed_s=float(elapsed_s),
            seen_at=moment,
            ended_at=moment,
        )
    )


def _end(session: Session, trial_id: int) -> datetime:
    """Return the moment at which a trial ends now."""
    return _not_before(session.scalar(select(TrialRow.started_at).where(TrialRow.id == trial_id)))


def _not_before(start: datetime | None) -> datetime:
    """Return this moment, or `start` where the clock has jumped back behind it."""
    moment = now()
    return moment if start is None else max(start, moment)


def _to_record(row: AttemptRow) -> Attempt:
    return Attempt(
        trial_id=row.trial_id,
        number=row.number,
        worker=row.worker,
        node=row.node,
        state=row.state,
        error=row.error,
        spent_flops=row.spent_flops,
        elapsed_s=row.elapsed_s,
        began_s=row.began_s,
        started_at=row.started_at,
        seen_at=row.seen_at,
        ended_at=row.ended_at,
    )
