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
from proxies.native import call, operator, runs, takes

SOURCE = Path(__file__).with_suffix(".cpp")


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Return what `proxies.layers.cross_entropy` does, of logits that it serves."""
    return apply(_CrossEntropy, logits_NV, targets_N)


def serves(logits_NV: Tensor) -> bool:
    """Say whether the cross entropy of these logits goes through it."""
    return takes(logits_NV) and bool(runs(SOURCE))


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor) -> Tensor:  # noqa: ANN401
        losses_N, sums_N = _forward(logits_NV, targets_N)
        ctx.save_for_backward(logits_NV, targets_N, sums_N)
        return losses_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return _backward(grads[0], *ctx.saved_tensors), None


# Operators of torch's own kind, so that a compiled program may hold them.


def _empty(logits_NV: Tensor, _targets_N: Tensor) -> tuple[Tensor, Tensor]:
    N = len(logits_NV)
    return logits_NV.new_empty(N, dtype=torch.float32), logits_NV.new_empty(N, dtype=torch.float32)


@operator("cross_entropy", like=_empty)
def _forward(logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return also the logarithm of each row's sum of exponentials."""
    found = _empty(logits_NV, targets_N)
    call(SOURCE, "cross_entropy", (logits_NV, targets_N, *found), logits_NV.shape, -math.log(LEAST_SHARE))
    return found


def _empty_like(_slopes_N: Tensor, logits_NV: Tensor, *_: Tensor) -> Tensor:
    return logits_NV.new_empty(logits_NV.shape)


@operator("cross_entropy_backward", like=_empty_like)
def _backward(slopes_N: Tensor, logits_NV: Tensor, targets_N: Tensor, sums_N: Tensor) -> Tensor:
    found_NV = _empty_like(slopes_N, logits_NV, targets_N, sums_N)
    tensors = (logits_NV, targets_N, sums_N, slopes_N, found_NV)
    call(SOURCE, "cross_entropy_backward", tensors, logits_NV.shape)
    return found_NV
