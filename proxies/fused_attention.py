"""Causal attention in one loop in C++, for processors with AVX-512 and its bf16 units; one thread.

Scores and weights never leave the processor's cache, and what lies above the diagonal is hardly computed.
"""

# Shapes: B batch, T sequence, H heads, K head width.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.layers import apply
from proxies.native import call, operator

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
        return y_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return _backward(grads[0], *ctx.saved_tensors), None, None


# Operators of torch's own kind, so that a compiled program may hold them.


def _empty(qkv_BT3HK: Tensor, _cos_TK: Tensor, _sin_TK: Tensor) -> tuple[Tensor, Tensor]:
    B, T, _, H, K = qkv_BT3HK.shape
    return qkv_BT3HK.new_empty(B * T, H * K), qkv_BT3HK.new_empty(2, B, H, T, dtype=torch.float32)


@operator("attention", like=_empty)
def _forward(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> tuple[Tensor, Tensor]:
    y_ND, sums_2BHT = _empty(qkv_BT3HK, cos_TK, sin_TK)
    call(SOURCE, "attention", (qkv_BT3HK, cos_TK, sin_TK, y_ND, sums_2BHT), _sizes(qkv_BT3HK))
    return y_ND, sums_2BHT


def _empty_like(_dy_ND: Tensor, qkv_BT3HK: Tensor, _cos_TK: Tensor, _sin_TK: Tensor, _sums_2BHT: Tensor) -> Tensor:
    return qkv_BT3HK.new_empty(qkv_BT3HK.shape)


@operator("attention_backward", like=_empty_like)
def _backward(dy_ND: Tensor, qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, sums_2BHT: Tensor) -> Tensor:
    found_BT3HK = _empty_like(dy_ND, qkv_BT3HK, cos_TK, sin_TK, sums_2BHT)
    tensors = (qkv_BT3HK, cos_TK, sin_TK, sums_2BHT, dy_ND, found_BT3HK)
    call(SOURCE, "attention_backward", tensors, _sizes(qkv_BT3HK))
    return found_BT3HK


def _sizes(qkv_BT3HK: Tensor) -> tuple[int, ...]:
    B, T, _, H, K = qkv_BT3HK.shape
    return B, T, H, K
