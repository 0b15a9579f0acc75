"""The sizes that speed is measured at, and one step of our trainings at them."""

import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from proxies.config import ProxyConfig
from proxies.fitting import step
from proxies.optimizers import OPTIMIZERS
from proxies.train import build
from tests.benchmarks.plain import Shape

# 1.31M and 0.098M parameters without the embeddings.
ONE = Shape(layers=2, width=256, heads=8, hidden=768, sequence_tokens=256, batch_sequences=16)
TENTH = Shape(layers=2, width=64, heads=2, hidden=256, sequence_tokens=128, batch_sequences=32)
SETTINGS = {"tied": True, "optimizer": "adamw", "learning_rate": 1e-3}


@cache
def text() -> NDArray[np.uint16]:
    """Return the bytes of the standard library's modules."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return np.frombuffer(b"".join(file.read_bytes() for file in files), dtype=np.uint8).astype(np.uint16)


def dense(shape: Shape, **changes: object) -> ProxyConfig:
    """Return our proxy of that shape; the optimizer is the plain loop's."""
    plain = {
        "layers": shape.layers,
        "width": shape.width,
        "heads": shape.heads,
        "ffn_width": shape.hidden,
        "sequence_tokens": shape.sequence_tokens,
        "batch_sequences": shape.batch_sequences,
    }
    return ProxyConfig.from_plain({**plain, **SETTINGS, **changes})


def routed(shape: Shape, **changes: object) -> ProxyConfig:
    """Return eight experts, two for each token, together as wide as the dense net."""
    return dense(shape, experts=8, top_k=2, ffn_width=shape.hidden // 2, **changes)


def program(config: ProxyConfig, models: int = 1) -> Callable[[], torch.Tensor]:
    """Return a function that takes one step of `models` proxies side by side, each on its own text."""
    made = [build(config, vocabulary=256, end_of_document=0, seed=seed) for seed in range(models)]
    optimizers = OPTIMIZERS[config.optimizer](made)
    rng = np.random.default_rng(0)
    reach = np.arange(config.sequence_tokens + 1)

    def run() -> torch.Tensor:
        starts = rng.integers(len(text()) - len(reach), size=(models, config.batch_sequences, 1))
        return step(made, text()[starts + reach].astype(np.int64), optimizers)

    return run


def model_flops(shape: Shape) -> float:
    """Return the FLOPs of a step that no implementation can do without: matrices, head, and attention to the past."""
    matrices = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.hidden) + shape.width * shape.vocabulary
    attention = shape.layers * shape.sequence_tokens * shape.width  # half of the window
    return 6.0 * (matrices + attention) * shape.batch_tokens


def products(shape: Shape, dtype: torch.dtype) -> tuple[Callable[[], None], float]:
    """Return a function that computes the products with matrices of one step, nothing else, and their FLOPs."""
    D, F, N = shape.width, shape.hidden, shape.batch_tokens
    sizes = [(D, 3 * D), (D, D), (D, F), (F, D)] * shape.layers + [(D, shape.vocabulary)]
    made = [tuple(torch.randn(*s).to(dtype) for s in ((N, a), (a, b), (N, b))) for a, b in sizes]

    def run() -> None:
        for x, w, g in made:
            torch.mm(x, w)
            torch.mm(g, w.T)
            torch.mm(x.T, g)

    return run, sum(6.0 * N * a * b for a, b in sizes)
