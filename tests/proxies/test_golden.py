"""The loss curves of one dense and one routed proxy, as they were: whoever changes them does so knowingly.

$ python -m tests.proxies.test_golden FOLDER   (writes them anew; FOLDER is for the text)
"""

import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from proxies.checkpoint import Checkpoint
from proxies.config import ProxyConfig
from proxies.corpus import Corpus
from proxies.train import Plan, train_together
from proxies.training import Progress, Training
from tests.proxies.conftest import small_corpus

GOLDEN = Path(__file__).with_name("golden_curves.json")
SHAPE = {
    "layers": 2,
    "width": 32,
    "heads": 2,
    "sequence_tokens": 32,
    "batch_sequences": 4,
    "lags": 1,
    "optimizer": "adamw",
    "learning_rate": 0.005,
    "precision": "float32",
}
PROXIES = {"dense": SHAPE, "routed": SHAPE | {"experts": 4, "top_k": 2}}
TOKENS = 128 * 40
ELSEWHERE = 2e-3  # products of another machine add up in another order, and forty steps let that grow


def machine_type() -> str:
    """What the last digit of a loss depends on: the processor, its torch and its kernels, as a digest."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    model = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return hashlib.sha256(repr((model, torch.__version__, torch.__config__.show())).encode()).hexdigest()[:16]


def run(corpus: Corpus, kind: str, *, checkpoint: Checkpoint | None = None, tear_at: int | None = None) -> Training:
    def tear(progress: Progress) -> None:
        if tear_at is not None and progress.tokens >= tear_at:
            raise KeyboardInterrupt

    plan = Plan(
        config=ProxyConfig.from_plain(PROXIES[kind]),
        recipe=[(1.0, {"a": 0.6, "b": 0.4})],
        tokens=TOKENS,
        seed=7,
        report=tear,
        checkpoint=checkpoint,
    )
    return train_together([plan], corpus)[0]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", PROXIES)
def test_losses_are_the_golden_ones_twice_in_a_row_and_torn_apart(corpus: Corpus, tmp_path: Path, kind: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    first, again = run(corpus, kind), run(corpus, kind)
    assert (first.curve, first.losses) == (again.curve, again.losses)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, kind, checkpoint=Checkpoint(folder=str(tmp_path), every_s=0.0), tear_at=TOKENS // 2)
    resumed = run(corpus, kind, checkpoint=Checkpoint(folder=str(tmp_path), every_s=0.0))
    assert (resumed.curve, resumed.losses) == (first.curve, first.losses)
    exact = golden["machine_type"] == machine_type()
    tolerance = {"rel": 0.0, "abs": 0.0} if exact else {"rel": ELSEWHERE}
    assert [loss for _, loss in first.curve] == pytest.approx(golden[kind]["curve"], **tolerance)
    assert first.losses == pytest.approx(golden[kind]["losses"], **tolerance)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    corpus = small_corpus(folder)
    found: dict[str, object] = {"machine_type": machine_type()}
    for kind in PROXIES:
        training = run(corpus, kind)
        found[kind] = {"curve": [loss for _, loss in training.curve], "losses": dict(training.losses)}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
