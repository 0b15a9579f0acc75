"""What is recorded of trials, by columns, and how that is read from their rows."""

from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import repeat
from math import isnan, nan
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, Text, and_, cast, select
from sqlalchemy.orm import Session

from store.plain_rows import raw_columns, raw_rows
from store.records import OUTDATED, RETRACTED
from store.retractions import RETRACTABLE
from store.schema import (
    AttemptRow,
    DomainChangeRow,
    DomainRow,
    MeasurementRow,
    OutdatedRow,
    RetractionRow,
    RunRow,
    TrialRow,
    WeightRow,
)

Floats: TypeAlias = "array[float]"


@dataclass(frozen=True, kw_only=True)
class Block:
    """Trials by search and number, an entry each in every column, as they were recorded.

    recipes: as JSON; seen: as `to_ranges` wrote it; started_at, finished_at: as text, in UTC. weights: by the domains
    of then; losses, accuracies and the `items` behind these: by evaluation set. What a trial does not say is nan.
    wrong, gone: for trials that were taken back since, or weigh a domain that is no more, why, by place in the block.
    """

    ids: list[int]
    search_ids: list[int]
    numbers: list[int]
    run_hashes: list[str]
    purposes: list[str]
    fidelities: list[str]
    seeds: list[int]
    parts: list[str]
    recipes: list[str]
    states: list[str]
    reasons: list[str]
    seen: list[str]
    errors: list[str | None]
    started_at: list[str | None]
    finished_at: list[str | None]
    attempts: list[int]
    charged_flops: Floats
    elapsed_s: Floats
    weights: Mapping[str, Floats]
    losses: Mapping[str, Floats]
    accuracies: Mapping[str, Floats]
    items: Mapping[str, Floats]
    wrong: Mapping[int, str]
    gone: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.ids)


def read_rows(session: Session, condition: ColumnElement[bool]) -> Block:
    """Return the trials under `condition` from their rows, in five queries whatever their number."""
    (*plain, errors, flops, started, finished, run_s, wrong, gone) = raw_columns(session, _lines(condition))
    ids, search_ids, numbers, purposes, fidelities, seeds, parts, states, reasons, seen, recipes, run_hashes = plain
    places = {key: place for place, key in enumerate(ids)}
    attempts, last_s = _attempts(session, condition, places)
    losses, accuracies, items = _measured(session, condition, places)
    return Block(
        ids=ids,
        search_ids=search_ids,
        numbers=numbers,
        run_hashes=run_hashes,
        purposes=purposes,
        fidelities=fidelities,
        seeds=seeds,
        parts=parts,
        recipes=recipes,
        states=states,
        reasons=reasons,
        seen=seen,
        errors=errors,
        started_at=[_moment(raw) for raw in started],
        finished_at=[_moment(raw) for raw in finished],
        attempts=attempts,
        charged_flops=array("d", flops),
        elapsed_s=array("d", map(_took_s, states, run_s, last_s)),
        weights=_weights(session, condition, places, set(search_ids)),
        losses=losses,
        accuracies=accuracies,
        items=items,
        wrong={place: reason for place, reason in enumerate(wrong) if reason is not None},
        gone={place: note for place, note in enumerate(gone) if note is not None},
    )


def as_it_reads(block: Block) -> Block:
    """Return a block with the states and errors that are shown; what was taken back or is outdated says nothing."""
    said = {place: (OUTDATED, why) for place, why in block.gone.items()}
    said |= {place: (RETRACTED, why) for place, why in block.wrong.items()}
    if not said:
        return block
    states, errors = list(block.states), list(block.errors)
    for place, (state, why) in said.items():
        states[place], errors[place] = state, f"{state}: {why}"

    def without(columns: Mapping[str, Floats]) -> dict[str, Floats]:
        found = {name: values[:] for name, values in columns.items()}
        for values in found.values():
            for place in said:
                values[place] = nan
        return found

    return replace(
        block,
        states=states,
        errors=errors,
        losses=without(block.losses),
        accuracies=without(block.accuracies),
        items=without(block.items),
    )


def told(columns: Mapping[str, Floats], count: int) -> list[dict[str, float]]:
    """Return what columns say of every trial, by their names."""
    if not columns:
        return [{} for _ in range(count)]
    rows = map(zip, repeat(tuple(columns)), zip(*columns.values(), strict=True))
    if any(isnan(sum(values)) for values in columns.values()):
        return [{name: value for name, value in row if not isnan(value)} for row in rows]
    return list(map(dict, rows))


def nothing(count: int) -> Floats:
    """Return a column of `count` trials that says nothing."""
    return array("d", [nan]) * count


def _lines(condition: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """Return the query of what the trials under `condition` have one of each."""
    row = TrialRow
    return (
        select(
            *(row.id, row.search_id, row.number, row.purpose, row.fidelity, row.seed, row.part, row.state, row.reason),
            *(row.seen, cast(row.recipe, Text).label("recipe"), RunRow.run_hash),
            *(row.error, row.charged_flops, row.started_at, row.finished_at, RunRow.elapsed_s),
            *(RetractionRow.reason.label("wrong"), DomainChangeRow.note),
        )
        .join(RunRow, RunRow.id == TrialRow.run_id)
        .outerjoin(RetractionRow, RetractionRow.trial_id == TrialRow.id)
        .outerjoin(OutdatedRow, and_(OutdatedRow.trial_id == TrialRow.id, TrialRow.state.in_(RETRACTABLE)))
        .outerjoin(DomainChangeRow, DomainChangeRow.id == OutdatedRow.change_id)
        .where(condition)
        .order_by(TrialRow.search_id, TrialRow.number)
    )


def _attempts(
    session: Session, condition: ColumnElement[bool], places: Mapping[int, int]
) -> tuple[list[int], list[float]]:
    """Return the number of attempts at every trial, and the seconds of the last (nan where there is none)."""
    query = (
        select(AttemptRow.trial_id, AttemptRow.elapsed_s)
        .join(TrialRow, TrialRow.id == AttemptRow.trial_id)
        .where(condition)
        .order_by(TrialRow.search_id, TrialRow.number, AttemptRow.number)
    )
    counts, last_s = [0] * len(places), [nan] * len(places)
    for trial_id, elapsed_s in raw_rows(session, query):
        place = places[trial_id]
        counts[place] += 1
        last_s[place] = nan if elapsed_s is None else elapsed_s
    return counts, last_s


def _weights(
    session: Session, condition: ColumnElement[bool], places: Mapping[int, int], search_ids: set[int]
) -> dict[str, Floats]:
    names = dict(session.execute(select(DomainRow.id, DomainRow.name).where(DomainRow.search_id.in_(search_ids))).all())
    query = (
        select(WeightRow.trial_id, WeightRow.domain_id, WeightRow.weight)
        .join(TrialRow, TrialRow.id == WeightRow.trial_id)
        .where(condition)
    )
    columns = defaultdict[int, Floats](lambda: nothing(len(places)))
    for trial_id, domain_id, weight in raw_rows(session, query):
        columns[domain_id][places[trial_id]] = weight
    return {names[domain_id]: columns[domain_id] for domain_id in sorted(columns)}


def _measured(
    session: Session, condition: ColumnElement[bool], places: Mapping[int, int]
) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, Floats]]:
    """Return losses, accuracies and the items behind these, by evaluation set in the order of their names."""
    row = MeasurementRow
    query = (
        select(TrialRow.id, row.evaluation_set, row.kind, row.value, row.items)
        .join(MeasurementRow, and_(MeasurementRow.run_id == TrialRow.run_id, MeasurementRow.part == TrialRow.part))
        .where(condition, TrialRow.state == "completed")
    )
    losses, accuracies, items = (defaultdict[str, Floats](lambda: nothing(len(places))) for _ in range(3))
    for trial_id, name, kind, value, count in raw_rows(session, query):
        (losses if kind == "loss" else accuracies)[name][places[trial_id]] = value
        if count is not None:
            items[name][places[trial_id]] = count
    return dict(sorted(losses.items())), dict(sorted(accuracies.items())), dict(sorted(items.items()))


def _took_s(state: str, run_s: float | None, last_s: float) -> float:
    """Return the seconds of a trial: its run's where it is completed, else those of its last attempt."""
    return (nan if run_s is None else run_s) if state == "completed" else last_s


def _moment(raw: datetime | str | None) -> str | None:
    """Return a moment as SQLite keeps it, which other databases' drivers give as a datetime."""
    return raw.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(raw, datetime) else raw
