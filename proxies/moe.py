"""Routed experts: a dispatch that drops no token, and the loss that keeps loads even."""

# Shapes: N tokens, D model width, F hidden width, E experts, K experts a token, P pairs of a token and an expert.
# Of several models the tokens and experts stand one model's after another's: then N and E are of all together.

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from proxies import fused_experts
from proxies.dispatch import Rows, joined, spread, through_experts
from proxies.feedforward import Activation


class Choice(Protocol):
    """Which experts each token goes to, and how much of each."""

    def counts(self, experts: int) -> Tensor:
        """Return how many tokens go to each expert, `E`."""
        ...

    def of_models(self, models: int, experts: int) -> "Choice":
        """Return the choice among the experts of all `models`, each of whose tokens chose among its own `experts`."""
        ...

    def combine(self, x_ND: Tensor, up_EFD: Tensor, down_EDF: Tensor, activation: Activation) -> Tensor:
        """Return `N x D`: each token through its experts, weighted by their gates."""
        ...


@dataclass(frozen=True)
class TopK:
    """As many experts for every token: `experts` and `gates` N x K."""

    experts: Tensor
    gates: Tensor

    def counts(self, experts: int) -> Tensor:
        """Return how many tokens go to each expert, `E`."""
        chosen_P = self.experts.flatten()
        return chosen_P.new_zeros(experts).scatter_add(0, chosen_P, torch.ones_like(chosen_P))

    def of_models(self, models: int, experts: int) -> "TopK":
        """Return the choice among the experts of all `models`: those of the i-th have numbers from i x `experts`."""
        if models == 1:
            return self
        first_M = torch.arange(models, device=self.experts.device) * experts
        return TopK(self.experts + first_M.repeat_interleave(len(self.experts) // models)[:, None], self.gates)

    def combine(self, x_ND: Tensor, up_EFD: Tensor, down_EDF: Tensor, activation: Activation) -> Tensor:
        """Return `N x D`: rows in the order of experts through their nets, and back with the gates as weights."""
        experts_P = self.experts.flatten()
        if fused_experts.serves(x_ND, up_EFD, activation):
            tokens_P = torch.arange(len(experts_P), device=experts_P.device) // self.experts.shape[1]
            return fused_experts.combine(x_ND, self.gates.flatten(), up_EFD, down_EDF, experts_P, tokens_P)
        rows = Rows.of(self.counts(len(up_EFD)))
        order_P = torch.argsort(experts_P, stable=True)
        tokens_R = rows.filled(order_P // self.experts.shape[1])
        rows_P = torch.empty_like(order_P)
        rows_P[order_P] = rows.places
        rows_NK = rows_P.view_as(self.experts)
        y_RD = through_experts(spread(x_ND, tokens_R, rows_NK), rows.bounds, up_EFD, down_EDF, activation)
        return joined(y_RD, self.gates, tokens_R, rows_NK)


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

    def combine(self, x_ND: Tensor, up_EFD: Tensor, down_EDF: Tensor, activation: Activation) -> Tensor:
        """Return `N x D`: the rows of the pairs with a gate through their nets, added up where they came from."""
        if fused_experts.serves(x_ND, up_EFD, activation):
            tokens_P, own_P = (self.gates > 0).nonzero(as_tuple=True)
            experts_P = own_P + tokens_P // (len(self.gates) // self.models) * self.gates.shape[1]
            return fused_experts.combine(x_ND, self.gates[tokens_P, own_P], up_EFD, down_EDF, experts_P, tokens_P)
        gates_MEN = self._by_model().mT
        models_P, experts_P, tokens_P = (gates_MEN > 0).nonzero(as_tuple=True)
        tokens_P = tokens_P + models_P * gates_MEN.shape[2]
        rows = Rows.of(self.counts(len(up_EFD)))
        x_RD = x_ND.index_select(0, rows.filled(tokens_P))
        y_RD = through_experts(x_RD, rows.bounds, up_EFD, down_EDF, activation)
        gates_P1 = self.gates[tokens_P, experts_P].to(x_ND.dtype).unsqueeze(1)
        return torch.zeros_like(x_ND).index_add(0, tokens_P, y_RD.index_select(0, rows.places) * gates_P1)

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
