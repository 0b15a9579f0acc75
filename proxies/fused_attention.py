"""Causal attention in one loop in C++, for processors with AVX-512 and its bf16 units; one thread.

Scores and weights never leave the processor's cache, and what lies above the diagonal is hardly computed.
"""

# Shapes: B batch, T sequence, H heads, K head width.

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.layers import apply
from proxies.native import has_unit, library

SOURCE = Path(__file__).with_suffix(".cpp")
HEAD_WIDTHS = 32  # it serves multiples of it


@cache
def is_here() -> bool:
    """Say whether this machine can run it."""
    return has_unit("avx512_bf16") and library(SOURCE) is not None


def attend(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Return causal attention `(B T) x (H K)`, queries and keys turned by their positions; all in bfloat16."""
    return apply(_Attention, qkv_BT3HK, cos_TK, sin_TK)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:  # noqa: ANN401
        y_ND, sums_BHT = _forward(qkv_BT3HK, cos_TK, sin_TK)
        ctx.save_for_backward(qkv_BT3HK, cos_TK, sin_TK, sums_BHT)
        found: Tensor = y_ND
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return _backward(*ctx.saved_tensors, grads[0]), None, None


# Operators of torch's own kind, so that a compiled program may hold them.


@torch.library.custom_op("mixopt::attention", mutates_args=())
def _forward(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> tuple[Tensor, Tensor]:
    y_ND, sums_BHT = _empty(qkv_BT3HK, cos_TK, sin_TK)
    _call("attention", qkv_BT3HK.shape, qkv_BT3HK, cos_TK, sin_TK, y_ND, sums_BHT)
    return y_ND, sums_BHT


@_forward.register_fake
def _empty(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> tuple[Tensor, Tensor]:
    del cos_TK, sin_TK
    B, T, _, H, K = qkv_BT3HK.shape
    return qkv_BT3HK.new_empty(B * T, H * K), qkv_BT3HK.new_empty(B, H, T, dtype=torch.float32)


@torch.library.custom_op("mixopt::attention_backward", mutates_args=())
def _backward(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, sums_BHT: Tensor, dy_ND: Tensor) -> Tensor:
    found_BT3HK = torch.empty_like(qkv_BT3HK, memory_format=torch.contiguous_format)
    _call("attention_backward", qkv_BT3HK.shape, qkv_BT3HK, cos_TK, sin_TK, sums_BHT, dy_ND, found_BT3HK)
    return found_BT3HK


@_backward.register_fake
def _empty_like(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, sums_BHT: Tensor, dy_ND: Tensor) -> Tensor:
    del cos_TK, sin_TK, sums_BHT, dy_ND
    return qkv_BT3HK.new_empty(qkv_BT3HK.shape)


def _call(name: str, shape: torch.Size, *tensors: Tensor) -> None:
    B, T, _, H, K = shape
    loops = library(SOURCE)
    assert loops is not None
    kept = [tensor.contiguous() for tensor in tensors]  # what is written is contiguous as it is
    addresses = [ctypes.c_void_p(tensor.data_ptr()) for tensor in kept]
    getattr(loops, name)(*addresses, *(ctypes.c_long(size) for size in (B, T, H, K)))
