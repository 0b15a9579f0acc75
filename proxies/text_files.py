"""Reading one file of documents: text, JSON Lines or Parquet, packed or not."""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from proxies.documents import Document
from proxies.errors import SourceError
from proxies.paths import is_remote
from proxies.remote_files import open_remote

Row = Mapping[str, Any]
COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd"}
BATCH_ROWS = 1_024
LINES = ([".jsonl"], [".ndjson"])


def read(name: str, *, field: str, column: str, pair: tuple[str, str] | None) -> Iterator[Document]:
    """Yield the documents of a file or URL; `pair` names the fields of prompt and answer, where it has these."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    suffix = (suffixes[:-1] if compression else suffixes)[-1:]
    try:
        with _open(name, compression) as stream:
            if suffix in LINES or suffix == [".parquet"]:
                rows = _lines(stream, name) if suffix in LINES else _table(stream, pair or (column,), name)
                yield from _documents(rows, pair, field if suffix in LINES else column)
            elif pair:
                raise SourceError(f"{name!r} holds no prompts and answers; give .jsonl or .parquet files")
            else:
                yield Document(text=_decode(stream.read(), name), name=name)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{name!r} cannot be read: {error}; check the file") from error


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


def _documents(rows: Iterator[tuple[str, Row]], pair: tuple[str, str] | None, field: str) -> Iterator[Document]:
    for where, row in rows:
        if pair:
            yield Document(text=_text(row, pair[1], where), prompt=_text(row, pair[0], where), name=where)
        else:
            yield Document(text=_text(row, field, where), name=where)


def _text(row: Row, key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise SourceError(f"{where} has no text in {key!r} (got {value!r:.40}); its fields: {sorted(row)}")
    return value


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{name!r} is not utf-8 text ({error.reason} at byte {error.start}); convert it or leave it out"
        ) from error
