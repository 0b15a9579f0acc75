"""Causal attention with rotary positions, by the products that are fastest where it runs."""

# Shapes: B batch, T sequence, N = B * T, H heads, K head width, G = B * H, S queries of a block, U keys that they see.

import time
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from proxies import fused_attention
from proxies.layers import apply
from proxies.native import runs, takes

ROTARY_BASE = 10_000.0  # arXiv:2104.09864, Sec. 3.2.2
softmax_backward = torch.ops.aten._softmax_backward_data  # noqa: SLF001  # torch's own, one pass instead of three
BLOCK_QUERIES = 128  # measured: narrower blocks save more exponentials, and lose more in products
MEASURED, ROUNDS = (4, 256, 3, 4, 32), 4  # a batch of four heads; a few milliseconds in all


def rotary_tables(sequence_tokens: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Return `T x K` cosines, and sines with the sign that they have for the first and the second half of a head."""
    frequencies = ROTARY_BASE ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(sequence_tokens, dtype=torch.float64), frequencies)
    return angles.cos().repeat(1, 2), torch.cat([-angles.sin(), angles.sin()], dim=1)


def causal_mask(sequence_tokens: int) -> Tensor:
    """Return `T x T`: 0 where a position may look, -inf above the diagonal."""
    return torch.full((sequence_tokens, sequence_tokens), float("-inf")).triu(1)


def attend(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, mask_TT: Tensor) -> Tensor:
    """Return causal attention `N x (H K)` of queries, keys and values, the first two turned by their positions.

    In bfloat16 on a processor by a loop in C++ where that is faster, else by masked products: torch's fused kernel has
    no fast path there.
    """
    if takes(qkv_BT3HK):
        if is_fused(qkv_BT3HK.shape[-1]):
            return fused_attention.attend(qkv_BT3HK, cos_TK, sin_TK)
        return masked(qkv_BT3HK, cos_TK, sin_TK, mask_TT)
    q, k, v = qkv_BT3HK.permute(2, 0, 3, 1, 4).unbind(0)
    y_BHTK = scaled_dot_product_attention(turn(q, cos_TK, sin_TK), turn(k, cos_TK, sin_TK), v, is_causal=True)
    return y_BHTK.transpose(1, 2).flatten(2).flatten(0, 1)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def is_fused(head_width: int) -> bool:
    """Say whether heads of that width go through the loop in C++: it must be faster here."""
    return head_width % fused_attention.HEAD_WIDTHS == 0 and runs(fused_attention.SOURCE) and fused_gain() > 1.0


@cache
def fused_gain() -> float:
    """Return how many times as fast as masked products the loop in C++ is here, by measuring once a process."""
    qkv_BT3HK = torch.ones(*MEASURED, dtype=torch.bfloat16)
    T, K = MEASURED[1], MEASURED[4]
    cos_TK, sin_TK = (table.bfloat16() for table in rotary_tables(T, K))
    mask_TT = causal_mask(T).bfloat16()
    slow_s: list[float] = []
    fast_s: list[float] = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        masked(qkv_BT3HK, cos_TK, sin_TK, mask_TT)
        between = time.thread_time()
        fused_attention.attend(qkv_BT3HK, cos_TK, sin_TK)
        slow_s.append(between - started)
        fast_s.append(time.thread_time() - between)
    return min(slow_s) / max(min(fast_s), 1e-9)


def masked(qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, mask_TT: Tensor) -> Tensor:
    """Return causal attention as `attend` does, by masked products in bfloat16."""
    return apply(_MaskedProducts, qkv_BT3HK, cos_TK, sin_TK, mask_TT)


def turn(x: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Return `x` (..., T, K) turned by the angles of its positions; with -sin turned back."""
    return x * cos_TK + x.roll(x.shape[-1] // 2, -1) * sin_TK


class _MaskedProducts(torch.autograd.Function):
    """Queries in blocks, each against the keys up to its end: a quarter of the work lies above the diagonal else."""

    @staticmethod
    def forward(ctx: Any, qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, mask_TT: Tensor) -> Tensor:  # noqa: ANN401
        B, T, _, H, K = qkv_BT3HK.shape
        qkv_3GTK = qkv_BT3HK.permute(2, 0, 3, 1, 4).contiguous().view(3, B * H, T, K)
        scales_2 = cos_TK.new_tensor([K**-0.5, 1.0])[:, None, None, None]  # queries are turned and scaled in one pass
        tables = cos_TK * scales_2, sin_TK * scales_2
        _turn_in_place(qkv_3GTK[:2], *tables, sign=1.0)
        q, k, v = qkv_3GTK.unbind(0)
        y_BTHK = qkv_BT3HK.new_empty(B, T, H, K)
        kept = []
        for rows in _blocks(T):
            scores_GSU = torch.bmm(q[:, rows], k[:, : rows.stop].mT)
            scores_GSU[:, :, rows].add_(mask_TT[rows, rows])
            kept.append(torch.softmax(scores_GSU, dim=-1))
            y_BTHK[:, rows] = torch.bmm(kept[-1], v[:, : rows.stop]).view(B, H, -1, K).transpose(1, 2)
        ctx.save_for_backward(qkv_3GTK, *tables, *kept)
        return y_BTHK.view(B * T, H * K)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        qkv_3GTK, cos_21TK, sin_21TK, *kept = ctx.saved_tensors
        q, k, v = qkv_3GTK.unbind(0)
        G, T, K = q.shape
        B = len(grads[0]) // T
        dy_GTK = grads[0].view(B, T, G // B, K).transpose(1, 2).reshape(G, T, K)
        found_3GTK = torch.empty_like(qkv_3GTK)
        dq, dk, dv = found_3GTK.unbind(0)
        for rows, weights_GSU in reversed(list(zip(_blocks(T), kept, strict=True))):
            dy, seen = dy_GTK[:, rows], slice(0, rows.stop)
            dweights_GSU = torch.bmm(dy, v[:, seen].mT)
            dscores_GSU = softmax_backward(dweights_GSU, weights_GSU, -1, weights_GSU.dtype)
            dq[:, rows] = torch.bmm(dscores_GSU, k[:, seen])
            for found, left_GSU, right in ((dk, dscores_GSU, q[:, rows]), (dv, weights_GSU, dy)):
                if rows.stop == T:  # the last block sees all keys: what it finds there comes first
                    found.copy_(torch.bmm(left_GSU.mT, right))
                else:
                    found[:, seen] += torch.bmm(left_GSU.mT, right)
        _turn_in_place(found_3GTK[:2], cos_21TK, sin_21TK, sign=-1.0)
        return found_3GTK.view(3, B, G // B, T, K).permute(1, 3, 0, 2, 4), None, None, None


def _blocks(length: int) -> list[slice]:
    """Return blocks of queries, the last one the shorter."""
    return [slice(start, min(start + BLOCK_QUERIES, length)) for start in range(0, length, BLOCK_QUERIES)]


def _turn_in_place(x: Tensor, cos: Tensor, sin: Tensor, *, sign: float) -> Tensor:
    swapped = x.roll(x.shape[-1] // 2, -1)
    return x.mul_(cos).addcmul_(swapped, sin, value=sign)
