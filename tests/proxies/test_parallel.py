"""One training in two processes is the training in one, up to the order of sums."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from proxies.config import ProxyConfig
from proxies.corpus import Corpus
from proxies.errors import ProxyError
from proxies.parallel import Group, Ranks, open_port
from proxies.train import train
from proxies.training import Training

SHAPE = {
    "layers": 2,
    "width": 16,
    "heads": 1,
    "sequence_tokens": 32,
    "batch_sequences": 4,
    "optimizer": "adamw",
    "precision": "float32",
    "learning_rate": 0.01,
}
PROXIES = {
    "dense": SHAPE,
    "routed": SHAPE | {"experts": 4, "balance_coefficient": 1.0},  # so heavy that local loads would show
}
OTHER = """
import json, sys
from pathlib import Path
from proxies.config import ProxyConfig
from proxies.corpus import open_corpus
from proxies.parallel import Ranks
from proxies.train import train
folder, calls = sys.argv[1], json.loads(sys.argv[2])
for plain, address in calls:
    train(ProxyConfig.from_plain(plain), open_corpus(Path(folder)), [(1.0, {"a": 1.0})], tokens=128 * 30, seed=1,
          ranks=Ranks(rank=1, count=2, address=address))
"""


def run(corpus: Corpus, kind: str, ranks: Ranks | None = None) -> Training:
    config = ProxyConfig.from_plain(PROXIES[kind])
    return train(config, corpus, [(1.0, {"a": 1.0})], tokens=128 * 30, seed=1, ranks=ranks)


@pytest.fixture(scope="module")
def together(corpus: Corpus) -> dict[str, Training]:
    """The trainings with a second process, which is rank 1 of each."""
    addresses = {kind: f"127.0.0.1:{open_port()}" for kind in PROXIES}
    calls = json.dumps([[PROXIES[kind], addresses[kind]] for kind in PROXIES])
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(corpus.folder), calls], cwd=Path(__file__).parents[2])
    found = {kind: run(corpus, kind, Ranks(rank=0, count=2, address=addresses[kind])) for kind in PROXIES}
    assert other.wait(60) == 0
    return found


@pytest.mark.parametrize("kind", PROXIES)
def test_two_processes_end_with_the_losses_of_one(corpus: Corpus, together: dict[str, Training], kind: str) -> None:
    alone, shared = run(corpus, kind), together[kind]
    assert shared.details["processes"] == 2
    assert [tokens for tokens, _ in shared.curve] == [tokens for tokens, _ in alone.curve]
    np.testing.assert_allclose([x for _, x in shared.curve], [x for _, x in alone.curve], rtol=1e-4)
    assert shared.losses["a"] == pytest.approx(alone.losses["a"], rel=1e-4)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ProxyError, match="a batch of 4 sequences does not divide among 3 processes"):
        Group(rank=0, count=3).part(np.zeros((4, 2), dtype=np.int64))
