"""Trials: adding what a search proposes, and reading what became of it in a constant number of queries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, cast, exists, func, insert, select, update
from sqlalchemy.orm import Session

from store.clock import now
from store.domains import Translation, translations
from store.errors import InvalidRecord, NotInStore
from store.plain import Numbers, StoredStages, plain, plain_mapping, to_ranges
from store.plain_rows import raw_rows, without_sweeps
from store.records import OUTDATED, RETRACTED, Changes, NewTrial, Totals, Trial
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
    """Return the trials under `condition` by search and number, in six queries whatever their number."""
    with without_sweeps():
        found = list(raw_rows(session, _lines(condition)))
        search_ids = {search_id for _, search_id, *_ in found}
        parts = _Parts(
            weights=_weights(session, condition, search_ids),
            measured=_measured(session, condition),
            attempts=_attempts(session, condition),
            changed=translations(session, search_ids),
        )
        return [_to_record(line, parts) for line in found]


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
    mine: ColumnElement[bool] = TrialRow.search_id == search_id
    if since > 0:
        mine = and_(mine, TrialRow.change > since)
    return Changes(mark=mark, trials=tuple(read(session, mine)) if mark > since else ())


def mark_all(session: Session, search_id: int) -> None:
    """Count a change of every trial of a search: all of them are to be read again."""
    change = touch(session, search_id)
    session.execute(update(TrialRow).where(TrialRow.search_id == search_id).values(change=change))


def get(session: Session, search_id: int, number: int) -> Trial:
    """Return a trial by its number in a search, or raise NotInStore."""
    require(session, search_id)
    found = read(session, and_(TrialRow.search_id == search_id, TrialRow.number == number))
    if not found:
        raise no_trial(session, search_id, number)
    return found[0]


def no_trial(session: Session, search_id: int, number: int) -> NotInStore:
    """Return what to raise where a search has no trial of that number."""
    count = session.scalar(select(func.count()).where(TrialRow.search_id == search_id))
    return NotInStore(f"the search has no trial {number}; it has {count}, numbered from 0")


def is_measured() -> ColumnElement[bool]:
    """Return the condition that a trial's run is completed and measured on the trial's part."""
    return exists().where(
        RunRow.id == TrialRow.run_id,
        RunRow.completed_at.is_not(None),
        MeasurementRow.run_id == TrialRow.run_id,
        MeasurementRow.part == TrialRow.part,
    )


@dataclass(frozen=True)
class _Parts:
    """What belongs to trials from other tables, by trial id; `changed` by search."""

    weights: Mapping[int, dict[str, float]]
    measured: "_Measured"
    attempts: Mapping[int, list[float | None]]
    changed: Mapping[int, Translation]


@dataclass(frozen=True)
class _Measured:
    losses: dict[int, dict[str, float]] = field(default_factory=dict)
    accuracies: dict[int, dict[str, float]] = field(default_factory=dict)
    items: dict[int, dict[str, int]] = field(default_factory=dict)


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


def _lines(condition: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """Return the query of what the trials under `condition` have one of each."""
    row = TrialRow
    of_trials = (row.id, row.search_id, row.number, row.purpose, row.fidelity, row.seed, row.part, row.state)
    return (
        select(
            *of_trials,
            *(row.reason, row.seen, row.charged_flops, row.error, cast(row.recipe, Text).label("recipe")),
            *(RunRow.run_hash, RunRow.elapsed_s),
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


# The parts are sorted by trial as the trials are: then one index serves to find them and to sort them.


def _weights(
    session: Session, condition: ColumnElement[bool], search_ids: Collection[int]
) -> dict[int, dict[str, float]]:
    listed = select(DomainRow.id, DomainRow.name).where(DomainRow.search_id.in_(search_ids))
    names = dict(session.execute(listed).all())
    query = (
        select(WeightRow.trial_id, WeightRow.domain_id, WeightRow.weight)
        .join(TrialRow, TrialRow.id == WeightRow.trial_id)
        .where(condition)
        .order_by(TrialRow.search_id, TrialRow.number, WeightRow.domain_id)
    )
    found: dict[int, dict[str, float]] = {}
    last, weights = -1, dict[str, float]()
    for trial_id, domain_id, weight in raw_rows(session, query):
        if trial_id != last:
            last, weights = trial_id, found.setdefault(trial_id, {})
        weights[names[domain_id]] = weight
    return found


def _measured(session: Session, condition: ColumnElement[bool]) -> _Measured:
    row = MeasurementRow
    query = (
        select(TrialRow.id, row.evaluation_set, row.kind, row.value, row.items)
        .join(MeasurementRow, and_(MeasurementRow.run_id == TrialRow.run_id, MeasurementRow.part == TrialRow.part))
        .where(condition, TrialRow.state == "completed")
        .order_by(TrialRow.search_id, TrialRow.number, row.evaluation_set)
    )
    found = _Measured()
    last, losses = -1, dict[str, float]()
    for trial_id, evaluation_set, kind, value, items in raw_rows(session, query):
        if kind == "loss":
            if trial_id != last:
                last, losses = trial_id, found.losses.setdefault(trial_id, {})
            losses[evaluation_set] = value
            continue
        found.accuracies.setdefault(trial_id, {})[evaluation_set] = value
        if items is not None:
            found.items.setdefault(trial_id, {})[evaluation_set] = items
    return found


def _attempts(session: Session, condition: ColumnElement[bool]) -> dict[int, list[float | None]]:
    """Return the seconds of every attempt at a trial, oldest first."""
    query = (
        select(AttemptRow.trial_id, AttemptRow.elapsed_s)
        .join(TrialRow, TrialRow.id == AttemptRow.trial_id)
        .where(condition)
        .order_by(TrialRow.search_id, TrialRow.number, AttemptRow.number)
    )
    found: dict[int, list[float | None]] = {}
    for trial_id, elapsed_s in raw_rows(session, query):
        found.setdefault(trial_id, []).append(elapsed_s)
    return found


def _to_record(line: tuple[Any, ...], parts: _Parts) -> Trial:
    key, search_id, number, purpose, fidelity, seed, part, state, reason, seen, flops, error, *rest = line
    recipe, run_hash, elapsed_s, wrong, gone = rest
    attempts = parts.attempts.get(key, ())
    weights, stale = parts.weights.get(key, {}), 0.0
    if parts.changed[search_id].changes:
        weights, stale = parts.changed[search_id].weights(number, weights)
    completed = state == "completed"
    if wrong is not None:
        state, error = RETRACTED, f"retracted: {wrong}"
    elif gone is not None:
        state, error = OUTDATED, f"outdated: {gone}"
    stands = state == "completed"
    return Trial(
        key,
        search_id,
        number,
        run_hash,
        purpose,
        fidelity,
        seed,
        part,
        weights,
        StoredStages(recipe),
        state,
        reason,
        Numbers(seen),
        flops,
        parts.measured.losses.get(key, {}) if stands else {},
        parts.measured.accuracies.get(key, {}) if stands else {},
        parts.measured.items.get(key, {}) if stands else {},
        error,
        len(attempts),
        elapsed_s if completed else attempts[-1] if attempts else None,
        stale,
    )
