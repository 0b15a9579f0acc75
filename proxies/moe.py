"""Routed experts: a dispatch that drops no token, and the loss that keeps loads even."""

# Shapes: N tokens, D model width, F hidden width, E experts, K experts a token, P pairs of a token and an expert.
# Of several models the tokens and experts stand one model's after another's: then N and E are of all together.

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

    def of_models(self, models: int, experts: int) -> "Choice":
        """Return the choice among the experts of all `models`, each of whose tokens chose among its own `experts`."""
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

    def of_models(self, models: int, experts: int) -> "TopK":
        """Return the choice among the experts of all `models`: those of the i-th have numbers from i x `experts`."""
        if models == 1:
            return self
        first_M = torch.arange(models, device=self.experts.device) * experts
        return TopK(self.experts + first_M.repeat_interleave(len(self.experts) // models)[:, None], self.gates)

    def combine(self, x_ND: Tensor, nets: list[Net], activation: FeedForward) -> Tensor:
        """Return `N x D`: rows in the order of experts through their nets, and back by products with the gates."""
        tokens, slots = self.experts.shape
        flat_P = self.experts.flatten()
        order_P = torch.argsort(flat_P, stable=True)
        inverse_P = torch.empty_like(order_P)
        inverse_P[order_P] = torch.arange(len(order_P), device=order_P.device)
        sorted_PD = apply(_Spread, x_ND, order_P, inverse_P.view(tokens, slots))
        y_PD = _through(sorted_PD, self.counts(len(nets)), nets, activation)
        rows_PD = apply(_Gather, y_PD, order_P, inverse_P)
        gates_N1K = self.gates.to(x_ND.dtype).unsqueeze(1)
        return torch.bmm(gates_N1K, rows_PD.view(tokens, slots, -1)).squeeze(1)


@dataclass(frozen=True)
class Positive:
    """The experts whose gate is above 0, any number a token, none too: `gates` N x E, E the experts of one model."""

    gates: Tensor
    models: int = 1

    def counts(self, experts: int) -> Tensor:
        """Return how many tokens go to each expert, `E`."""
        counts_ME = (self._by_model() > 0).sum(1)
        assert counts_ME.numel() == experts
        return counts_ME.flatten()

    def of_models(self, models: int, experts: int) -> "Positive":
        """Return the choice among the experts of all `models`."""
        assert self.gates.shape[1] == experts
        return Positive(self.gates, models)

    def combine(self, x_ND: Tensor, nets: list[Net], activation: FeedForward) -> Tensor:
        """Return `N x D`: the rows of the pairs with a gate through their nets, added up where they came from."""
        gates_MEN = self._by_model().mT
        models_P, experts_P, tokens_P = (gates_MEN > 0).nonzero(as_tuple=True)
        rows_P = tokens_P + models_P * gates_MEN.shape[2]
        y_PD = _through(x_ND.index_select(0, rows_P), self.counts(len(nets)), nets, activation)
        gates_P1 = self.gates[rows_P, experts_P].to(x_ND.dtype).unsqueeze(1)
        return torch.zeros_like(x_ND).index_add(0, rows_P, y_PD * gates_P1)

    def _by_model(self) -> Tensor:
        return self.gates.view(self.models, -1, self.gates.shape[1])


def balance_loss(scores_MNE: Tensor, loads_ME: Tensor) -> Tensor:
    """Return E sum_i f_i p_i of each model, `M`: 1 when balanced, E when one expert takes all (arXiv:2501.11873).

    Loads: tokens of each expert over all choices that there should be (tokens x K). They are of the global batch;
    scores may be of a part of it: the mean over equal parts is the loss of the whole.
    """
    return loads_ME.shape[1] * (loads_ME * scores_MNE.mean(1)).sum(1)


def z_loss(logits_MNE: Tensor) -> Tensor:
    """Return `M`: the mean squared log of the softmax denominator, to keep logits small (arXiv:2202.08906, Eq. 5)."""
    return logits_MNE.logsumexp(-1).square().mean(1)


class _Spread(torch.autograd.Function):
    """Rows of `x` in expert order; on the way back a gather and a sum, never a scatter."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, order_P: Tensor, inverse_NK: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(inverse_NK)
        return x_ND.index_select(0, order_P // inverse_NK.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (inverse_NK,) = ctx.saved_tensors
        rows = grads[0].index_select(0, inverse_NK.flatten())
        return rows.view(*inverse_NK.shape, -1).sum(1), None, None


class _Gather(torch.autograd.Function):
    """Rows back in token order; the way back is the forward permutation."""

    @staticmethod
    def forward(ctx: Any, y_PD: Tensor, order_P: Tensor, inverse_P: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(order_P)
        return y_PD.index_select(0, inverse_P)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (order_P,) = ctx.saved_tensors
        return grads[0].index_select(0, order_P), None, None


def _through(sorted_PD: Tensor, counts_E: Tensor, nets: list[Net], activation: FeedForward) -> Tensor:
    """Return each row through the net of its expert; the rows stand in the order of experts, `counts_E` of each."""
    parts = zip(sorted_PD.split(counts_E.tolist()), nets, strict=True)
    outputs = [activation(part, up[None], down[None]) for part, (up, down) in parts if len(part)]
    return torch.cat(outputs) if outputs else sorted_PD
