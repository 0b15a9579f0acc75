"""Merged data experts: at a corner the expert itself, between corners the model whose weights are the mean."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from proxies.checkpoint import kept_weights
from proxies.config import ProxyConfig
from proxies.corpus import Corpus
from proxies.errors import ProxyError
from proxies.initialize import averaged
from proxies.measuring import measure
from proxies.merged_experts import MergedExperts
from proxies.train import DataExperts, Plan, train, train_together

CONFIG = ProxyConfig(layers=1, width=16, heads=2, sequence_tokens=32, batch_sequences=4, precision="float32")


def test_merged_experts_are_each_expert_at_its_corner_and_the_mean_of_weights_between(
    corpus: Corpus, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("a", "b")}
    runs = {
        name: train(CONFIG, corpus, [(1.0, {name: 1.0})], tokens=1_280, seed=0, gold=folder)
        for name, folder in folders.items()
    }
    merged = MergedExperts.load(folders, CONFIG, corpus, part="search")
    assert (merged.domains, merged.sets) == (("a", "b"), ("a",))
    losses = merged.losses(np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]]))
    assert losses[:2, 0].tolist() == pytest.approx([runs["a"].losses["a"], runs["b"].losses["a"]], abs=1e-6)
    between = measure(averaged(list(merged.experts.values()), [0.25, 0.75]), corpus, part="search", gold=None)
    assert losses[2, 0] == pytest.approx(between.losses["a"], abs=1e-6)
    assert losses[0, 0] < losses[2, 0] < losses[1, 0]  # the more of its own text, the better


def test_a_training_starts_from_the_nets_of_data_experts_and_the_mean_of_all_else(
    corpus: Corpus, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        train(CONFIG, corpus, [(1.0, {folder.name: 1.0})], tokens=1_280, seed=0, gold=folder)
    still = {"experts": 4, "ffn_width": 64, "learning_rate": 1e-30, "weight_decay": 0.0}
    config = replace(CONFIG, **still, init={"method": "merge-experts"})
    plan = Plan(config=config, recipe=[(1.0, {"a": 0.5, "b": 0.5})], tokens=128, seed=3, gold=tmp_path / "routed")
    with pytest.raises(ProxyError, match="train this with `mixopt run`"):
        train_together([plan], corpus)
    train_together([replace(plan, experts=DataExperts(config=CONFIG, folders=folders))], corpus)
    a, b, routed = (kept_weights(folder) for folder in (*folders, tmp_path / "routed"))
    assert a is not None
    assert b is not None
    assert routed is not None
    for name in ("up", "down"):
        assert torch.equal(routed[name], torch.cat([a[name], a[name], b[name], b[name]], dim=1))
        assert not torch.equal(a[name], b[name])
    for name in ("table", "qkv", "out", "head"):
        torch.testing.assert_close(routed[name], (a[name] + b[name]) / 2)


def test_experts_whose_weights_were_not_kept_or_of_another_shape_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    train(CONFIG, corpus, [(1.0, {"a": 1.0})], tokens=1_280, seed=0, gold=tmp_path / "a")
    with pytest.raises(ProxyError, match="b holds no weights of a training"):
        MergedExperts.load({"a": tmp_path / "a", "b": tmp_path / "b"}, CONFIG, corpus, part="search")
    with pytest.raises(ProxyError, match="are of another model: "):
        MergedExperts.load({"a": tmp_path / "a"}, replace(CONFIG, width=32), corpus, part="search")
