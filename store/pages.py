"""Pages: a thousand trials of a search that have all ended, in one row: many are read again and again.

What has ended never changes (the guards see to it), so that a page says for ever what the rows behind it say. What may
still be said of such trials (that one was retracted, that a domain is no more) is no part of it, and read beside it.
"""

import json
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import Session

from store.blocks import Block, Floats, read_rows
from store.records import OPEN_STATES
from store.retractions import RETRACTABLE
from store.schema import DomainChangeRow, OutdatedRow, PageRow, RetractionRow, SearchRow, TrialRow

TRIALS = 1_000  # in a page: the last few that have none are read in some milliseconds, and a page is written in as many
SINCE = ("search_ids", "wrong", "gone")  # of a block: no part of a page


def close(session: Session, search_id: int, numbers: Iterable[int]) -> None:
    """Write the pages of trials that have just ended, where these were the last of them."""
    for first in {number - number % TRIALS for number in numbers}:
        if _is_whole(session, search_id, first):
            block = read_rows(session, _between(search_id, first, first + TRIALS - 1))
            session.add(PageRow(search_id=search_id, first=first, last=first + TRIALS - 1, **packed(block)))
            session.flush()


def fill(session: Session) -> None:
    """Write all pages that a store may have and has not: it is of a time before there were any."""
    for search_id in session.scalars(select(SearchRow.id)).all():
        numbers = select(TrialRow.number).where(TrialRow.search_id == search_id, TrialRow.number % TRIALS == 0)
        close(session, search_id, session.scalars(numbers).all())


def read(session: Session, search_id: int) -> Iterator[Block]:
    """Yield all trials of a search by number: pages, and what is between and after them from its rows."""
    found = session.scalars(select(PageRow).where(PageRow.search_id == search_id).order_by(PageRow.first)).all()
    wrong, gone = _since(session, search_id) if found else ({}, {})
    begin = 0
    for page in found:
        if page.first > begin:
            yield read_rows(session, _between(search_id, begin, page.first - 1))
        yield unpacked(page, wrong=wrong, gone=gone)
        begin = page.last + 1
    yield read_rows(session, and_(TrialRow.search_id == search_id, TrialRow.number >= begin))


def faulty(session: Session) -> Iterator[PageRow]:
    """Yield the pages that say something else than the rows behind them."""
    for page in session.scalars(select(PageRow)):
        said = packed(read_rows(session, _between(page.search_id, page.first, page.last)))
        if said != {"words": page.words, "floats": page.floats}:
            yield page


def packed(block: Block) -> dict[str, object]:
    """Return a block as the columns of a page: words and whole numbers as JSON, floats as they are."""
    words: dict[str, object] = {}
    floats: list[tuple[str, str | None, Floats]] = []
    for name in (each.name for each in fields(Block) if each.name not in SINCE):
        column = getattr(block, name)
        if isinstance(column, list):
            words[name] = column
        elif isinstance(column, array):
            floats.append((name, None, column))
        else:
            floats += [(name, key, values) for key, values in column.items()]
    places = [[name, key] for name, key, _ in floats]
    return {
        "words": json.dumps(words | {"floats": places}),
        "floats": b"".join(_bytes(values) for *_, values in floats),
    }


def unpacked(page: PageRow, *, wrong: Mapping[int, str], gone: Mapping[int, str]) -> Block:
    """Return the block of a page; wrong, gone: why trials were taken back, or are outdated, by their numbers."""
    columns: dict[str, Any] = {"weights": {}, "losses": {}, "accuracies": {}, "items": {}} | json.loads(page.words)
    places, values, count = columns.pop("floats"), _floats(page.floats), len(columns["ids"])
    for place, (name, key) in enumerate(places):
        column = values[place * count : (place + 1) * count]
        if key is None:
            columns[name] = column
        else:
            columns[name][key] = column
    return Block(
        **columns,
        search_ids=[page.search_id] * count,
        wrong=_placed(wrong, columns["numbers"]),
        gone=_placed(gone, columns["numbers"]),
    )


def _is_whole(session: Session, search_id: int, first: int) -> bool:
    """Say whether all trials of a page are there and have ended, and none of them is in a page yet."""
    last = and_(TrialRow.search_id == search_id, TrialRow.number == first + TRIALS - 1)
    if not session.scalar(select(exists().where(last))):
        return False
    is_open = and_(_between(search_id, first, first + TRIALS - 1), TrialRow.state.in_(OPEN_STATES))
    known = and_(PageRow.search_id == search_id, PageRow.first < first + TRIALS, PageRow.last >= first)
    return not session.scalar(select(exists().where(is_open) | exists().where(known)))


def _between(search_id: int, first: int, last: int) -> ColumnElement[bool]:
    return and_(TrialRow.search_id == search_id, TrialRow.number.between(first, last))


def _since(session: Session, search_id: int) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Return why trials of a search were taken back, and why they are outdated, by their numbers."""
    taken = select(TrialRow.number, RetractionRow.reason).join(RetractionRow, RetractionRow.trial_id == TrialRow.id)
    gone = (
        select(TrialRow.number, DomainChangeRow.note)
        .join(OutdatedRow, and_(OutdatedRow.trial_id == TrialRow.id, TrialRow.state.in_(RETRACTABLE)))
        .join(DomainChangeRow, DomainChangeRow.id == OutdatedRow.change_id)
    )
    mine = TrialRow.search_id == search_id
    return dict(session.execute(taken.where(mine)).all()), dict(session.execute(gone.where(mine)).all())


def _placed(said: Mapping[int, str], numbers: Iterable[int]) -> dict[int, str]:
    return {place: said[number] for place, number in enumerate(numbers) if number in said} if said else {}


def _bytes(values: Floats) -> bytes:
    return _as_stored(array("d", values)).tobytes()


def _floats(stored: bytes) -> Floats:
    values = array("d")
    values.frombytes(stored)
    return _as_stored(values)


def _as_stored(values: Floats) -> Floats:
    """Swap the bytes of `values` where this machine's order is another than the store's, the little end first."""
    if sys.byteorder == "big":
        values.byteswap()
    return values
