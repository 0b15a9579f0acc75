"""Tokenizers: round trips, and bytes that add up."""

from pathlib import Path

import numpy as np
import pytest

from proxies.errors import CorpusError
from proxies.tokenization import ByteTokenizer, check_tokenizer, open_tokenizer, read_tokenizer, train_bpe

TEXT = "The na\u00efve caf\u00e9 said: 'hello, world' twice; \u4f60\u597d!\n\tx = f(y)  # done\n"


def content(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def test_ids_of_the_byte_tokenizer_are_the_bytes() -> None:
    assert bytes(ByteTokenizer().encode(content(TEXT)).tolist()) == TEXT.encode()


def test_a_trained_vocabulary_gives_the_text_back_and_its_bytes_add_up(tmp_path: Path) -> None:
    trained = train_bpe([TEXT * 20], vocabulary=300)
    ids = trained.encode(content(TEXT))
    assert trained.decode(ids) == TEXT.encode()
    assert trained.byte_lengths(ids).sum() == len(TEXT.encode())
    assert len(ids) < len(TEXT.encode())
    assert trained.vocabulary <= 300
    assert trained.end_of_document not in ids


def test_a_saved_tokenizer_is_the_same_one(tmp_path: Path) -> None:
    trained = train_bpe([TEXT * 20], vocabulary=300)
    (tmp_path / "tokenizer.json").write_text(trained.model.to_str())
    assert read_tokenizer(tmp_path / "tokenizer.json").identity == trained.identity
    opened = open_tokenizer({"kind": "file", "path": "tokenizer.json"}, root=tmp_path)
    assert opened is not None
    assert opened.identity == trained.identity


def test_a_missing_file_or_end_is_said(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"tokenizer file .*none\.json' does not exist"):
        read_tokenizer(tmp_path / "none.json")
    (tmp_path / "t.json").write_text(train_bpe([TEXT], vocabulary=260).model.to_str())
    with pytest.raises(CorpusError, match="has none of the tokens"):
        read_tokenizer(tmp_path / "t.json", end_of_document="<stop>")


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"kind": "words"}, "unknown kind 'words'; known: \\['bpe', 'bytes', 'file', 'ids'\\]"),
        ({"kind": "bytes", "vocabulary": 9}, "unknown keys \\['vocabulary'\\]"),
        ({"kind": "bpe"}, "lacks \\['vocabulary'\\]"),
        ({"kind": "bpe", "vocabulary": 100}, "at least 257"),
    ],
)
def test_a_wrong_section_is_refused(plain: dict[str, object], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        check_tokenizer(plain)
