"""Rows through `datasets`: the one file that imports it."""

import logging
from collections.abc import Iterator, Mapping
from typing import Protocol

import datasets

from proxies.documents import Question
from proxies.errors import SourceError
from proxies.questions import QuestionKeys, question

LOG = logging.getLogger(__name__)


class Split(Protocol):
    """What of a source is asked for."""

    @property
    def name(self) -> str | None:
        """Return the configuration of the data set, if it has several."""
        ...

    @property
    def split(self) -> str:
        """Return the split."""
        ...

    @property
    def column(self) -> str:
        """Return the column that holds the text."""
        ...

    @property
    def streaming(self) -> bool:
        """Return whether rows are fetched as they are read."""
        ...

    @property
    def revision(self) -> str | None:
        """Return the pinned revision on the hub, if any."""
        ...


def texts(split: Split, *, path: str) -> Iterator[str]:
    """Yield the texts of a split of the data set at `path`; rows whose text is null are left out."""
    skipped = 0
    for number, row in enumerate(_rows(split, path)):
        text = row.get(split.column)
        if text is None and split.column in row:
            skipped += 1
            continue
        if not isinstance(text, str):
            raise SourceError(
                f"row {number} of data set {path!r} has no text in {split.column!r}; its columns: {sorted(row)}"
            )
        yield text
    if skipped:
        LOG.warning("data set %r: %d rows have no text in %r and are left out", path, skipped, split.column)


def questions(split: Split, keys: QuestionKeys, *, path: str) -> Iterator[Question]:
    """Yield the questions of multiple choice of a split; SourceError names the row that holds none."""
    for number, row in enumerate(_rows(split, path)):
        yield question(row, keys, f"row {number} of data set {path!r}")


def _rows(split: Split, path: str) -> Iterator[Mapping[str, object]]:
    try:
        yield from datasets.load_dataset(
            path, split.name, split=split.split, streaming=split.streaming, revision=split.revision
        )
    except Exception as error:  # the library raises what its readers and the network raise
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise SourceError(
            f"data set {path!r} cannot be read: {first}; check path, name and split {split.split!r}"
        ) from error
