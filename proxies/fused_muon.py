"""A step of Muon in one loop in C++, for processors with AVX-512 and its bf16 units; one thread.

A matrix is read and written once, as by AdamW; torch's operators make thirty passes over it.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from proxies.config import LOOP_MULTIPLE
from proxies.native import call, runs

SOURCE = Path(__file__).with_suffix(".cpp")


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How a matrix is turned: `steps` times a x + b x^3 + c x^5 of its singular values, from a norm of one on."""

    polynomial: tuple[float, float, float]
    steps: int
    least_norm: float


@dataclass(frozen=True, kw_only=True)
class Averages:
    """What is kept for a parameter, and which share of it a step keeps; `squares` None: there are none."""

    momentum: Tensor
    squares: Tensor | None
    kept: float
    kept_of_squares: float
    epsilon: float


def serves(parameter: Tensor) -> bool:
    """Say whether a parameter, a stack of matrices, is moved by it."""
    fits = parameter.dtype == torch.float32 and parameter.device.type == "cpu" and parameter.is_contiguous()
    return fits and not any(size % LOOP_MULTIPLE for size in parameter.shape[-2:]) and bool(runs(SOURCE))


def move(parameter: Tensor, averages: Averages, turn: Turn, *, decay: float, rate: float) -> None:
    """Bring the averages up to date, and the parameter to (1 - decay) of itself less `rate` times what is turned."""
    tensors = (parameter, parameter.grad, averages.momentum, averages.squares)
    rows, columns = parameter.shape[-2:]
    kept = (averages.kept, averages.kept_of_squares, averages.epsilon)
    numbers = (*turn.polynomial, *kept, decay, rate, turn.least_norm)
    call(SOURCE, "muon", tensors, (parameter.numel() // (rows * columns), rows, columns, turn.steps), *numbers)
