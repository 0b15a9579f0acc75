"""Documents from files: whole text files, lines of JSON, or a column of Parquet."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxies.documents import Document, Question
from proxies.errors import SourceError
from proxies.paths import as_patterns, expand, stamp, suffix_of
from proxies.questions import QuestionKeys

FIELD_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
COLUMN_SUFFIXES = frozenset({".parquet"})


@dataclass(frozen=True, kw_only=True)
class FilesSource:
    """Files named by `paths` (patterns or fsspec URLs); the suffix tells the format, .gz and .zst are unpacked.

    .jsonl, and .json that holds an object a line: one document a line, its text in `field`. .parquet: one document a
    row, its text in `column`. Both are "text" unless given. All others: one document a file. A given `field` makes all
    .json be read by lines. Rows without text are left out, and counted in a warning.

    With `prompt` and `answer` (names of fields or columns) a document is a prompt and the answer
    to it; only the answer is scored. With `choices` too (a list of texts) it is a question of multiple choice, and
    `answer` tells the right one.
    """

    paths: str | tuple[str, ...]
    field: str | None = None
    column: str | None = None
    prompt: str | None = None
    answer: str | None = None
    choices: str | None = None
    root: Path = dataclasses.field(default_factory=Path, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", as_patterns(self.paths))
        self._question_keys()

    def documents(self) -> Iterator[Document | Question]:
        """Yield the documents, files in the order of `paths`."""
        from proxies.text_files import read, read_questions  # noqa: PLC0415 - pyarrow takes long to import

        names = expand(as_patterns(self.paths), root=self.root)
        for key, value, suffixes in (("field", self.field, FIELD_SUFFIXES), ("column", self.column, COLUMN_SUFFIXES)):
            if value is not None and not any(suffix_of(name) in suffixes for name in names):
                raise SourceError(
                    f"{key} is {value!r}, but no file of {list(as_patterns(self.paths))} has {key}s "
                    f"({', '.join(sorted(suffixes))} have); leave it out"
                )
        keys = self._question_keys()
        for name in names:
            if keys is not None:
                yield from read_questions(name, keys)
                continue
            yield from read(name, field=self.field, column=self.column, pair=self._pair())

    def fingerprint(self) -> str:
        """Return names, sizes and times of the files."""
        return "\n".join(stamp(name, root=self.root) for name in expand(as_patterns(self.paths), root=self.root))

    def _question_keys(self) -> QuestionKeys | None:
        return QuestionKeys.of(self.prompt, self.choices, self.answer)

    def _pair(self) -> tuple[str, str] | None:
        return (self.prompt, self.answer) if self.prompt is not None and self.answer is not None else None
