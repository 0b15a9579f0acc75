"""Domains that change: recorded beside what is there, and applied to trials from before whenever they are read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from store.clock import now
from store.errors import InvalidRecord
from store.plain import named, plain_mapping
from store.records import DomainChange
from store.schema import (
    DomainChangeRow,
    DomainRow,
    FitRow,
    OutdatedRow,
    RecommendationRow,
    TrialRow,
    WeightRow,
)
from store.searches import get, require

REMOVED = " (removed)"  # after the name of a domain that is no more; no domain is called so


@dataclass(frozen=True)
class Translation:
    """What the domains of a search that trials were proposed with are called now; oldest change first."""

    changes: Sequence[DomainChangeRow]

    @property
    def names(self) -> tuple[str, ...]:
        """The domains as they are now, in order; only where something changed."""
        return tuple(name for name, _ in self.changes[-1].domains)

    def weights(self, number: int, then: Mapping[str, float]) -> tuple[dict[str, float], float]:
        """Return weights that trial `number` was given as those of the domains now, and how much of them is stale."""
        if not self.changes:
            return dict(then), 0.0
        whole, fresh = dict(then), dict(then)
        for change in self._since(number):
            whole = _moved(whole, change.parts)
            fresh = {n: w * (1.0 - change.revised.get(n, 0.0)) for n, w in _moved(fresh, change.parts).items()}
        gone = {name: weight for name, weight in whole.items() if name not in self.names and weight > 0.0}
        stale = sum(weight - fresh[name] for name, weight in whole.items() if name not in gone) + sum(gone.values())
        return {name: whole.get(name, 0.0) for name in self.names} | gone, stale

    def epochs(self, number: int, then: Mapping[str, float]) -> dict[str, float]:
        """Return the passes of trial `number` over its domains, by what they are called now, of unchanged text only."""
        passes = dict(then)
        for change in self._since(number):
            moved = {new: count for old, count in passes.items() for new in change.parts.get(old, {old: 1.0})}
            passes = {name: count for name, count in moved.items() if name not in change.revised}
        return passes

    def _since(self, number: int) -> Iterable[DomainChangeRow]:
        return (change for change in self.changes if number < change.first_trial)


def translations(session: Session, search_ids: Iterable[int]) -> dict[int, Translation]:
    """Return the translation of every search, in one query."""
    found: dict[int, list[DomainChangeRow]] = {search_id: [] for search_id in search_ids}
    query = select(DomainChangeRow).where(DomainChangeRow.search_id.in_(found)).order_by(DomainChangeRow.id)
    for row in session.scalars(query):
        found[row.search_id].append(row)
    return {search_id: Translation(changes) for search_id, changes in found.items()}


def add(session: Session, search_id: int, change: DomainChange, *, revision: int, note: str) -> None:
    """Record what became of a search's domains; trials that weigh a removed one read as outdated from now on."""
    require(session, search_id)
    before = get(session, search_id).domains
    if unknown := sorted(set(change.parts) - set(before)):
        raise InvalidRecord(f"{unknown} are no domains of the search; it has {list(before)}")
    if lost := [name for name in before if name not in change.domains and name not in change.parts]:
        raise InvalidRecord(f"nobody says what became of {lost}; give their parts, or none where they were removed")
    last = session.scalar(select(func.max(TrialRow.number)).where(TrialRow.search_id == search_id))
    row = DomainChangeRow(
        search_id=search_id,
        revision=revision,
        first_trial=0 if last is None else last + 1,
        parts=plain_mapping(change.parts, what="parts"),
        revised=plain_mapping(change.revised, what="revised"),
        domains=[[name, int(tokens)] for name, tokens in change.domains.items()],
        corpus=plain_mapping(change.corpus, what="corpus"),
        last_fit=_last(session, FitRow, search_id),
        last_recommendation=_last(session, RecommendationRow, search_id),
        note=named(note, what="the note of a change"),
        created_at=now(),
    )
    session.add(row)
    session.flush()
    _name(session, search_id, change.domains)
    _outdate(session, search_id, row)


def _last(session: Session, table: type[FitRow] | type[RecommendationRow], search_id: int) -> int:
    return session.scalar(select(func.max(table.id)).where(table.search_id == search_id)) or 0


def _name(session: Session, search_id: int, domains: Mapping[str, int]) -> None:
    """Add the domains that the search never had: the weights of trials refer to them."""
    known = dict(
        session.execute(select(DomainRow.name, DomainRow.position).where(DomainRow.search_id == search_id)).all()
    )
    new = [name for name in domains if name not in known]
    first = max(known.values(), default=-1) + 1
    session.add_all(
        DomainRow(search_id=search_id, name=name, position=first + place, available_tokens=int(domains[name]))
        for place, name in enumerate(new)
    )
    session.flush()


def _outdate(session: Session, search_id: int, change: DomainChangeRow) -> None:
    """Mark the trials that weigh a domain which has gone with this change."""
    if all(change.parts.values()):
        return
    translation = translations(session, [search_id])[search_id]
    known = select(OutdatedRow.trial_id).where(OutdatedRow.trial_id == TrialRow.id).exists()
    query = (
        select(TrialRow.id, TrialRow.number, DomainRow.name, WeightRow.weight)
        .join(WeightRow, WeightRow.trial_id == TrialRow.id)
        .join(DomainRow, DomainRow.id == WeightRow.domain_id)
        .where(TrialRow.search_id == search_id, ~known)
    )
    weights: dict[tuple[int, int], dict[str, float]] = {}
    for trial_id, number, name, weight in session.execute(query):
        weights.setdefault((trial_id, number), {})[name] = weight
    gone = [
        {"trial_id": trial_id, "change_id": change.id}
        for (trial_id, number), then in weights.items()
        if set(translation.weights(number, then)[0]) > set(translation.names)
    ]
    if gone:
        session.execute(insert(OutdatedRow), gone)


def _moved(weights: Mapping[str, float], parts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for old, weight in weights.items():
        shares = parts.get(old, {old: 1.0}) or {old + REMOVED: 1.0}
        for new, share in shares.items():
            found[new] = found.get(new, 0.0) + weight * share
    return found
