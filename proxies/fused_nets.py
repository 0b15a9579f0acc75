"""Dense nets of squared ReLU in one loop in C++ each way, for processors with AVX-512 and its bf16 units; one thread.

What lies between a net's two matrices stays in the cache.
"""

# Shapes: M models, N rows of all of them, D model width, F hidden width.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.config import LOOP_MULTIPLE
from proxies.feedforward import Activation, squared_relu
from proxies.layers import apply
from proxies.native import call, operator, runs, takes

SOURCE = Path(__file__).with_suffix(".cpp")


def knows(x_ND: Tensor, up_EFD: Tensor, activation: Activation) -> bool:
    """Say whether loops for nets know such rows and such matrices: squared ReLU alone, in bfloat16."""
    return takes(x_ND) and activation is squared_relu and not any(n % LOOP_MULTIPLE for n in up_EFD.shape[1:])


def serves(x_ND: Tensor, up_MFD: Tensor, activation: Activation) -> bool:
    """Say whether such rows go through such nets by it."""
    return knows(x_ND, up_MFD, activation) and bool(runs(SOURCE))


def nets(x_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor) -> Tensor:
    """Return `N x D`: down(relu(up(x))^2) of each row by its model's net, in bfloat16, added up in float32."""
    return apply(_Nets, x_ND, up_MFD, down_MDF)


class _Nets(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor) -> Tensor:  # noqa: ANN401
        y_ND, positive_NF = _forward(x_ND, up_MFD, down_MDF)
        ctx.save_for_backward(x_ND, up_MFD, down_MDF, positive_NF)
        return y_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        return _backward(grads[0], *ctx.saved_tensors)


def _empty(x_ND: Tensor, up_MFD: Tensor, _down_MDF: Tensor) -> tuple[Tensor, Tensor]:
    return x_ND.new_empty(x_ND.shape), x_ND.new_empty(len(x_ND), up_MFD.shape[1])


@operator("nets", like=_empty)
def _forward(x_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor) -> tuple[Tensor, Tensor]:
    """Return also relu(up(x)) of every row."""
    found = _empty(x_ND, up_MFD, down_MDF)
    call(SOURCE, "nets", (x_ND, up_MFD, down_MDF, *found), _sizes(x_ND, up_MFD))
    return found


def _empty_like(
    _dy_ND: Tensor, x_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor, _positive_NF: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return x_ND.new_empty(x_ND.shape), up_MFD.new_empty(up_MFD.shape), down_MDF.new_empty(down_MDF.shape)


@operator("nets_backward", like=_empty_like)
def _backward(
    dy_ND: Tensor, x_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor, positive_NF: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    read = (dy_ND, x_ND, up_MFD, down_MDF, positive_NF)
    found = _empty_like(*read)
    call(SOURCE, "nets_backward", (*read, *found), _sizes(x_ND, up_MFD))
    return found


def _sizes(x_ND: Tensor, up_MFD: Tensor) -> tuple[int, ...]:
    M, F, D = up_MFD.shape
    return len(x_ND), D, F, M
