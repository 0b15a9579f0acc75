"""The coordinate check: what a few steps make of activations does not depend on the width."""

import numpy as np
import pytest
import torch

from proxies.config import ProxyConfig
from proxies.fitting import step
from proxies.layers import rms_norm
from proxies.model import Decoder, attention, embed, routed
from proxies.optimizers import OPTIMIZERS, set_rate

STEPS = 10


def activations(width: int, *, seed: int, optimizer: str, experts: int, base_width: int | None) -> dict[str, float]:
    """RMS of embeddings, of what attention and nets write, and of logits of routers and model, after 10 steps."""
    config = ProxyConfig(
        layers=1,
        width=width,
        heads=width // 16,
        sequence_tokens=16,
        experts=experts,
        optimizer="muon" if optimizer == "muon" else "adamw",
        learning_rate=0.02 if optimizer == "muon" else 0.004,
        base_width=base_width,
        precision="float32",
    )
    model = Decoder(config, vocabulary=64, end_of_document=0, dtype=torch.float32)
    model.initialize(seed)
    rows = torch.randint(64, (4, 17), generator=torch.Generator().manual_seed(seed)).numpy()
    optimizers = OPTIMIZERS[optimizer]([model])
    for _ in range(STEPS):
        set_rate(optimizers, model, 1.0)
        step([model], rows[None], optimizers)
    found: dict[str, float] = {}
    with torch.no_grad():
        x, h = embed([model], torch.from_numpy(rows[None, :, :-1]))
        found["embedding"] = rms(x)
        y = attention(model, h, model.qkv[:1].flatten(1, 2), model.out[:1], 16)
        h = rms_norm(x + y, torch.float32)
        found["attention"] = rms(y)
        if model.router is not None:
            found["router"] = rms(h @ model.router[0].T)
            found["net"] = rms(routed([model], 0, h, model.router[:1], model.up[:1].flatten(2, 3), model.down[:1])[0])
        else:
            found["net"] = rms((h @ model.up[0].flatten(0, 2).T).relu().square() @ model.down[0, 0].T)
        found["logits"] = rms(model(torch.from_numpy(rows[:, :-1])))
    return found


def rms(x: torch.Tensor) -> float:
    return x.square().mean().sqrt().item()


def slopes(widths: tuple[int, ...], *, seeds: int, optimizer: str, experts: int, ruled: bool) -> dict[str, float]:
    """How log activations, the mean of seeds, grow with the log of the width; the rate is tuned at the first."""
    base_width = widths[0] if ruled else None
    logs = np.zeros((len(widths), 4 + (experts > 0)))
    for seed in range(seeds):
        found = [activations(w, seed=seed, optimizer=optimizer, experts=experts, base_width=base_width) for w in widths]
        logs += np.log([list(f.values()) for f in found]) / seeds
    return dict(zip(found[0], np.polyfit(np.log(widths), logs, 1)[0].tolist(), strict=True))


@pytest.mark.parametrize("experts", [0, 4])
def test_under_adamw_activations_do_not_grow_with_the_width(experts: int) -> None:
    found = slopes((64, 128, 256, 512), seeds=3, optimizer="adamw", experts=experts, ruled=True)
    assert max(map(abs, found.values())) < 0.1, found


def test_under_muon_they_hardly_do() -> None:
    # narrower ones grow as they turn wide enough for the rule: from 64 to 128 by half the log of the width, beyond 256
    # by a tenth
    found = slopes((128, 256, 512), seeds=2, optimizer="muon", experts=0, ruled=True)
    assert max(map(abs, found.values())) < 0.2, found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_the_rule_they_do(optimizer: str) -> None:
    found = slopes((64, 128, 256), seeds=1, optimizer=optimizer, experts=0, ruled=False)
    assert max(found.values()) > 0.4, found
