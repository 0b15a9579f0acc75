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
from proxies.huggingface_source import HuggingFaceSource
from proxies.sources import SOURCES, open_source
from proxies.spool import spool

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


@pytest.mark.parametrize(
    ("name", "content"), [("a.npy", b""), ("a.npy", b"no array"), ("a.bin", b""), ("a.bin", b"abc")]
)
def test_a_broken_token_array_is_said(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    plain = {"kind": "tokens", "paths": name, "end_of_document": 0, "vocabulary": 9, "dtype": "uint16"}
    with pytest.raises(SourceError, match=r"cannot be read as an array .* check the file and its dtype"):
        list(open_source(plain, root=tmp_path, where="domain 'a'").documents())


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
        ({"kind": "huggingface", "path": "x", "max_bytes": "many"}, "domain 'a': max_bytes is 'many'; give a whole"),
        ({"kind": "huggingface", "path": "x", "max_bytes": 1.5}, "max_bytes is 1.5; give a whole number"),
        ({"kind": "huggingface", "path": "x", "streaming": "yes"}, "streaming is 'yes'; give true or false"),
        ({"kind": "huggingface", "path": "x", "revision": 2024}, "revision is 2024; give text"),
        ({"kind": "files", "paths": None}, "paths is empty; give text .* or a list of text"),
        ({"kind": "files", "paths": ["a.txt", 3]}, r"paths is \['a.txt', 3\]; give"),
        ({"kind": ["files"]}, r"unknown kind \['files'\]"),
        ({"kind": "files", "paths": "a.txt", 3: 4}, r"unknown keys \['3'\]"),
        ({"kind": "installed", "section": "docs", "sample": [4]}, r"sample is \[4\]"),
        ({"kind": "installed", "section": "docs", "sample": True}, "sample is True; give a whole number"),
        ({"kind": "installed", "section": "docs", "sample": float("inf")}, "sample is inf; give a whole number"),
    ],
)
def test_a_wrong_source_is_refused(plain: dict[str, object], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(plain, root=Path(), where="domain 'a'")


@pytest.mark.parametrize("value", [4_000, "4000", 4e3, "4e3", "4_000"])
def test_whole_numbers_may_be_written_in_any_way(value: object) -> None:
    plain = {"kind": "huggingface", "path": "x", "max_bytes": value}
    assert open_source(plain, root=Path(), where="domain 'a'") == HuggingFaceSource(path="x", max_bytes=4_000)


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file matches '\*\.md'"):
        read(tmp_path, kind="files", paths="*.md")


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"text": 3}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl:2 has no text in 'text' \(got 3\), .* its fields: \['text'\]"):
        read(tmp_path, kind="files", paths="a.jsonl")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="is not utf-8 text"):
        read(tmp_path, kind="files", paths="b.txt")


def test_rows_without_text_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"txt": "y"}\n{"text": null}\n{"text": "z"}\n')
    assert read(tmp_path, kind="files", paths="a.jsonl") == ["x", "z"]
    pq.write_table(pa.table({"text": ["x", None, "z"]}), tmp_path / "a.parquet")
    assert read(tmp_path, kind="files", paths="a.parquet") == ["x", "z"]
    (tmp_path / "set").mkdir()
    (tmp_path / "a.parquet").rename(tmp_path / "set" / "train.parquet")
    assert read(tmp_path, kind="huggingface", path="set") == ["x", "z"]
    said = [record.getMessage() for record in caplog.records if record.name.startswith("proxies")]
    assert ["2 of 4 rows" in said[0], "1 of 3 rows" in said[1], "1 rows" in said[2], len(said)] == [True, True, True, 3]


def test_a_file_whose_rows_all_lack_the_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"txt": "x"}\n{"txt": "y"}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl:1 has no text in 'text' .* nor has any .* its fields: \['txt'\]"):
        read(tmp_path, kind="files", paths="a.jsonl")


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_json_that_holds_an_object_a_line_is_read_by_lines(tmp_path: Path, packed: str) -> None:
    def write(content: str) -> None:
        pack = {".gz": gzip.compress, ".zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True)}
        (tmp_path / f"a.json{packed}").write_bytes(pack.get(packed, bytes)(content.encode()))

    options = {"kind": "files", "paths": f"a.json{packed}"}
    write("".join(json.dumps({"text": text, "url": "u"}) + "\n" for text in TEXTS))
    assert read(tmp_path, **options) == TEXTS
    write(json.dumps({"text": TEXTS[0]}) + "\n")
    assert read(tmp_path, **options) == TEXTS[:1]
    write(json.dumps({"body": TEXTS[1]}))
    assert read(tmp_path, **options, field="body") == [TEXTS[1]]
    for whole in (json.dumps({"a": 1}), json.dumps({"text": "x", "b": 2}, indent=1), '["a", "b"]\n["c"]\n', "[1,\n2]"):
        write(whole)
        assert read(tmp_path, **options) == [whole]


def test_a_field_that_no_file_can_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"body": "y"}\n')
    for name, key in (("a.txt", "field"), ("a.parquet", "field"), ("a.jsonl", "column")):
        with pytest.raises(SourceError, match=f"{key} is 'text', but no file of .*{name}.* leave it out"):
            read(tmp_path, kind="files", paths=name, **{key: "text"})
    assert read(tmp_path, kind="files", paths=["a.jsonl", "a.parquet"], field="body", column="text") == ["y", *TEXTS]


def test_brackets_in_the_name_of_the_root_are_no_pattern(tmp_path: Path) -> None:
    root = tmp_path / "run [1]*"
    root.mkdir()
    (root / "a.txt").write_text("inside")
    assert read(root, kind="files", paths="*.txt") == ["inside"]
    assert read(root, kind="files", paths=[str(tmp_path / "r*" / "a.txt")]) == ["inside"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_data_set_that_breaks_while_it_is_read_is_said(tmp_path: Path, streaming: bool) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"text": "x"}\n' * 3 + "{broken\n")
    with pytest.raises(SourceError, match=r"data set '.*set' cannot be read: .+; check path"):
        read(tmp_path, kind="huggingface", path="set", streaming=streaming)


@pytest.mark.parametrize("wrong", [256 + 65, -1])
def test_ids_outside_the_vocabulary_do_not_wrap(tmp_path: Path, wrong: int) -> None:
    tokens = TokenDocument(tokens=np.array([5, wrong]).astype(np.int32), name="a.npy:0")  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=rf"a\.npy:0 has the id {wrong}, the vocabulary is 256"):
        spool([tokens], tmp_path / "spool", token_type=np.dtype(np.uint8), vocabulary=256)
