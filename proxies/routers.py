"""Routers: which experts a token goes to, by what gates, and what keeps the experts' loads even.

A router may keep a state beside its weights, one row a layer, which no gradient moves: it follows the loads of every
step. A load is an expert's tokens over the choices there should be (tokens x K): balanced at the budget, 1 / E each.
"""

# Shapes: M models, N tokens of all, D model width, E experts, K experts a token, L layers, S size of a layer's state.

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from proxies import fused_router
from proxies.config import ProxyConfig
from proxies.fused_router import Rule
from proxies.layers import product
from proxies.moe import Choice, Positive, TopK

L1_START = 1e-8  # arXiv:2412.14711, with the factor: the published code's
L1_FACTOR = 1.2


@dataclass(frozen=True)
class Routing:
    """Where tokens go, and the `scores` (N x E, float32) whose means the balance loss weighs by the loads."""

    choice: Choice
    scores: Tensor


@dataclass(frozen=True, kw_only=True)
class Router:
    """One way to route.

    route: from logits `N x E` (float32), a layer's state `N x S` and K. state: what a training starts with, `L x S`.
    coefficient: of the balance loss, from the state. updated: the state after a step with loads `L x E`.
    rule: the same as `route`, in the words of the loop in C++; None where it has none for it.
    """

    route: Callable[[Tensor, Tensor, int], Routing]
    state: Callable[[ProxyConfig], Tensor]
    coefficient: Callable[[ProxyConfig, Tensor], Tensor]
    updated: Callable[[ProxyConfig, Tensor, Tensor], Tensor]
    rule: Rule | None = None


def decide(
    router: Router, x_ND: Tensor, router_MED: Tensor, state_MS: Tensor, top_k: int
) -> tuple[Tensor, Tensor, Routing]:
    """Return tokens, their logits `N x E`, each by the router and the state of its model, and where they go.

    Experts should read the tokens returned: their slopes are then added up where the router finds its own.
    """
    if router.rule is not None and fused_router.serves(x_ND):
        found = fused_router.choose(x_ND, router_MED, state_MS, router.rule, top_k)
        return found.rows, found.logits, Routing(TopK(found.experts, found.gates), found.scores)
    logits_NE = product(x_ND.float(), router_MED)
    state_NS = state_MS.repeat_interleave(len(x_ND) // len(state_MS), 0)
    return x_ND, logits_NE, router.route(logits_NE, state_NS, top_k)


def softmax(logits_NE: Tensor, state_NS: Tensor, top_k: int) -> Routing:
    """Choose the K largest of a softmax; gates sum to one, but for top-1, where the score itself is the gate."""
    del state_NS
    scores_NE = logits_NE.softmax(-1)
    gates_NK, experts_NK = scores_NE.topk(top_k, dim=-1)
    return Routing(TopK(experts_NK, _normalized(gates_NK)), scores_NE)


def softmax_scores(logits_NE: Tensor, state_NS: Tensor, top_k: int) -> Routing:
    """Choose the K largest of a softmax; the scores are the gates."""
    del state_NS
    scores_NE = logits_NE.softmax(-1)
    gates_NK, experts_NK = scores_NE.topk(top_k, dim=-1)
    return Routing(TopK(experts_NK, gates_NK), scores_NE)


def sigmoid(logits_NE: Tensor, biases_NE: Tensor, top_k: int) -> Routing:
    """Choose the K largest of sigmoid + bias; gates know no bias and sum to one, but for top-1 (arXiv:2412.19437)."""
    scores_NE = logits_NE.sigmoid()
    experts_NK = (scores_NE + biases_NE).topk(top_k, dim=-1).indices
    return Routing(TopK(experts_NK, _normalized(scores_NE.gather(1, experts_NK))), scores_NE)


def relu(logits_NE: Tensor, state_NS: Tensor, top_k: int) -> Routing:
    """Choose every expert whose logit is above 0, which is its gate: ReMoE (arXiv:2412.14711)."""
    del state_NS, top_k
    gates_NE = logits_NE.relu()
    return Routing(Positive(gates_NE), gates_NE)


def moved_biases(config: ProxyConfig, biases_LE: Tensor, loads_LE: Tensor) -> Tensor:
    """Return biases a step higher for experts below the mean load, lower above it (arXiv:2408.15664, Alg. 1)."""
    return biases_LE + config.bias_rate * (loads_LE.mean(-1, keepdim=True) - loads_LE).sign()


def moved_l1(config: ProxyConfig, l1_L1: Tensor, loads_LE: Tensor) -> Tensor:
    """Return the coefficient of L1 raised where more than K experts a token are active, lowered where not.

    One for all layers, from their mean sparsity.
    """
    del config
    return l1_L1 * L1_FACTOR if loads_LE.sum(-1).mean() > 1.0 else l1_L1 / L1_FACTOR


def _normalized(gates_NK: Tensor) -> Tensor:
    return gates_NK / gates_NK.sum(-1, keepdim=True) if gates_NK.shape[1] > 1 else gates_NK


def _stateless(config: ProxyConfig) -> Tensor:
    return torch.zeros(config.layers, 0)


def _biases(config: ProxyConfig) -> Tensor:
    return torch.zeros(config.layers, config.experts)


def _l1(config: ProxyConfig) -> Tensor:
    return torch.full((config.layers, 1), L1_START)


def _kept(config: ProxyConfig, state_LS: Tensor, loads_LE: Tensor) -> Tensor:
    del config, loads_LE
    return state_LS


def _configured(config: ProxyConfig, state_LS: Tensor) -> Tensor:
    return state_LS.new_tensor(config.balance_coefficient)


def _none(config: ProxyConfig, state_LS: Tensor) -> Tensor:
    del config
    return state_LS.new_zeros(())


def _adapted(config: ProxyConfig, state_LS: Tensor) -> Tensor:
    """Return L1's coefficient times the layers: the published loss is a sum over layers, the model's a mean."""
    return state_LS[0, 0] * config.layers


ROUTERS: Mapping[str, Router] = {
    "softmax": Router(
        route=softmax,
        state=_stateless,
        coefficient=_configured,
        updated=_kept,
        rule=Rule(scores="softmax", normalized=True),
    ),
    "softmax-scores": Router(
        route=softmax_scores,
        state=_stateless,
        coefficient=_configured,
        updated=_kept,
        rule=Rule(scores="softmax", normalized=False),
    ),
    "sigmoid": Router(
        route=sigmoid,
        state=_biases,
        coefficient=_none,
        updated=moved_biases,
        rule=Rule(scores="sigmoid", normalized=True),
    ),
    "relu": Router(route=relu, state=_l1, coefficient=_adapted, updated=moved_l1),
}
