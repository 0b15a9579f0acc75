"""Searches and their revisions."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, true, update
from sqlalchemy.orm import Session

from store.clock import now
from store.errors import NotInStore, SearchExists
from store.plain import named, not_negative, one_of, plain_mapping
from store.records import SEARCH_STATES, Revision, Search
from store.schema import DomainChangeRow, DomainRow, RevisionRow, SearchRow


def create(
    session: Session,
    *,
    name: str,
    seed: int,
    config: Mapping[str, object],
    config_hash: str,
    corpus: Mapping[str, object],
    domains: Mapping[str, int],
) -> Search:
    """Add a search with its first revision and its domains, in their order."""
    named(name, what="the name of a search")
    if session.scalar(select(SearchRow.id).where(SearchRow.name == name)) is not None:
        raise SearchExists(
            f"a search named {name!r} is already in the store; run it again to resume it, or choose another --name"
        )
    moment = now()
    row = SearchRow(
        name=name,
        seed=seed,
        state="running",
        revision=0,
        change=0,
        corpus=plain_mapping(corpus, what="corpus"),
        created_at=moment,
        updated_at=moment,
    )
    session.add(row)
    session.flush()
    _add_revision(session, row.id, number=0, config=config, config_hash=config_hash, note="created")
    for position, (domain, tokens) in enumerate(domains.items()):
        not_negative(tokens, what=f"the available tokens of {domain!r}")
        session.add(DomainRow(search_id=row.id, name=domain, position=position, available_tokens=int(tokens)))
    session.flush()
    return get(session, row.id)


def read(session: Session, condition: ColumnElement[bool] | None = None) -> list[Search]:
    """Return the searches under `condition`, oldest first, in three queries."""
    wanted = true() if condition is None else condition
    rows = session.execute(
        select(SearchRow, RevisionRow.config, RevisionRow.config_hash)
        .join(RevisionRow, and_(RevisionRow.search_id == SearchRow.id, RevisionRow.number == SearchRow.revision))
        .where(wanted)
        .order_by(SearchRow.id)
        .execution_options(populate_existing=True)
    ).all()
    domains: dict[int, dict[str, int]] = {}
    query = select(DomainRow.search_id, DomainRow.name, DomainRow.available_tokens).join(SearchRow).where(wanted)
    for search_id, domain, tokens in session.execute(query.order_by(DomainRow.position)):
        domains.setdefault(search_id, {})[domain] = tokens
    changed = _last_changes(session, wanted)
    found = []
    for row, config, config_hash in rows:
        last = changed.get(row.id)
        now_there = domains.get(row.id, {}) if last is None else dict(last.domains)
        found.append(_to_record(row, config, config_hash, now_there, row.corpus if last is None else last.corpus))
    return found


def get(session: Session, search_id: int) -> Search:
    """Return a search by its id, or raise NotInStore."""
    found = read(session, SearchRow.id == search_id)
    if not found:
        raise _unknown(session, search_id)
    return found[0]


def find(session: Session, name: str) -> Search | None:
    """Return a search by its name; None where there is none."""
    found = read(session, SearchRow.name == name)
    return found[0] if found else None


def revise(session: Session, search_id: int, *, config: Mapping[str, object], config_hash: str, note: str) -> Revision:
    """Record a changed configuration; one that is the current one already is not recorded again."""
    current = get(session, search_id)
    past = revisions(session, search_id)
    if current.config_hash == config_hash:
        return past[-1]
    number = past[-1].number + 1
    _add_revision(session, search_id, number=number, config=config, config_hash=config_hash, note=note)
    session.execute(update(SearchRow).where(SearchRow.id == search_id).values(revision=number, updated_at=now()))
    return revisions(session, search_id)[-1]


def revisions(session: Session, search_id: int) -> list[Revision]:
    """Return every configuration that a search has had, oldest first."""
    require(session, search_id)
    query = select(RevisionRow).where(RevisionRow.search_id == search_id).order_by(RevisionRow.number)
    return [
        Revision(
            search_id=row.search_id,
            number=row.number,
            config=row.config,
            config_hash=row.config_hash,
            note=row.note,
            created_at=row.created_at,
        )
        for row in session.scalars(query)
    ]


def set_state(session: Session, search_id: int, state: str) -> None:
    """Record what a search is doing."""
    require(session, search_id)
    one_of(state, SEARCH_STATES, what="the state of a search")
    session.execute(update(SearchRow).where(SearchRow.id == search_id).values(state=state, updated_at=now()))


def set_explored(session: Session, search_id: int) -> None:
    """Record that a search has nothing more to propose as it is configured."""
    require(session, search_id)
    session.execute(update(SearchRow).where(SearchRow.id == search_id).values(explored=SearchRow.revision))


def touch(session: Session, search_id: int) -> int:
    """Record that something of a search has changed, and return the number of this change."""
    return session.scalars(
        update(SearchRow)
        .where(SearchRow.id == search_id)
        .values(updated_at=now(), change=SearchRow.change + 1)
        .returning(SearchRow.change)
        .execution_options(synchronize_session=False)
    ).one()


def reopen(session: Session, search_id: int) -> None:
    """Record that a search may have something to propose again."""
    session.execute(update(SearchRow).where(SearchRow.id == search_id).values(explored=None))


def require(session: Session, search_id: int) -> None:
    """Raise NotInStore where there is no search of this id."""
    if session.scalar(select(SearchRow.id).where(SearchRow.id == search_id)) is None:
        raise _unknown(session, search_id)


def _add_revision(
    session: Session, search_id: int, *, number: int, config: Mapping[str, object], config_hash: str, note: str
) -> None:
    session.add(
        RevisionRow(
            search_id=search_id,
            number=number,
            config=plain_mapping(config, what="config"),
            config_hash=named(config_hash, what="config_hash"),
            note=note,
            created_at=now(),
        )
    )
    session.flush()


def _unknown(session: Session, search_id: int) -> NotInStore:
    known = list(session.scalars(select(SearchRow.name).order_by(SearchRow.id)))
    return NotInStore(f"the store has no search with id {search_id}; it has {known}")


def _last_changes(session: Session, wanted: ColumnElement[bool]) -> dict[int, DomainChangeRow]:
    """Return the last change of domains of every search that had one."""
    last = select(func.max(DomainChangeRow.id)).join(SearchRow).where(wanted).group_by(DomainChangeRow.search_id)
    return {row.search_id: row for row in session.scalars(select(DomainChangeRow).where(DomainChangeRow.id.in_(last)))}


def _to_record(
    row: SearchRow, config: dict[str, Any], config_hash: str, domains: dict[str, int], corpus: dict[str, Any]
) -> Search:
    return Search(
        id=row.id,
        name=row.name,
        seed=row.seed,
        state=row.state,
        config=config,
        config_hash=config_hash,
        corpus=corpus,
        domains=domains,
        explored=row.explored == row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
