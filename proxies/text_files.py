"""Reading one file of documents: text, JSON Lines or Parquet, packed or not."""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from proxies.documents import Document, Question
from proxies.errors import SourceError
from proxies.paths import COMPRESSIONS, is_remote, suffix_of
from proxies.questions import QuestionKeys, question
from proxies.remote_files import open_remote

Row = Mapping[str, Any]
BATCH_ROWS = 1_024
LINES = frozenset({".jsonl", ".ndjson"})
DEFAULT_KEY = "text"
LOG = logging.getLogger(__name__)


def read(name: str, *, field: str | None, column: str | None, pair: tuple[str, str] | None) -> Iterator[Document]:
    """Yield the documents of a file or URL; `pair` names the fields of prompt and answer, where it has these."""
    suffix = suffix_of(name)
    try:
        with _open(name, COMPRESSIONS.get(PurePosixPath(name).suffix.lower())) as stream:
            if suffix == ".parquet":
                keys = pair or (column or DEFAULT_KEY,)
                yield from _documents(_table(stream, keys, name), keys, name)
            elif suffix in LINES or (suffix == ".json" and (field is not None or pair)):
                yield from _documents(_lines(stream, name), pair or (field or DEFAULT_KEY,), name)
            elif pair:
                raise SourceError(f"{name!r} holds no prompts and answers; give .jsonl, .json or .parquet files")
            elif suffix == ".json":
                yield from _json(stream, name)
            else:
                yield Document(text=_decode(stream.read(), name), name=name)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{name!r} cannot be read: {error}; check the file") from error


def read_questions(name: str, keys: QuestionKeys) -> Iterator[Question]:
    """Yield the questions of multiple choice of a file or URL; SourceError names the row that holds none."""
    columns = (keys.prompt, keys.choices, keys.answer)
    suffix = suffix_of(name)
    try:
        with _open(name, COMPRESSIONS.get(PurePosixPath(name).suffix.lower())) as stream:
            if suffix != ".parquet" and suffix not in LINES | {".json"}:
                raise SourceError(f"{name!r} holds no questions; give .jsonl, .json (a row a line) or .parquet files")
            rows = _table(stream, columns, name) if suffix == ".parquet" else _lines(stream, name)
            for where, row in rows:
                yield question(row, keys, where)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{name!r} cannot be read: {error}; check the file") from error


def _json(stream: IO[bytes], name: str) -> Iterator[Document]:
    """Yield the documents of a file that holds an object a line, or else is one document."""
    content = stream.read()
    if _holds_lines(content):
        yield from _documents(_lines(io.BytesIO(content), name), (DEFAULT_KEY,), name)
    else:
        yield Document(text=_decode(content, name), name=name)


def _holds_lines(content: bytes) -> bool:
    """Say whether the first line is a whole object, and either another follows or it has text in the usual field."""
    lines = (line for line in io.BytesIO(content) if line.strip())
    try:
        first = json.loads(next(lines, b""))
    except ValueError:
        return False
    if not isinstance(first, dict):
        return False
    following = next(lines, b"")
    return following.lstrip().startswith(b"{") if following else isinstance(first.get(DEFAULT_KEY), str)


def _open(name: str, compression: str | None) -> IO[bytes]:
    source: IO[bytes] = open_remote(name) if is_remote(name) else Path(name).open("rb")  # noqa: SIM115 - caller closes
    if compression is None:
        return source
    stream: IO[bytes] = io.BufferedReader(_Unpacked(pa.input_stream(source, compression=compression), source))
    return stream


class _Unpacked(io.RawIOBase):
    """An Arrow stream as Python's own layers want it."""

    def __init__(self, stream: pa.NativeFile, source: IO[bytes]) -> None:
        self._stream, self._source = stream, source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any buffer, as io has it
        content: bytes = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._source.close()
        super().close()


def _lines(stream: IO[bytes], name: str) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            where = f"{name}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SourceError(f"{where} is not JSON ({error}); give one JSON object a line") from error
            if not isinstance(row, dict):
                raise SourceError(f"{where} is no JSON object; give one a line")
            yield where, row


def _table(stream: IO[bytes], columns: tuple[str, ...], name: str) -> Iterator[tuple[str, Row]]:
    table = pq.ParquetFile(stream)
    if missing := set(columns) - set(table.schema_arrow.names):
        raise SourceError(f"{name!r} has no column {min(missing)!r}; it has {sorted(table.schema_arrow.names)}")
    number = 0
    for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
        for row in batch.to_pylist():
            number += 1
            yield f"{name}:{number}", row


def _documents(rows: Iterator[tuple[str, Row]], keys: tuple[str, ...], name: str) -> Iterator[Document]:
    """Yield the rows' texts in `keys`: the last is the document's, one before it the prompt's."""
    found, skipped = 0, 0
    lacking: tuple[str, Row] | None = None
    for where, row in rows:
        if any(row.get(key) is None for key in keys):
            lacking = lacking or (where, row)
            skipped += 1
            continue
        found += 1
        prompt = _text(row, keys[0], where) if len(keys) > 1 else ""
        yield Document(text=_text(row, keys[-1], where), prompt=prompt, name=where)
    if lacking and not found:
        _refuse(
            lacking[1], next(key for key in keys if lacking[1].get(key) is None), lacking[0], "nor has any other row"
        )
    if skipped:
        LOG.warning("%s: %d of %d rows have nothing in %r and are left out", name, skipped, found + skipped, keys)


def _text(row: Row, key: str, where: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        _refuse(row, key, where, "give the name of one that holds text")
    return str(value)


def _refuse(row: Row, key: str, where: str, more: str) -> NoReturn:
    raise SourceError(f"{where} has no text in {key!r} (got {row.get(key)!r:.40}), {more}; its fields: {sorted(row)}")


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{name!r} is not utf-8 text ({error.reason} at byte {error.start}); convert it or leave it out"
        ) from error
