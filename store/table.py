"""All trials of a search by columns, as they read now."""

from array import array
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import pages
from store.blocks import Block, Floats, as_it_reads, nothing, told
from store.domains import Translation, translations
from store.plain_rows import raw_rows, without_sweeps
from store.records import Table
from store.schema import PredictionRow, SearchRow, TrialRow
from store.searches import get


def read(session: Session, search_id: int, *, predicted: str | None, before: Table | None) -> Table:
    """Return the trials of a search, with what was predicted of the name `predicted`; `before`, where it is that still.

    Where the configuration has changed since, it is not: trials may read by other domains now. predicted: None where
    nobody asks, which saves reading it.
    """
    search = get(session, search_id)
    of = (search_id, search.config_hash, predicted)
    mark = session.scalars(select(SearchRow.change).where(SearchRow.id == search_id)).one()
    if before is not None and (before.of, before.mark) == (of, mark):
        return before
    with without_sweeps():
        blocks = [as_it_reads(block) for block in pages.read(session, search_id)]
        numbers = _joined(blocks, "numbers")
        means, sds = _predicted(session, search_id, predicted, numbers)
        weights, stale = _weights(blocks, tuple(search.domains), translations(session, [search_id])[search_id])
        return Table(
            of=of,
            mark=mark,
            numbers=numbers,
            purposes=_joined(blocks, "purposes"),
            fidelities=_joined(blocks, "fidelities"),
            parts=_joined(blocks, "parts"),
            seeds=_joined(blocks, "seeds"),
            states=_joined(blocks, "states"),
            reasons=_joined(blocks, "reasons"),
            errors=_joined(blocks, "errors"),
            started_at=[_moment(text) for text in _joined(blocks, "started_at")],
            finished_at=[_moment(text) for text in _joined(blocks, "finished_at")],
            charged_flops=array("d", _joined(blocks, "charged_flops")),
            elapsed_s=array("d", _joined(blocks, "elapsed_s")),
            weights=weights,
            stale=stale,
            losses=_keyed([block.losses for block in blocks], blocks),
            accuracies=_keyed([block.accuracies for block in blocks], blocks),
            predicted_means=means,
            predicted_sds=sds,
        )


def _joined(blocks: Sequence[Block], name: str) -> list[Any]:
    return list(chain.from_iterable(getattr(block, name) for block in blocks))


def _keyed(columns: Sequence[Mapping[str, Floats]], blocks: Sequence[Block]) -> dict[str, Floats]:
    """Return one column a name that any block has, by name; nan where a block has it not."""
    found = {name: array("d") for each in columns for name in each}
    for of_block, block in zip(columns, blocks, strict=True):
        for name, values in found.items():
            values.extend(of_block[name] if name in of_block else nothing(len(block)))
    return dict(sorted(found.items()))


def _weights(blocks: Sequence[Block], names: Sequence[str], changed: Translation) -> tuple[dict[str, Floats], Floats]:
    """Return the weights of the domains `names`, those of now, and of every trial the stale part."""
    if not changed.changes:
        found = _keyed([block.weights for block in blocks], blocks)
        count = sum(map(len, blocks))
        return {name: found.get(name, nothing(count)) for name in names}, array("d", bytes(8 * count))
    columns, stale = {name: array("d") for name in names}, array("d")
    for block in blocks:
        for number, then in zip(block.numbers, told(block.weights, len(block)), strict=True):
            weights, part = changed.weights(number, then)
            stale.append(part)
            for name, values in columns.items():
                values.append(weights[name])
    return columns, stale


def _predicted(session: Session, search_id: int, name: str | None, numbers: Sequence[int]) -> tuple[Floats, Floats]:
    """Return means and standard deviations of what was predicted of `name`; nan where nothing was."""
    means, sds = nothing(len(numbers)), nothing(len(numbers))
    if name is None:
        return means, sds
    query = (
        select(TrialRow.number, PredictionRow.mean, PredictionRow.sd)
        .join(TrialRow, TrialRow.id == PredictionRow.trial_id)
        .where(TrialRow.search_id == search_id, PredictionRow.name == name)
    )
    places = {number: place for place, number in enumerate(numbers)}
    for number, mean, sd in raw_rows(session, query):
        means[places[number]], sds[places[number]] = mean, sd
    return means, sds


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(f"{text}+00:00")
