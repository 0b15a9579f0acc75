"""Text that tests of training share."""

import pytest

from proxies.corpus import Corpus, prepare
from proxies.corpus_config import CorpusConfig


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Thirty short documents of numbers, one domain that is its own evaluation set."""
    folder = tmp_path_factory.mktemp("text")
    for number in range(30):
        (folder / f"{number}.txt").write_text(" ".join(f"{number * i % 97} and {i}" for i in range(80)))
    plain = {
        "tokenizer": {"kind": "bytes"},
        "domains": [{"name": "a", "source": {"kind": "files", "paths": f"{folder}/*.txt"}, "held_out": 0.2}],
        "evaluation": [{"name": "a", "domain": "a", "excerpt_tokens": 32, "max_bytes": 1024}],
    }
    return prepare(CorpusConfig.from_plain(plain), tmp_path_factory.mktemp("corpora"))
