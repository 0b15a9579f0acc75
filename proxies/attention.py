"""Causal attention with rotary positions, by the products that are fastest where it runs."""

# Shapes: B batch, T sequence, N = B * T, H heads, K head width, G = B * H.

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from proxies.layers import apply

ROTARY_BASE = 10_000.0  # arXiv:2104.09864, Sec. 3.2.2


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

    In bfloat16 on a processor by masked products: torch's fused kernel has no fast path there.
    """
    if qkv_BT3HK.dtype == torch.bfloat16 and qkv_BT3HK.device.type == "cpu":
        return apply(_MaskedProducts, qkv_BT3HK, cos_TK, sin_TK, mask_TT)
    q, k, v = qkv_BT3HK.permute(2, 0, 3, 1, 4).unbind(0)
    y_BHTK = scaled_dot_product_attention(turn(q, cos_TK, sin_TK), turn(k, cos_TK, sin_TK), v, is_causal=True)
    return y_BHTK.transpose(1, 2).flatten(2).flatten(0, 1)


def turn(x: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Return `x` (..., T, K) turned by the angles of its positions; with -sin turned back."""
    return x * cos_TK + x.roll(x.shape[-1] // 2, -1) * sin_TK


class _MaskedProducts(torch.autograd.Function):
    """softmax(Q K' / sqrt(K) + mask) V; on the way back dS = P (dP - rowsum(dO O)), the bracket one product."""

    @staticmethod
    def forward(ctx: Any, qkv_BT3HK: Tensor, cos_TK: Tensor, sin_TK: Tensor, mask_TT: Tensor) -> Tensor:  # noqa: ANN401
        B, T, _, H, K = qkv_BT3HK.shape
        qkv_3GTK = qkv_BT3HK.permute(2, 0, 3, 1, 4).contiguous().view(3, B * H, T, K)
        q, k = _turn_in_place(qkv_3GTK[:2], cos_TK, sin_TK, sign=1.0)
        v = qkv_3GTK[2]
        scores_GTT = torch.baddbmm(mask_TT.expand(B * H, T, T), q, k.mT, alpha=K**-0.5)
        weights_GTT = torch.softmax(scores_GTT, dim=-1)
        y_GTK = torch.bmm(weights_GTT, v)
        ctx.save_for_backward(qkv_3GTK, cos_TK, sin_TK, weights_GTT, y_GTK)
        return y_GTK.view(B, H, T, K).transpose(1, 2).reshape(B * T, H * K)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        qkv_3GTK, cos_TK, sin_TK, weights_GTT, y_GTK = ctx.saved_tensors
        q, k, v = qkv_3GTK.unbind(0)
        G, T, K = q.shape
        B = len(grads[0]) // T
        dy_GTK = grads[0].view(B, T, G // B, K).transpose(1, 2).reshape(G, T, K)
        found_3GTK = torch.empty_like(qkv_3GTK)
        torch.bmm(weights_GTT.mT, dy_GTK, out=found_3GTK[2])
        rows_GT1 = (dy_GTK * y_GTK).sum(-1, keepdim=True)
        scores_GTT = torch.baddbmm(rows_GT1.expand(G, T, T), dy_GTK, v.mT, beta=-1).mul_(weights_GTT)
        torch.bmm(scores_GTT, k, out=found_3GTK[0])
        torch.bmm(scores_GTT.mT, q, out=found_3GTK[1])
        _turn_in_place(found_3GTK[:2].mul_(K**-0.5), cos_TK, sin_TK, sign=-1.0)
        return found_3GTK.view(3, B, G // B, T, K).permute(1, 3, 0, 2, 4), None, None, None


def _turn_in_place(x: Tensor, cos_TK: Tensor, sin_TK: Tensor, *, sign: float) -> Tensor:
    swapped = x.roll(x.shape[-1] // 2, -1)
    return x.mul_(cos_TK).addcmul_(swapped, sin_TK, value=sign)
