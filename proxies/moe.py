"""Routed experts: a dispatch that drops no token, and the loss that keeps loads even."""

# Shapes: N tokens, D model width, F hidden width, E experts, K experts a token, M pairs of a token and an expert.

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from proxies.feedforward import FeedForward
from proxies.layers import apply

Net = tuple[Tensor, Tensor]  # up and down of one expert


class Choice(Protocol):
    """Which experts each token goes to, and how much of each."""

    def counts(self, experts: int) -> Tensor:
        """Return how many tokens go to each expert, `E`."""
        ...

    def combine(self, x_ND: Tensor, nets: list[Net], activation: FeedForward) -> Tensor:
        """Return `N x D`: each token through its experts, weighted by their gates."""
        ...


@dataclass(frozen=True)
class TopK:
    """As many experts for every token: `experts` and `gates` N x K."""

    experts: Tensor
    gates: Tensor

    def counts(self, experts: int) -> Tensor:
        """Return how many tokens go to each expert, `E`."""
        return torch.bincount(self.experts.flatten(), minlength=experts)

    def combine(self, x_ND: Tensor, nets: list[Net], activation: FeedForward) -> Tensor:
        """Return `N x D`: rows in the order of experts through their nets, and back by products with the gates."""
        tokens, slots = self.experts.shape
        flat_M = self.experts.flatten()
        order_M = torch.argsort(flat_M, stable=True)
        inverse_M = torch.empty_like(order_M)
        inverse_M[order_M] = torch.arange(len(order_M), device=order_M.device)
        sorted_MD = apply(_Spread, x_ND, order_M, inverse_M.view(tokens, slots))
        y_MD = _through(sorted_MD, self.counts(len(nets)), nets, activation)
        rows_MD = apply(_Gather, y_MD, order_M, inverse_M)
        gates_N1K = self.gates.to(x_ND.dtype).unsqueeze(1)
        return torch.bmm(gates_N1K, rows_MD.view(tokens, slots, -1)).squeeze(1)


@dataclass(frozen=True)
class Positive:
    """The experts whose gate is above 0, any number a token, none too: `gates` N x E."""

    gates: Tensor

    def counts(self, experts: int) -> Tensor:
        """Return how many tokens go to each expert, `E`."""
        assert self.gates.shape[1] == experts
        return (self.gates > 0).sum(0)

    def combine(self, x_ND: Tensor, nets: list[Net], activation: FeedForward) -> Tensor:
        """Return `N x D`: the rows of the pairs with a gate through their nets, added up where they came from."""
        experts_M, tokens_M = (self.gates.T > 0).nonzero(as_tuple=True)
        y_MD = _through(x_ND.index_select(0, tokens_M), self.counts(len(nets)), nets, activation)
        gates_M1 = self.gates[tokens_M, experts_M].to(x_ND.dtype).unsqueeze(1)
        return torch.zeros_like(x_ND).index_add(0, tokens_M, y_MD * gates_M1)


def balance_loss(scores_NE: Tensor, loads_E: Tensor) -> Tensor:
    """Return E sum_i f_i p_i: 1 when balanced, up to E when one expert takes all (arXiv:2501.11873).

    `loads_E`: tokens of each expert over all choices that there should be (tokens x K). They are of the global batch;
    `scores_NE` may be of a part of it: the mean over equal parts is the loss of the whole.
    """
    return loads_E.numel() * (loads_E * scores_NE.mean(0)).sum()


def z_loss(logits_NE: Tensor) -> Tensor:
    """Return the mean squared log of the softmax's denominator, which keeps logits small (arXiv:2202.08906, Eq. 5)."""
    return logits_NE.logsumexp(-1).square().mean()


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


def _through(sorted_MD: Tensor, counts_E: Tensor, nets: list[Net], activation: FeedForward) -> Tensor:
    """Return each row through the net of its expert; the rows stand in the order of experts, `counts_E` of each."""
    parts = zip(sorted_MD.split(counts_E.tolist()), nets, strict=True)
    outputs = [activation(part, up, down) for part, (up, down) in parts if len(part)]
    return torch.cat(outputs) if outputs else sorted_MD
