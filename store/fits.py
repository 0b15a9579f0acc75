"""What a search concluded: fits of the surrogate, and recommendations."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.orm import Session

from store.clock import now
from store.plain import Numbers, plain_mapping, to_ranges
from store.records import Fit, Recommendation
from store.schema import DomainChangeRow, FitRow, RecommendationRow, RetractionRow, TrialRow
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
    """Return the last fit of a search; None before the first since its domains are what they are."""
    require(session, search_id)
    query = select(FitRow).where(FitRow.search_id == search_id, FitRow.id > _before(FitRow)).order_by(FitRow.id.desc())
    query = query.limit(1)
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
    """Return the recommendation that stands; None before the first since the search's domains are what they are."""
    require(session, search_id)
    mine = (RecommendationRow.search_id == search_id, RecommendationRow.id > _before(RecommendationRow))
    query = select(RecommendationRow).where(*mine)
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
    stand = (RecommendationRow.id.in_(last), RecommendationRow.id > _before(RecommendationRow))
    query = select(RecommendationRow.search_id, RecommendationRow.payload).where(*stand)
    return dict(session.execute(query).all())


def _before(table: type[FitRow] | type[RecommendationRow]) -> ScalarSelect[int]:
    """Return the last id in `table` that speaks of the domains of its search as they were before they changed."""
    column = DomainChangeRow.last_fit if table is FitRow else DomainChangeRow.last_recommendation
    last = select(func.coalesce(func.max(column), 0)).where(DomainChangeRow.search_id == table.search_id)
    return last.correlate(table).scalar_subquery()


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
