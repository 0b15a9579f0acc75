"""Text that tests of training share."""

from pathlib import Path

import pytest

from proxies.corpus import Corpus, prepare
from proxies.corpus_config import CorpusConfig


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The text below, prepared."""
    return small_corpus(tmp_path_factory.mktemp("text"))


def small_corpus(folder: Path) -> Corpus:
    """Thirty short documents of numbers and as many of letters; the numbers are an evaluation set too."""
    for number in range(30):
        (folder / f"a{number}.txt").write_text(" ".join(f"{number * i % 97} and {i}" for i in range(80)))
        (folder / f"b{number}.txt").write_text(" ".join(f"{chr(97 + number * i % 26)}ness" for i in range(80)))
    plain = {
        "tokenizer": {"kind": "bytes"},
        "domains": [
            {"name": "a", "source": {"kind": "files", "paths": f"{folder}/a*.txt"}, "held_out": 0.2},
            {"name": "b", "source": {"kind": "files", "paths": f"{folder}/b*.txt"}},
        ],
        "evaluation": [{"name": "a", "domain": "a", "excerpt_tokens": 32, "max_bytes": 1024}],
    }
    return prepare(CorpusConfig.from_plain(plain), folder / "corpora")
