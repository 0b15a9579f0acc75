"""Trials of a search by columns: what summaries, tables and charts of very many need, in a few plain queries."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session

from store.domains import translations
from store.plain_rows import raw_rows, rows, without_sweeps
from store.records import OUTDATED, RETRACTED, MeasuredColumns, Outline, Tally, WeightRows
from store.retractions import RETRACTABLE, shown_state
from store.schema import (
    AttemptRow,
    DomainChangeRow,
    DomainRow,
    MeasurementRow,
    OutdatedRow,
    PredictionRow,
    RetractionRow,
    RunRow,
    TrialRow,
    WeightRow,
)
from store.searches import require


def tallies(session: Session, search_id: int) -> list[Tally]:
    """Return the trials of a search counted by fidelity, purpose and state, in the order of their first ones."""
    require(session, search_id)
    each = (
        select(
            TrialRow.number,
            TrialRow.fidelity,
            TrialRow.purpose,
            shown_state().label("state"),
            TrialRow.charged_flops,
            _elapsed().label("elapsed_s"),
        )
        .join(RunRow, RunRow.id == TrialRow.run_id)
        .where(TrialRow.search_id == search_id)
        .subquery()
        .c
    )
    query = (
        select(
            each.fidelity,
            each.purpose,
            each.state,
            func.count(),
            func.sum(each.charged_flops),
            func.coalesce(func.sum(each.elapsed_s), 0.0),
        )
        .group_by(each.fidelity, each.purpose, each.state)
        .order_by(func.min(each.number))
    )
    return [Tally._make(row) for row in rows(session, query)]


def outlines(session: Session, search_id: int) -> list[Outline]:
    """Return the trials of a search by number, without what other tables hold of them."""
    require(session, search_id)
    query = (
        select(
            TrialRow.number,
            TrialRow.purpose,
            TrialRow.fidelity,
            TrialRow.part,
            TrialRow.seed,
            case(
                (RetractionRow.reason.is_not(None), RETRACTED),
                (DomainChangeRow.note.is_not(None), OUTDATED),
                else_=TrialRow.state,
            ),
            TrialRow.charged_flops,
            _elapsed(),
            TrialRow.started_at,
            TrialRow.finished_at,
            TrialRow.reason,
            case(
                (RetractionRow.reason.is_not(None), "retracted: " + RetractionRow.reason),
                (DomainChangeRow.note.is_not(None), "outdated: " + DomainChangeRow.note),
                else_=TrialRow.error,
            ),
        )
        .join(RunRow, RunRow.id == TrialRow.run_id)
        .outerjoin(RetractionRow, RetractionRow.trial_id == TrialRow.id)
        .outerjoin(OutdatedRow, and_(OutdatedRow.trial_id == TrialRow.id, TrialRow.state.in_(RETRACTABLE)))
        .outerjoin(DomainChangeRow, DomainChangeRow.id == OutdatedRow.change_id)
        .where(TrialRow.search_id == search_id)
        .order_by(TrialRow.number)
    )
    with without_sweeps():
        return [
            Outline._make((*before, _moment(started_at), _moment(finished_at), reason, error))
            for *before, started_at, finished_at, reason, error in raw_rows(session, query)
        ]


def weights(session: Session, search_id: int) -> WeightRows:
    """Return the weights of the trials of a search by number, each in the order of the search's domains."""
    require(session, search_id)
    listed = select(DomainRow.id, DomainRow.name).where(DomainRow.search_id == search_id).order_by(DomainRow.position)
    domains = list(rows(session, listed))
    names = tuple(name for _, name in domains)
    query = (
        select(TrialRow.number, *(func.max(case((WeightRow.domain_id == key, WeightRow.weight))) for key, _ in domains))
        .join(TrialRow, TrialRow.id == WeightRow.trial_id)
        .where(TrialRow.search_id == search_id)
        .group_by(TrialRow.number)
        .order_by(TrialRow.number)
    )
    with without_sweeps():
        found = {row[0]: row[1:] for row in raw_rows(session, query)}
    changed = translations(session, [search_id])[search_id]
    if not changed.changes:
        return WeightRows(domains=names, by_trial=found, stale={})
    now = {
        number: changed.weights(number, {n: w for n, w in zip(names, then, strict=True) if w is not None})
        for number, then in found.items()
    }
    return WeightRows(
        domains=changed.names,
        by_trial={number: tuple(map(each.get, changed.names)) for number, (each, _) in now.items()},
        stale={number: part for number, (_, part) in now.items() if part > 0.0},
    )


def stale(session: Session, search_id: int) -> Mapping[int, float]:
    """Return for trials with tokens from text that is another by now the fraction of these, by number."""
    require(session, search_id)
    changes = translations(session, [search_id])[search_id].changes
    return weights(session, search_id).stale if changes else {}


def fidelities(session: Session, search_id: int) -> dict[int, tuple[str, str]]:
    """Return fidelity and purpose of the trials of a search by number."""
    require(session, search_id)
    query = select(TrialRow.number, TrialRow.fidelity, TrialRow.purpose).where(TrialRow.search_id == search_id)
    with without_sweeps():
        found = raw_rows(session, query.order_by(TrialRow.number))
        return {number: (fidelity, purpose) for number, fidelity, purpose in found}


def measured(session: Session, search_id: int) -> MeasuredColumns:
    """Return what the completed trials of a search measured on their parts, by evaluation set and number."""
    require(session, search_id)
    query = (
        select(MeasurementRow.kind, MeasurementRow.evaluation_set, TrialRow.number, MeasurementRow.value)
        .join(TrialRow, and_(MeasurementRow.run_id == TrialRow.run_id, MeasurementRow.part == TrialRow.part))
        .where(TrialRow.search_id == search_id, TrialRow.state == "completed")
        .where(TrialRow.id.not_in(select(RetractionRow.trial_id)), TrialRow.id.not_in(select(OutdatedRow.trial_id)))
    )
    losses, accuracies = defaultdict[str, dict[int, float]](dict), defaultdict[str, dict[int, float]](dict)
    for kind, evaluation_set, number, value in raw_rows(session, query):
        (losses if kind == "loss" else accuracies)[evaluation_set][number] = value
    return MeasuredColumns(losses=dict(losses), accuracies=dict(accuracies))


def predicted(session: Session, search_id: int, name: str) -> dict[int, tuple[float, float]]:
    """Return mean and standard deviation of what was predicted of `name` for the trials of a search, by number."""
    require(session, search_id)
    query = (
        select(TrialRow.number, PredictionRow.mean, PredictionRow.sd)
        .join(TrialRow, TrialRow.id == PredictionRow.trial_id)
        .where(TrialRow.search_id == search_id, PredictionRow.name == name)
    )
    with without_sweeps():
        return {number: (mean, sd) for number, mean, sd in raw_rows(session, query)}


def altered(session: Session, search_id: int, *, since: int) -> int:
    """Return how many trials of a search were altered after the change `since`."""
    query = select(func.count()).where(TrialRow.search_id == search_id, TrialRow.change > since)
    return session.scalars(query).one()


def _elapsed() -> ColumnElement[Any]:
    """Return the seconds of a trial: its run's where it is completed, else those of its last attempt."""
    last = (
        select(AttemptRow.elapsed_s)
        .where(AttemptRow.trial_id == TrialRow.id)
        .order_by(AttemptRow.number.desc())
        .limit(1)
        .correlate(TrialRow)
        .scalar_subquery()
    )
    return case((TrialRow.state == "completed", RunRow.elapsed_s), else_=last)


def _moment(raw: datetime | str | None) -> datetime | None:
    """Return a moment, as the database's driver gives it, as `UtcDateTime` would, which takes five times as long."""
    if raw is None:
        return None
    return datetime.fromisoformat(f"{raw}+00:00") if isinstance(raw, str) else raw.astimezone(UTC)
