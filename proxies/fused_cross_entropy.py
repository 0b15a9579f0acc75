"""Cross entropy in one loop in C++ each way, for processors with AVX-512 and its bf16 units; one thread.

Logits are read and their slopes are written; the table of shares in float32, twice as large, is never made.
"""

# Shapes: N tokens, V vocabulary.

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.layers import LEAST_SHARE, apply
from proxies.native import call, replaces

SOURCE = Path(__file__).with_suffix(".cpp")


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Return what `proxies.layers.cross_entropy` does, of logits that it serves."""
    return apply(_CrossEntropy, logits_NV, targets_N)


def serves(logits_NV: Tensor) -> bool:
    """Say whether the cross entropy of these logits goes through it."""
    return replaces(SOURCE, logits_NV)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor) -> Tensor:  # noqa: ANN401
        losses_N, sums_N = (logits_NV.new_empty(len(logits_NV), dtype=torch.float32) for _ in range(2))
        tensors = (logits_NV, targets_N, losses_N, sums_N)
        call(SOURCE, "cross_entropy", tensors, logits_NV.shape, -math.log(LEAST_SHARE))
        ctx.save_for_backward(logits_NV, targets_N, sums_N)
        return losses_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        logits_NV, targets_N, sums_N = ctx.saved_tensors
        found_NV = torch.empty_like(logits_NV, memory_format=torch.contiguous_format)
        tensors = (logits_NV, targets_N, sums_N, grads[0], found_NV)
        call(SOURCE, "cross_entropy_backward", tensors, logits_NV.shape)
        return found_NV, None
