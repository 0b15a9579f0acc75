"""Checkpoints: a training that was torn apart ends as if it had not been."""

from pathlib import Path

import pytest
import torch

from proxies import checkpoint as checkpoints
from proxies.checkpoint import FILE, Checkpoint
from proxies.config import ProxyConfig
from proxies.corpus import Corpus
from proxies.errors import ProxyError
from proxies.train import train
from proxies.training import Progress, Training

SHAPE = {"layers": 1, "width": 16, "heads": 1, "sequence_tokens": 32, "batch_sequences": 4, "lags": 1}
PROXIES = {
    "muon": {},
    "adamw": {"optimizer": "adamw", "activation": "swiglu"},
    "routed": {"experts": 4, "router": "sigmoid"},
    "started": {"layers": 2, "init": {"method": "grow", "tokens": 128 * 10, "proxy": {"layers": 1}}},
}
TOKENS = 128 * 50  # 50 steps, a point of the curve every other one


class Torn(BaseException):
    """What ends the process."""


def run(corpus: Corpus, kind: str, *, folder: str | None, tear_at: int | None = None) -> Training:
    def tear(progress: Progress) -> None:
        if tear_at is not None and progress.tokens >= tear_at:
            raise Torn

    return train(
        ProxyConfig.from_plain(SHAPE | PROXIES[kind]),
        corpus,
        [(1.0, {"a": 1.0})],
        tokens=TOKENS,
        seed=3,
        report=tear,
        checkpoint=None if folder is None else Checkpoint(folder=folder, every_s=0.0),
    )


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("place", ["path", "url"])
def test_a_training_torn_twice_ends_with_the_same_losses_bit_for_bit(
    corpus: Corpus, tmp_path: Path, kind: str, place: str
) -> None:
    whole = run(corpus, kind, folder=None)
    folder = str(tmp_path / "c") if place == "path" else f"memory://{tmp_path}/c"
    for tear_at in (TOKENS // 3, TOKENS // 2):
        with pytest.raises(Torn):
            run(corpus, kind, folder=folder, tear_at=tear_at)
    torn = run(corpus, kind, folder=folder)
    assert torn.losses == whole.losses
    assert torn.curve == whole.curve
    checkpoints.remove(folder)
    assert Checkpoint(folder=folder, every_s=0.0).load() is None


def test_it_goes_on_and_does_not_begin_again(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(Torn):
        run(corpus, "muon", folder=str(tmp_path), tear_at=TOKENS // 2)
    with pytest.raises(Torn):  # its first point of the curve is the next one already
        run(corpus, "muon", folder=str(tmp_path), tear_at=TOKENS // 2 + 1)
    state = Checkpoint(folder=str(tmp_path), every_s=0.0).load()
    assert state is not None
    assert len(state["losses"]) >= 25


def test_a_file_that_was_cut_short_is_no_checkpoint(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(Torn):
        run(corpus, "muon", folder=str(tmp_path), tear_at=TOKENS // 2)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-100])
    assert Checkpoint(folder=str(tmp_path), every_s=0.0).load() is None
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_it_is_saved_as_often_as_was_asked_for(tmp_path: Path) -> None:
    rare = Checkpoint(folder=str(tmp_path), every_s=3600.0)
    assert not rare.is_due
    often = Checkpoint(folder=str(tmp_path), every_s=0.0)
    often.save({"x": torch.arange(3)})
    state = often.load()
    assert state is not None
    assert torch.equal(state["x"], torch.arange(3))


def test_a_place_that_is_none_is_answered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProxyError, match="choose another place"):
        Checkpoint(folder=str(tmp_path / "file" / "c"), every_s=0.0).save({})
    with pytest.raises(ProxyError, match="no place for checkpoints"):
        Checkpoint(folder="nonsense://x", every_s=0.0).load()
