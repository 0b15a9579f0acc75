"""The matrices that Muon moves by in a loop in C++, for processors with AVX-512 and its bf16 units; one thread."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from proxies.native import call, runs

SOURCE = Path(__file__).with_suffix(".cpp")
SIZES = 32  # it serves multiples of it


def serves(x_NMK: Tensor) -> bool:
    """Say whether such matrices go through it."""
    fits = x_NMK.dtype == torch.float32 and x_NMK.device.type == "cpu"
    return fits and not any(size % SIZES for size in x_NMK.shape[1:]) and runs(SOURCE)


def orthogonalize(x_NMK: Tensor, polynomial: Sequence[float], steps: int, least: float) -> Tensor:
    """Return what `proxies.optimizers.orthogonalize` does, M <= K, up to rounding."""
    found = torch.empty(x_NMK.shape, dtype=torch.bfloat16)
    call(SOURCE, "orthogonalize", (x_NMK, found), [*x_NMK.shape, steps], *polynomial, least)
    return found
