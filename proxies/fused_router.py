"""Routers in one loop in C++, for processors with AVX-512 and its bf16 units; one thread.

Of small numbers, one for each token and expert, torch's operators make fifty passes a layer; this makes one each way.
"""

# Shapes: M models, N tokens of all, D model width, E experts of a model, K experts a token.

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from proxies.config import LOOP_MULTIPLE
from proxies.native import call, operator, runs, takes

SOURCE = Path(__file__).with_suffix(".cpp")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What tokens go by: the K experts of the largest scores; their gates sum to one where they are normalized."""

    scores: Literal["softmax", "sigmoid"]
    normalized: bool


def serves(x_ND: Tensor) -> bool:
    """Say whether such tokens are routed by it."""
    return takes(x_ND) and x_ND.shape[1] % LOOP_MULTIPLE == 0 and runs(SOURCE)


class Chosen(NamedTuple):
    """The rows `N x D` that were given, for experts to read, logits and scores `N x E`, gates and experts `N x K`."""

    rows: Tensor
    logits: Tensor
    scores: Tensor
    gates: Tensor
    experts: Tensor


def choose(x_ND: Tensor, router_MED: Tensor, biases_MS: Tensor, rule: Rule, top_k: int) -> Chosen:
    """Return where rows of x, in bfloat16, go; all else is float32.

    biases_MS: of the experts' scores, for the choice alone; S is E, or 0 for none.
    """
    return Chosen(*_Choice.apply(x_ND, router_MED, biases_MS, _numbers(rule, top_k)))  # type: ignore[no-untyped-call]  # as torch leaves it


class _Choice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, router_MED: Tensor, biases_MS: Tensor, rule: list[int]) -> tuple[Tensor, ...]:  # noqa: ANN401
        logits_NE, scores_NE, gates_NK, experts_NK = _forward(x_ND, router_MED, biases_MS, rule)
        ctx.save_for_backward(x_ND, router_MED, scores_NE, gates_NK, experts_NK)
        ctx.rule = rule
        ctx.mark_non_differentiable(experts_NK)
        ctx.set_materialize_grads(False)
        return x_ND.view_as(x_ND), logits_NE, scores_NE, gates_NK, experts_NK

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x_ND, router_MED, scores_NE, gates_NK, experts_NK = ctx.saved_tensors
        after_ND, dlogits_NE, dscores_NE, dgates_NK, _ = grads
        dx_ND, drouter_MED = _backward(
            after_ND, dlogits_NE, dscores_NE, dgates_NK, x_ND, router_MED, scores_NE, gates_NK, experts_NK, ctx.rule
        )
        return dx_ND, drouter_MED, None, None


# A rule is a list of numbers there: K, whether scores are sigmoids, and whether gates are normalized.


def _empty(
    x_ND: Tensor, router_MED: Tensor, biases_MS: Tensor, rule: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del biases_MS
    N, E, K = len(x_ND), router_MED.shape[1], rule[0]
    logits_NE, scores_NE, gates_NK = (router_MED.new_empty(N, width) for width in (E, E, K))
    return logits_NE, scores_NE, gates_NK, router_MED.new_empty(N, K, dtype=torch.int64)


@operator("route", like=_empty)
def _forward(
    x_ND: Tensor, router_MED: Tensor, biases_MS: Tensor, rule: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = _empty(x_ND, router_MED, biases_MS, rule)
    biases = biases_MS if biases_MS.numel() else None
    call(SOURCE, "route", (x_ND, router_MED, biases, *found), _sizes(x_ND, router_MED, rule))
    return found


def _empty_like(
    _after_ND: Tensor | None,
    _dlogits_NE: Tensor | None,
    _dscores_NE: Tensor | None,
    _dgates_NK: Tensor | None,
    x_ND: Tensor,
    router_MED: Tensor,
    *_: object,
) -> tuple[Tensor, Tensor]:
    return x_ND.new_empty(x_ND.shape), router_MED.new_empty(router_MED.shape)


@operator("route_backward", like=_empty_like)
def _backward(
    after_ND: Tensor | None,
    dlogits_NE: Tensor | None,
    dscores_NE: Tensor | None,
    dgates_NK: Tensor | None,
    x_ND: Tensor,
    router_MED: Tensor,
    scores_NE: Tensor,
    gates_NK: Tensor,
    experts_NK: Tensor,
    rule: list[int],
) -> tuple[Tensor, Tensor]:
    read = (after_ND, dlogits_NE, dscores_NE, dgates_NK, x_ND, router_MED, scores_NE, gates_NK, experts_NK)
    found = _empty_like(*read, rule)
    call(SOURCE, "route_backward", (*read, *found), _sizes(x_ND, router_MED, rule))
    return found


def _numbers(rule: Rule, top_k: int) -> list[int]:
    """Return the rule as numbers; a single gate is the score itself."""
    return [top_k, int(rule.scores == "sigmoid"), int(rule.normalized and top_k > 1)]


def _sizes(x_ND: Tensor, router_MED: Tensor, rule: list[int]) -> tuple[int, ...]:
    M, E, D = router_MED.shape
    return M, len(x_ND) // M, D, E, *rule
