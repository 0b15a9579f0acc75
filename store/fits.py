"""What a search concluded: fits of the surrogate, and recommendations."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store.clock import now
from store.plain import Numbers, plain_mapping, to_ranges
from store.records import Fit, Recommendation
from store.schema import FitRow, RecommendationRow, RetractionRow, TrialRow
from store.searches import require, touch


def add(session: Session, search_id: int, *, seen: Sequence[int], payload: Mapping[str, object]) -> Fit:
    """Record a fit and the numbers of the trials it had seen."""
    require(session, search_id)
    row = FitRow(
        search_id=search_id, seen=to_ranges(seen), payload=plain_mapping(payload, what="payload"), created_at=now()
    )
    session.add(row)
    session.flush()
    touch(session, search_id)
    return _to_fit(row)


def read(session: Session, search_id: int) -> list[Fit]:
    """Return the fits of a search, oldest first."""
    require(session, search_id)
    query = select(FitRow).where(FitRow.search_id == search_id).order_by(FitRow.id)
    return [_to_fit(row) for row in session.scalars(query)]


def latest(session: Session, search_id: int) -> Fit | None:
    """Return the last fit of a search; None before the first."""
    require(session, search_id)
    query = select(FitRow).where(FitRow.search_id == search_id).order_by(FitRow.id.desc()).limit(1)
    row = session.scalar(query)
    return None if row is None else _to_fit(row)


def recommend(session: Session, search_id: int, *, payload: Mapping[str, object]) -> Recommendation:
    """Record a recommendation, which stands until the next."""
    require(session, search_id)
    row = RecommendationRow(search_id=search_id, payload=plain_mapping(payload, what="payload"), created_at=now())
    session.add(row)
    session.flush()
    touch(session, search_id)
    return _to_recommendation(row, undermined=())


def recommendation(session: Session, search_id: int) -> Recommendation | None:
    """Return the recommendation that stands; None before the first."""
    require(session, search_id)
    query = select(RecommendationRow).where(RecommendationRow.search_id == search_id)
    row = session.scalar(query.order_by(RecommendationRow.id.desc()).limit(1))
    if row is None:
        return None
    since = (
        select(TrialRow.number)
        .join(RetractionRow, RetractionRow.trial_id == TrialRow.id)
        .where(
            TrialRow.search_id == search_id,
            TrialRow.finished_at <= row.created_at,
            RetractionRow.retracted_at > row.created_at,
        )
        .order_by(TrialRow.number)
    )
    return _to_recommendation(row, undermined=tuple(session.scalars(since)))


def recommendations(session: Session) -> dict[int, dict[str, Any]]:
    """Return what stands recommended by the ids of the searches that recommend something, in one query."""
    last = select(func.max(RecommendationRow.id)).group_by(RecommendationRow.search_id)
    query = select(RecommendationRow.search_id, RecommendationRow.payload).where(RecommendationRow.id.in_(last))
    return dict(session.execute(query).all())


def _to_fit(row: FitRow) -> Fit:
    return Fit(
        id=row.id,
        search_id=row.search_id,
        seen=Numbers(row.seen),
        payload=row.payload,
        created_at=row.created_at,
    )


def _to_recommendation(row: RecommendationRow, *, undermined: tuple[int, ...]) -> Recommendation:
    return Recommendation(
        id=row.id,
        search_id=row.search_id,
        payload=row.payload,
        created_at=row.created_at,
        undermined=undermined,
    )
