"""Routed experts: a top-k router, its balance loss, and a dispatch that drops no token."""

# Shapes: N tokens, D model width, F hidden width, E experts, K experts a token, M = N * K.

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proxies.feedforward import FeedForward
from proxies.layers import apply


@dataclass(frozen=True)
class Routing:
    """Where tokens go: `experts` N x K, their `gates` N x K, and all `scores` N x E (float32)."""

    experts: Tensor
    gates: Tensor
    scores: Tensor


def softmax_router(logits_NE: Tensor, *, top_k: int) -> Routing:
    """Choose the `top_k` largest of a softmax; gates sum to one, but for top-1, where the score itself is the gate."""
    scores_NE = logits_NE.float().softmax(-1)
    gates_NK, experts_NK = scores_NE.topk(top_k, dim=-1)
    if top_k > 1:
        gates_NK = gates_NK / gates_NK.sum(-1, keepdim=True)
    return Routing(experts=experts_NK, gates=gates_NK, scores=scores_NE)


def expert_fractions(experts_NK: Tensor, experts: int) -> Tensor:
    """Return the share `E` of all (token, slot) choices that fell on each expert; sums to one."""
    return torch.bincount(experts_NK.flatten(), minlength=experts).float() / experts_NK.numel()


def balance_loss(scores_NE: Tensor, fractions_E: Tensor) -> Tensor:
    """Return E sum_i f_i p_i: 1 when balanced, up to E when one expert takes all (arXiv:2501.11873).

    `fractions_E` are of the global batch; `scores_NE` may be of a part of it: the mean over equal parts is the loss
    of the whole.
    """
    return fractions_E.numel() * (fractions_E * scores_NE.mean(0)).sum()


class _Spread(torch.autograd.Function):
    """Rows of `x` in expert order; on the way back a gather and a sum, never a scatter."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order_M: Tensor, inverse_NK: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(inverse_NK)
        return x_ND.index_select(0, order_M // inverse_NK.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (inverse_NK,) = ctx.saved_tensors
        rows = grads[0].index_select(0, inverse_NK.flatten())
        return rows.view(*inverse_NK.shape, -1).sum(1), None, None


class _Gather(torch.autograd.Function):
    """Rows back in token order; the way back is the forward permutation."""

    @staticmethod
    def forward(ctx: Any, y_MD: Tensor, order_M: Tensor, inverse_M: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(order_M)
        return y_MD.index_select(0, inverse_M)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (order_M,) = ctx.saved_tensors
        return grads[0].index_select(0, order_M), None, None


def dispatch(x_ND: Tensor, routing: Routing, nets: list[tuple[Tensor, Tensor]], activation: FeedForward) -> Tensor:
    """Return `N x D`: each token through its experts, weighted by their gates; `nets` are (up, down) an expert."""
    tokens, slots = routing.experts.shape
    flat_M = routing.experts.flatten()
    order_M = torch.argsort(flat_M, stable=True)
    inverse_M = torch.empty_like(order_M)
    inverse_M[order_M] = torch.arange(len(order_M), device=order_M.device)
    counts = torch.bincount(flat_M, minlength=len(nets)).tolist()
    sorted_MD = apply(_Spread, x_ND, order_M, inverse_M.view(tokens, slots))
    parts = sorted_MD.split(counts)
    outputs = [activation(part, up, down) for part, (up, down) in zip(parts, nets, strict=True) if len(part)]
    rows_MD = apply(_Gather, torch.cat(outputs), order_M, inverse_M)
    gates_N1K = routing.gates.to(x_ND.dtype).unsqueeze(1)
    return torch.bmm(gates_N1K, rows_MD.view(tokens, slots, -1)).squeeze(1)


ROUTERS: Mapping[str, Callable[..., Routing]] = {"softmax": softmax_router}
