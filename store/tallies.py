"""Trials of a search, counted."""

from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from store.plain_rows import rows
from store.records import Tally
from store.retractions import shown_state
from store.schema import AttemptRow, RunRow, TrialRow
from store.searches import require


def read(session: Session, search_id: int) -> list[Tally]:
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
