"""Causal attention in one loop in C++, for processors with AVX-512 and its bf16 units; one thread.

Scores and weights never leave the processor's cache, and what lies above the diagonal is hardly computed.
"""

# Shapes: B batch, T sequence, H heads, K head width.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.layers import apply
from proxies.native import call

SOURCE = Path(__file__).with_suffix(".cpp")
HEAD_WIDTHS = 32  # it serves multiples of it


def attend(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Return causal attention `(B T) x (H K)`, queries and keys turned by their positions; all in bfloat16."""
    return apply(_Attention, qkv_BT3HK, cos_TK, sin_TK)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:  # noqa: ANN401
        y_ND, sums_2BHT = _forward(qkv_BT3HK, cos_TK, sin_TK)
        ctx.save_for_backward(qkv_BT3HK, cos_TK, sin_TK, sums_2BHT)
        found: Tensor = y_ND
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return _backward(*ctx.saved_tensors, grads[0]), None, None


# Operators of torch's own kind, so that a compiled program may hold them.


@torch.library.custom_op("mixopt::attention", mutates_args=())
def _forward(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> tuple[Tensor, Tensor]:
    y_ND, sums_2BHT = _empty(qkv_BT3HK, cos_TK, sin_TK)
    call(SOURCE, "attention", (qkv_BT3HK, cos_TK, sin_TK, y_ND, sums_2BHT), _sizes(qkv_BT3HK))
    return y_ND, sums_2BHT


@_forward.register_fake
def _empty(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> tuple[Tensor, Tensor]:
    del cos_TK, sin_TK
    B, T, _, H, K = qkv_BT3HK.shape
    return qkv_BT3HK.new_empty(B * T, H * K), qkv_BT3HK.new_empty(2, B, H, T, dtype=torch.float32)


@torch.library.custom_op("mixopt::attention_backward", mutates_args=())
def _backward(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, sums_2BHT: Tensor, dy_ND: Tensor) -> Tensor:
    found_BT3HK = torch.empty_like(qkv_BT3HK, memory_format=torch.contiguous_format)
    tensors = (qkv_BT3HK, cos_TK, sin_TK, sums_2BHT, dy_ND, found_BT3HK)
    call(SOURCE, "attention_backward", tensors, _sizes(qkv_BT3HK))
    return found_BT3HK


@_backward.register_fake
def _empty_like(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, sums_2BHT: Tensor, dy_ND: Tensor) -> Tensor:
    del cos_TK, sin_TK, sums_2BHT, dy_ND
    return qkv_BT3HK.new_empty(qkv_BT3HK.shape)


def _sizes(qkv_BT3HK: Tensor) -> tuple[int, ...]:
    B, T, _, H, K = qkv_BT3HK.shape
    return B, T, H, K
