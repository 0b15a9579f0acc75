"""Losses by the unembedding in one loop in C++ each way, for processors with AVX-512 and its bf16 units; one thread.

Logits are found twice and never kept: as many as there are tokens in a vocabulary take more time to write and to read
than to find, and far more memory than all else.
"""

# Shapes: M models, N tokens of all of them, D model width, V vocabulary.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.config import LOOP_MULTIPLE
from proxies.layers import apply
from proxies.native import call, check_within, operator, runs, takes

SOURCE = Path(__file__).with_suffix(".cpp")


def serves(x_ND: Tensor) -> bool:
    """Say whether the losses of such tokens go through it."""
    return takes(x_ND) and x_ND.shape[1] % LOOP_MULTIPLE == 0 and bool(runs(SOURCE))


def losses(x_ND: Tensor, head_MVD: Tensor, targets_N: Tensor, *, most: float) -> Tensor:
    """Return the cross entropy `N`, in float32 and at most `most`, of targets by the logits x head' of their models.

    x and head are bfloat16. Targets that the vocabulary does not have are an `IndexError`.
    """
    return apply(_Losses, x_ND, head_MVD, targets_N, most)


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, head_MVD: Tensor, targets_N: Tensor, most: float) -> Tensor:  # noqa: ANN401
        losses_N, sums_N = _forward(x_ND, head_MVD, targets_N, most)
        ctx.save_for_backward(x_ND, head_MVD, targets_N, sums_N)
        return losses_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return *_backward(grads[0], *ctx.saved_tensors), None, None


# Operators of torch's own kind, so that a compiled program may hold them.


def _empty(x_ND: Tensor, _head_MVD: Tensor, _targets_N: Tensor, _most: float) -> tuple[Tensor, Tensor]:
    N = len(x_ND)
    return x_ND.new_empty(N, dtype=torch.float32), x_ND.new_empty(N, dtype=torch.float32)


@operator("losses", like=_empty)
def _forward(x_ND: Tensor, head_MVD: Tensor, targets_N: Tensor, most: float) -> tuple[Tensor, Tensor]:
    """Return also the logarithm, to base 2, of each row's sum of exponentials."""
    check_within(targets_N, head_MVD.shape[1], what="targets of a vocabulary")
    found = _empty(x_ND, head_MVD, targets_N, most)
    call(SOURCE, "losses", (x_ND, head_MVD, targets_N, *found), _sizes(x_ND, head_MVD), most)
    return found


def _empty_like(_dlosses_N: Tensor, x_ND: Tensor, head_MVD: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    return x_ND.new_empty(x_ND.shape), head_MVD.new_empty(head_MVD.shape)


@operator("losses_backward", like=_empty_like)
def _backward(
    dlosses_N: Tensor, x_ND: Tensor, head_MVD: Tensor, targets_N: Tensor, sums_N: Tensor
) -> tuple[Tensor, Tensor]:
    read = (dlosses_N, x_ND, head_MVD, targets_N, sums_N)
    found = _empty_like(*read)
    call(SOURCE, "losses_backward", (*read, *found), _sizes(x_ND, head_MVD))
    return found


def _sizes(x_ND: Tensor, head_MVD: Tensor) -> tuple[int, ...]:
    M, V, D = head_MVD.shape
    return len(x_ND), D, V, M
