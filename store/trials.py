"""Trials: adding what a search proposes, and reading what became of it in a constant number of queries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, exists, func, insert, select, update
from sqlalchemy.orm import Session

from store.clock import now
from store.domains import Translation, translations
from store.errors import InvalidRecord, NotInStore
from store.plain import Numbers, plain, plain_mapping, to_ranges
from store.plain_rows import rows
from store.records import OUTDATED, RETRACTED, Changes, NewTrial, Stages, Totals, Trial
from store.retractions import RETRACTABLE, run_id_of, shown_state
from store.schema import (
    AttemptRow,
    DomainChangeRow,
    DomainRow,
    MeasurementRow,
    OutdatedRow,
    PredictionRow,
    RetractionRow,
    RunRow,
    SearchRow,
    TrialRow,
    WeightRow,
)
from store.searches import get as get_search
from store.searches import require, touch


def add(session: Session, search_id: int, new: Sequence[NewTrial]) -> list[Trial]:
    """Add trials with the next numbers of the search; one whose run is already measured is completed at once."""
    require(session, search_id)
    domains = _domain_ids(session, search_id)
    last = session.scalar(select(func.max(TrialRow.number)).where(TrialRow.search_id == search_id))
    first = 0 if last is None else last + 1
    change = touch(session, search_id)
    for number, trial in enumerate(new, start=first):
        _add_one(session, search_id, number, trial, domains=domains, change=change)
    return read(session, and_(TrialRow.search_id == search_id, TrialRow.number >= first))


def read(session: Session, condition: ColumnElement[bool]) -> list[Trial]:
    """Return the trials under `condition` by number, in six queries whatever their number."""
    query = (
        select(
            TrialRow.__table__,
            RunRow.run_hash,
            RunRow.epochs,
            RunRow.elapsed_s,
            RetractionRow.reason.label("wrong"),
            DomainChangeRow.note.label("gone"),
        )
        .join(RunRow, RunRow.id == TrialRow.run_id)
        .outerjoin(RetractionRow, RetractionRow.trial_id == TrialRow.id)
        .outerjoin(OutdatedRow, and_(OutdatedRow.trial_id == TrialRow.id, TrialRow.state.in_(RETRACTABLE)))
        .outerjoin(DomainChangeRow, DomainChangeRow.id == OutdatedRow.change_id)
        .where(condition)
        .order_by(TrialRow.search_id, TrialRow.number)
    )
    parts = _Parts(
        weights=_weights(session, condition),
        measured=_measured(session, condition),
        predicted=_predicted(session, condition),
        elapsed_s=_elapsed(session, condition),
    )
    found = list(rows(session, query))
    changed = translations(session, {row.search_id for row in found})
    return [_to_record(row, parts, changed[row.search_id]) for row in found]


def read_search(
    session: Session, search_id: int, *, states: Collection[str] | None, purposes: Collection[str] | None
) -> list[Trial]:
    """Return the trials of a search; None stands for any state, any purpose."""
    require(session, search_id)
    condition: ColumnElement[bool] = TrialRow.search_id == search_id
    if states is not None:
        condition = and_(condition, shown_state().in_(states))
    if purposes is not None:
        condition = and_(condition, TrialRow.purpose.in_(purposes))
    return read(session, condition)


def last_completed(session: Session, search_id: int, *, fidelity: str, count: int) -> list[Trial]:
    """Return the last `count` completed trials at a fidelity, by number."""
    require(session, search_id)
    there = (TrialRow.search_id == search_id, TrialRow.fidelity == fidelity, shown_state() == "completed")
    query = select(TrialRow.id).where(*there).order_by(TrialRow.number.desc()).limit(count)
    return read(session, TrialRow.id.in_(list(session.scalars(query))))


def totals(session: Session) -> dict[int, Totals]:
    """Return how many trials every search has, and what they are charged; nothing for a search without any."""
    query = select(TrialRow.search_id, func.count(), func.sum(TrialRow.charged_flops)).group_by(TrialRow.search_id)
    return {key: Totals(trials=count, charged_flops=float(flops)) for key, count, flops in session.execute(query)}


def read_changes(session: Session, search_id: int, *, since: int) -> Changes:
    """Return the trials of a search that were altered after the change `since`."""
    require(session, search_id)
    mark = session.scalars(select(SearchRow.change).where(SearchRow.id == search_id)).one()
    altered = read(session, and_(TrialRow.search_id == search_id, TrialRow.change > since)) if mark > since else []
    return Changes(mark=mark, trials=tuple(altered))


def mark_all(session: Session, search_id: int) -> None:
    """Count a change of every trial of a search: all of them are to be read again."""
    change = touch(session, search_id)
    session.execute(update(TrialRow).where(TrialRow.search_id == search_id).values(change=change))


def get(session: Session, search_id: int, number: int) -> Trial:
    """Return a trial by its number in a search, or raise NotInStore."""
    require(session, search_id)
    found = read(session, and_(TrialRow.search_id == search_id, TrialRow.number == number))
    if not found:
        count = session.scalar(select(func.count()).where(TrialRow.search_id == search_id))
        raise NotInStore(f"the search has no trial {number}; it has {count}, numbered from 0")
    return found[0]


def is_measured() -> ColumnElement[bool]:
    """Return the condition that a trial's run is completed and measured on the trial's part."""
    return exists().where(
        RunRow.id == TrialRow.run_id,
        RunRow.completed_at.is_not(None),
        MeasurementRow.run_id == TrialRow.run_id,
        MeasurementRow.part == TrialRow.part,
    )


_OF_RUNS = (RunRow.run_hash, RunRow.epochs, RunRow.elapsed_s)


@dataclass(frozen=True, kw_only=True)
class _Measured:
    losses: dict[str, float] = field(default_factory=dict)
    accuracies: dict[str, float] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What belongs to trials from other tables, by trial id."""

    weights: Mapping[int, dict[str, float]]
    measured: Mapping[int, "_Measured"]
    predicted: Mapping[int, dict[str, dict[str, float]]]
    elapsed_s: Mapping[int, list[float | None]]


def _add_one(
    session: Session, search_id: int, number: int, new: NewTrial, *, domains: Mapping[str, int], change: int
) -> None:
    unknown = sorted(set(new.weights) - set(domains))
    if unknown:
        raise InvalidRecord(f"a trial weighs unknown domains {unknown}; known: {sorted(domains)}")
    run_id = _claim_run(session, new)
    row = TrialRow(
        search_id=search_id,
        number=number,
        run_id=run_id,
        purpose=new.purpose,
        fidelity=new.fidelity,
        seed=new.seed,
        part=new.part,
        recipe=plain(new.recipe, what="recipe"),
        reason=new.reason,
        seen=to_ranges(new.seen),
        charged_flops=float(new.charged_flops),
        created_at=now(),
        change=change,
        **_first_state(session, run_id, new.part),
    )
    session.add(row)
    session.flush()
    if new.weights:
        weights = [
            {"trial_id": row.id, "domain_id": domains[domain], "weight": float(weight)}
            for domain, weight in new.weights.items()
        ]
        session.execute(insert(WeightRow), weights)
    if new.predicted:
        predictions = [
            {"trial_id": row.id, "name": name, "mean": float(value["mean"]), "sd": float(value["sd"])}
            for name, value in new.predicted.items()
        ]
        session.execute(insert(PredictionRow), predictions)


def _claim_run(session: Session, new: NewTrial) -> int:
    """Return the id of the run that `new` names, adding it where it is the first to name it."""
    content = plain_mapping(new.content, what="content")
    run_id = run_id_of(session, new.run_hash, content)
    if run_id is None:
        row = RunRow(run_hash=new.run_hash, content=content, epochs={}, details={})
        session.add(row)
        session.flush()
        return row.id
    known = session.scalars(select(RunRow.content).where(RunRow.id == run_id)).one()
    if known != content:
        changed = sorted(key for key in {*content, *known} if content.get(key) != known.get(key))
        raise InvalidRecord(
            f"run {new.run_hash!r} is in the store with other {changed}; hash the whole content of a run"
        )
    return run_id


def _first_state(session: Session, run_id: int, part: str) -> dict[str, str | datetime]:
    measured = session.scalar(
        select(func.count())
        .select_from(MeasurementRow)
        .join(RunRow, RunRow.id == MeasurementRow.run_id)
        .where(RunRow.id == run_id, RunRow.completed_at.is_not(None), MeasurementRow.part == part)
    )
    return {"state": "completed", "finished_at": now()} if measured else {"state": "queued"}


def _domain_ids(session: Session, search_id: int) -> dict[str, int]:
    """Return the domains that the search has now, by name."""
    query = select(DomainRow.name, DomainRow.id).where(DomainRow.search_id == search_id)
    ids = dict(session.execute(query).all())
    return {name: ids[name] for name in get_search(session, search_id).domains}


def _weights(session: Session, condition: ColumnElement[bool]) -> dict[int, dict[str, float]]:
    query = (
        select(WeightRow.trial_id, DomainRow.name, WeightRow.weight)
        .join(TrialRow, TrialRow.id == WeightRow.trial_id)
        .join(DomainRow, DomainRow.id == WeightRow.domain_id)
        .where(condition)
        .order_by(WeightRow.trial_id, DomainRow.position)
    )
    found: dict[int, dict[str, float]] = {}
    for trial_id, domain, weight in rows(session, query):
        found.setdefault(trial_id, {})[domain] = weight
    return found


def _measured(session: Session, condition: ColumnElement[bool]) -> dict[int, _Measured]:
    row = MeasurementRow
    query = (
        select(TrialRow.id, row.evaluation_set, row.kind, row.value, row.items)
        .join(MeasurementRow, and_(MeasurementRow.run_id == TrialRow.run_id, MeasurementRow.part == TrialRow.part))
        .where(condition, shown_state() == "completed")
        .order_by(TrialRow.id, MeasurementRow.evaluation_set)
    )
    found: dict[int, _Measured] = {}
    for trial_id, evaluation_set, kind, value, items in rows(session, query):
        measured = found.setdefault(trial_id, _Measured())
        (measured.losses if kind == "loss" else measured.accuracies)[evaluation_set] = value
        if items is not None:
            measured.items[evaluation_set] = items
    return found


def _predicted(session: Session, condition: ColumnElement[bool]) -> dict[int, dict[str, dict[str, float]]]:
    query = (
        select(PredictionRow.trial_id, PredictionRow.name, PredictionRow.mean, PredictionRow.sd)
        .join(TrialRow, TrialRow.id == PredictionRow.trial_id)
        .where(condition)
        .order_by(PredictionRow.trial_id, PredictionRow.name)
    )
    found: dict[int, dict[str, dict[str, float]]] = {}
    for trial_id, name, mean, sd in rows(session, query):
        found.setdefault(trial_id, {})[name] = {"mean": mean, "sd": sd}
    return found


def _elapsed(session: Session, condition: ColumnElement[bool]) -> dict[int, list[float | None]]:
    query = (
        select(AttemptRow.trial_id, AttemptRow.elapsed_s)
        .join(TrialRow, TrialRow.id == AttemptRow.trial_id)
        .where(condition)
        .order_by(AttemptRow.trial_id, AttemptRow.number)
    )
    found: dict[int, list[float | None]] = {}
    for trial_id, elapsed_s in rows(session, query):
        found.setdefault(trial_id, []).append(elapsed_s)
    return found


def _to_record(row: Row[*tuple[Any, ...]], parts: _Parts, changed: Translation) -> Trial:
    attempts = parts.elapsed_s.get(row.id, [])
    completed = row.state == "completed"
    measured = parts.measured.get(row.id, _Measured())
    weights, stale = changed.weights(row.number, parts.weights.get(row.id, {}))
    stands = completed and row.wrong is None and row.gone is None
    return Trial(
        id=row.id,
        search_id=row.search_id,
        number=row.number,
        run_hash=row.run_hash,
        purpose=row.purpose,
        fidelity=row.fidelity,
        seed=row.seed,
        part=row.part,
        weights=weights,
        recipe=_stages(row.recipe),
        state=RETRACTED if row.wrong is not None else OUTDATED if row.gone is not None else row.state,
        reason=row.reason,
        predicted=parts.predicted.get(row.id, {}),
        seen=Numbers(row.seen),
        charged_flops=row.charged_flops,
        losses=measured.losses,
        accuracies=measured.accuracies,
        items=measured.items,
        epochs=changed.epochs(row.number, row.epochs) if stands else {},
        error=_error(row),
        attempts=len(attempts),
        elapsed_s=row.elapsed_s if completed else attempts[-1] if attempts else None,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        stale=stale,
    )


def _error(row: Row[*tuple[Any, ...]]) -> str | None:
    """Return why a trial failed, or why it does not count."""
    if row.wrong is not None:
        return f"retracted: {row.wrong}"
    error: str | None = row.error
    return error if row.gone is None else f"outdated: {row.gone}"


def _stages(recipe: list[Any]) -> Stages:
    return tuple((share, weights) for share, weights in recipe)
