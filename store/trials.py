"""Trials: adding what a search proposes, and reading what became of it in a constant number of queries."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from math import isnan

from sqlalchemy import ColumnElement, and_, exists, func, insert, select, update
from sqlalchemy.orm import Session

from store import pages
from store.blocks import Block, as_it_reads, read_rows, told
from store.clock import now
from store.domains import Translation, translations
from store.errors import InvalidRecord, NotInStore
from store.plain import Numbers, StoredStages, plain, plain_mapping, to_ranges
from store.plain_rows import without_sweeps
from store.records import Changes, NewTrial, Totals, Trial
from store.retractions import run_id_of, shown_state
from store.schema import DomainRow, MeasurementRow, PredictionRow, RunRow, SearchRow, TrialRow, WeightRow
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
    pages.close(session, search_id, range(first, first + len(new)))
    return read(session, and_(TrialRow.search_id == search_id, TrialRow.number >= first))


def read(session: Session, condition: ColumnElement[bool]) -> list[Trial]:
    """Return the trials under `condition` by search and number, in some queries whatever their number."""
    with without_sweeps():
        return _all_shown(session, [read_rows(session, condition)])


def read_all(session: Session, search_id: int) -> list[Trial]:
    """Return all trials of a search: by pages, so far as there are any."""
    with without_sweeps():
        return _all_shown(session, pages.read(session, search_id))


def read_search(
    session: Session, search_id: int, *, states: Collection[str] | None, purposes: Collection[str] | None
) -> list[Trial]:
    """Return the trials of a search; None stands for any state, any purpose."""
    require(session, search_id)
    if states is None and purposes is None:
        return read_all(session, search_id)
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
    if mark <= since:
        return Changes(mark=mark, trials=())
    if since <= 0:
        return Changes(mark=mark, trials=tuple(read_all(session, search_id)))
    altered = and_(TrialRow.search_id == search_id, TrialRow.change > since)
    return Changes(mark=mark, trials=tuple(read(session, altered)))


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
    known = f"give one from 0 to {count - 1}" if count else "it has none yet, run it first"
    return NotInStore(f"the search has no trial {number}; {known}")


def is_measured() -> ColumnElement[bool]:
    """Return the condition that a trial's run is completed and measured on the trial's part."""
    return exists().where(
        RunRow.id == TrialRow.run_id,
        RunRow.completed_at.is_not(None),
        MeasurementRow.run_id == TrialRow.run_id,
        MeasurementRow.part == TrialRow.part,
    )


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


def _all_shown(session: Session, blocks: Iterable[Block]) -> list[Trial]:
    found: list[Trial] = []
    changed: dict[int, Translation] = {}
    for block in blocks:
        if unknown := set(block.search_ids) - set(changed):
            changed |= translations(session, unknown)
        found += _shown(block, changed)
    return found


def _shown(block: Block, changed: Mapping[int, Translation]) -> Iterator[Trial]:
    """Yield the trials of a block as they read now."""
    block = as_it_reads(block)
    count = len(block)
    weights, stale = told(block.weights, count), [0.0] * count
    if any(changed[search_id].changes for search_id in set(block.search_ids)):
        for place, (search_id, number) in enumerate(zip(block.search_ids, block.numbers, strict=True)):
            weights[place], stale[place] = changed[search_id].weights(number, weights[place])
    items = told(block.items, count)
    if block.items:
        items = [{name: int(value) for name, value in each.items()} for each in items]
    columns = (
        *(block.ids, block.search_ids, block.numbers, block.run_hashes, block.purposes, block.fidelities, block.seeds),
        *(block.parts, weights, map(StoredStages, block.recipes), block.states, block.reasons),
        *(map(Numbers, block.seen), block.charged_flops, told(block.losses, count), told(block.accuracies, count)),
        *(items, block.errors, block.attempts, [None if isnan(s) else s for s in block.elapsed_s], stale),
    )
    return map(Trial._make, zip(*columns, strict=True))
