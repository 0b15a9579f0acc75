"""What is recorded of trials besides what a search goes on from: read for those who want to see one, or all of it."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from store.domains import translations
from store.plain_rows import rows, without_sweeps
from store.records import TrialDetail
from store.retractions import shown_state
from store.schema import PredictionRow, RunRow, TrialRow
from store.searches import require
from store.trials import no_trial


def get(session: Session, search_id: int, number: int) -> TrialDetail:
    """Return the details of a trial by its number, or raise NotInStore."""
    found = read(session, search_id, numbers=[number])
    if number not in found:
        raise no_trial(session, search_id, number)
    return found[number]


def read(session: Session, search_id: int, *, numbers: Collection[int] | None) -> dict[int, TrialDetail]:
    """Return the details of trials of a search by number; None stands for all of them."""
    require(session, search_id)
    condition: ColumnElement[bool] = TrialRow.search_id == search_id
    if numbers is not None:
        condition = and_(condition, TrialRow.number.in_(numbers))
    row = TrialRow
    query = (
        select(row.number, row.created_at, row.started_at, row.finished_at, shown_state(), RunRow.epochs)
        .join(RunRow, RunRow.id == TrialRow.run_id)
        .where(condition)
        .order_by(TrialRow.number)
    )
    with without_sweeps():
        changed = translations(session, [search_id])[search_id]
        predicted = _predicted(session, condition)
        return {
            number: TrialDetail(
                number=number,
                predicted=predicted.get(number, {}),
                epochs=changed.epochs(number, epochs) if state == "completed" else {},
                created_at=created_at,
                started_at=started_at,
                finished_at=finished_at,
            )
            for number, created_at, started_at, finished_at, state, epochs in rows(session, query)
        }


def _predicted(session: Session, condition: ColumnElement[bool]) -> dict[int, dict[str, dict[str, float]]]:
    query = (
        select(TrialRow.number, PredictionRow.name, PredictionRow.mean, PredictionRow.sd)
        .join(TrialRow, TrialRow.id == PredictionRow.trial_id)
        .where(condition)
        .order_by(TrialRow.number, PredictionRow.name)
    )
    found: dict[int, dict[str, dict[str, float]]] = {}
    for number, name, mean, sd in rows(session, query):
        found.setdefault(number, {})[name] = {"mean": mean, "sd": sd}
    return found
