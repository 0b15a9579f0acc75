"""Sources: what was written is what is read, whatever the format; what is wrong is said."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxies.documents import Document, TokenDocument
from proxies.errors import SourceError
from proxies.sources import SOURCES, open_source

TEXTS = ["first\nof all", "second", "\u00e4 third \u4f60"]


def read(root: Path, **plain: object) -> list[str]:
    source = open_source(plain, root=root, where="domain 'a'")
    documents = list(source.documents())
    assert all(isinstance(document, Document) for document in documents)
    return [document.text for document in documents if isinstance(document, Document)]


def test_text_files_are_a_document_each_and_sorted(tmp_path: Path) -> None:
    for index, text in enumerate(TEXTS):
        (tmp_path / f"{index}.txt").write_text(text, encoding="utf-8")
    assert read(tmp_path, kind="files", paths="*.txt") == TEXTS
    assert read(tmp_path, kind="files", paths=["2.txt", "*.txt"]) == [TEXTS[2], TEXTS[0], TEXTS[1]]


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_json_lines_packed_or_not(tmp_path: Path, packed: str) -> None:
    content = "".join(json.dumps({"body": text}) + "\n" for text in TEXTS).encode()
    if packed == ".gz":
        content = gzip.compress(content)
    if packed == ".zst":
        content = pa.compress(content, codec="zstd", asbytes=True)
    (tmp_path / f"a.jsonl{packed}").write_bytes(content)
    assert read(tmp_path, kind="files", paths=f"a.jsonl{packed}", field="body") == TEXTS


def test_a_column_of_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2, 3], "body": TEXTS}), tmp_path / "a.parquet")
    assert read(tmp_path, kind="files", paths="a.parquet", column="body") == TEXTS
    with pytest.raises(SourceError, match=r"no column 'text'; it has \['body', 'n'\]"):
        read(tmp_path, kind="files", paths="a.parquet")


def test_files_by_url(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("over there")
    assert read(tmp_path, kind="files", paths=f"file://{tmp_path}/*.txt") == ["over there"]


def test_prompts_and_answers(tmp_path: Path) -> None:
    (tmp_path / "qa.jsonl").write_text(json.dumps({"q": "2 + 2 =", "a": " 4"}) + "\n")
    source = open_source(
        {"kind": "files", "paths": "qa.jsonl", "prompt": "q", "answer": "a"}, root=tmp_path, where="evaluation set 'm'"
    )
    (document,) = source.documents()
    assert isinstance(document, Document)
    assert (document.prompt, document.text) == ("2 + 2 =", " 4")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_local_data_set_through_datasets(tmp_path: Path, streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "set" / "train.parquet")
    options = {"kind": "huggingface", "path": "set", "streaming": streaming}
    assert read(tmp_path, **options) == TEXTS
    assert read(tmp_path, **options, max_documents=2) == TEXTS[:2]
    assert read(tmp_path, **options, max_bytes=len(TEXTS[0])) == TEXTS[:1]
    with pytest.raises(SourceError, match=r"no text in 'body'; its columns: \['text'\]"):
        read(tmp_path, **options, column="body")


def test_token_arrays_are_cut_at_their_ends(tmp_path: Path) -> None:
    ids = np.array([5, 6, 0, 7, 0, 0, 8], dtype=np.uint16)
    np.save(tmp_path / "a.npy", ids)
    ids.tofile(tmp_path / "a.bin")
    options = {"kind": "tokens", "end_of_document": 0, "vocabulary": 9}
    for extra in ({"paths": "a.npy"}, {"paths": "a.bin", "dtype": "uint16"}):
        documents = list(open_source({**options, **extra}, root=tmp_path, where="domain 'a'").documents())
        assert [each.tokens.tolist() for each in documents if isinstance(each, TokenDocument)] == [[5, 6], [7], [8]]
    with pytest.raises(SourceError, match="state the dtype"):
        list(open_source({**options, "paths": "a.bin"}, root=tmp_path, where="domain 'a'").documents())


def test_a_fingerprint_changes_with_a_file_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    source = open_source({"kind": "files", "paths": "a.txt"}, root=tmp_path, where="domain 'a'")
    before = source.fingerprint()
    assert source.fingerprint() == before
    (tmp_path / "a.txt").write_text("another")
    assert source.fingerprint() != before


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"kind": "web"}, f"domain 'a' has the unknown kind 'web'; known: .*{min(SOURCES)}"),
        ({}, "unknown kind None"),
        ({"kind": "files"}, r"lacks \['paths'\]"),
        ({"kind": "files", "paths": []}, "paths is empty"),
        ({"kind": "files", "paths": "a.txt", "colum": "x"}, r"unknown keys \['colum'\]; 'files' takes"),
        ({"kind": "files", "paths": "a.txt", "root": "/"}, r"unknown keys \['root'\]"),
        ({"kind": "files", "paths": "a.txt", "prompt": "q"}, "belong together"),
        ({"kind": "tokens", "paths": "a.npy", "end_of_document": 0}, "either the tokenizer"),
        ({"kind": "installed", "section": "web"}, "no section 'web'"),
        ({"kind": "huggingface", "path": "x", "max_bytes": 0}, "max_bytes is 0"),
    ],
)
def test_a_wrong_source_is_refused(plain: dict[str, object], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(plain, root=Path(), where="domain 'a'")


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file matches '\*\.md'"):
        read(tmp_path, kind="files", paths="*.md")


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"txt": "y"}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl:2 has no text in 'text' \(got None\); its fields: \['txt'\]"):
        read(tmp_path, kind="files", paths="a.jsonl")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="is not utf-8 text"):
        read(tmp_path, kind="files", paths="b.txt")
