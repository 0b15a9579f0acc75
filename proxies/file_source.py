"""Documents from files: whole text files, lines of JSON, or a column of Parquet."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxies.documents import Document
from proxies.errors import SourceError
from proxies.paths import as_patterns, expand, stamp


@dataclass(frozen=True, kw_only=True)
class FilesSource:
    """Files named by `paths` (patterns or fsspec URLs); the suffix tells the format, .gz and .zst are unpacked.

    .jsonl: one document a line, its text in `field`. .parquet: one document a row, its text in `column`. All others:
    one document a file. With `prompt` and `answer` (names of fields or columns) a document is a prompt and the answer
    to it; only the answer is scored.
    """

    paths: str | tuple[str, ...]
    field: str = "text"
    column: str = "text"
    prompt: str | None = None
    answer: str | None = None
    root: Path = dataclasses.field(default_factory=Path, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", as_patterns(self.paths))
        if (self.prompt is None) != (self.answer is None):
            raise SourceError("prompt and answer belong together; give the names of both fields, or neither")

    def documents(self) -> Iterator[Document]:
        """Yield the documents, files in the order of `paths`."""
        from proxies.text_files import read  # noqa: PLC0415 - pyarrow takes long to import

        for name in expand(as_patterns(self.paths), root=self.root):
            yield from read(name, field=self.field, column=self.column, pair=self._pair())

    def fingerprint(self) -> str:
        """Return names, sizes and times of the files."""
        return "\n".join(stamp(name, root=self.root) for name in expand(as_patterns(self.paths), root=self.root))

    def _pair(self) -> tuple[str, str] | None:
        return (self.prompt, self.answer) if self.prompt is not None and self.answer is not None else None
