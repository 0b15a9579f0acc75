"""Rows through `datasets`: the one file that imports it."""

from collections.abc import Iterator
from typing import Protocol

import datasets

from proxies.errors import SourceError


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
    """Yield the texts of a split of the data set at `path`."""
    try:
        rows = datasets.load_dataset(
            path, split.name, split=split.split, streaming=split.streaming, revision=split.revision
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"data set {path!r} cannot be loaded: {first}; check path, name and split {split.split!r}"
        ) from error
    for number, row in enumerate(rows):
        text = row.get(split.column)
        if not isinstance(text, str):
            raise SourceError(
                f"row {number} of data set {path!r} has no text in {split.column!r}; its columns: {sorted(row)}"
            )
        yield text
