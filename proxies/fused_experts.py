"""Routed experts in one loop in C++, for processors with AVX-512 and its bf16 units.

A block of an expert's rows goes through both of its matrices without leaving the processor's cache, is read from where
its tokens stand and added up there: no rows are put in order in memory, and no activation but one is written there.
"""

# Shapes: N tokens, D model width, F hidden width, E experts, P pairs of a token and an expert in the order of tokens.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.feedforward import Activation
from proxies.fused_nets import knows
from proxies.layers import apply
from proxies.native import call, operator, runs

SOURCE = Path(__file__).with_suffix(".cpp")


def serves(x_ND: Tensor, up_EFD: Tensor, activation: Activation) -> bool:
    """Say whether such tokens go through such experts by it; it knows squared ReLU alone."""
    return knows(x_ND, up_EFD, activation) and bool(runs(SOURCE))


def combine(
    x_ND: Tensor, gates_P: Tensor, up_EFD: Tensor, down_EDF: Tensor, experts_P: Tensor, tokens_P: Tensor
) -> Tensor:
    """Return `N x D`: of each token's pairs the sum of down(relu(up(x))^2) of their experts times their gates.

    Gates are float32; the rest is bfloat16, and added up in float32.
    """
    return apply(_Experts, x_ND, gates_P, up_EFD, down_EDF, experts_P, tokens_P)


class _Experts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:  # noqa: ANN401
        x_ND, gates_P, up_EFD, down_EDF, experts_P, tokens_P = inputs
        y_ND, start, places_P, positive_PF = _forward(x_ND, gates_P, up_EFD, down_EDF, experts_P, tokens_P)
        ctx.save_for_backward(x_ND, gates_P, up_EFD, down_EDF, tokens_P, start, places_P, positive_PF)
        return y_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return *_backward(grads[0], *ctx.saved_tensors), None, None


# Operators of torch's own kind, so that a compiled program may hold them.


def _empty(
    x_ND: Tensor, gates_P: Tensor, up_EFD: Tensor, down_EDF: Tensor, experts_P: Tensor, tokens_P: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del gates_P, down_EDF, tokens_P
    E, F, _ = up_EFD.shape
    P = len(experts_P)
    return x_ND.new_empty(x_ND.shape), experts_P.new_empty(E + 1), experts_P.new_empty(P), x_ND.new_empty(P, F)


@operator("experts", like=_empty)
def _forward(
    x_ND: Tensor, gates_P: Tensor, up_EFD: Tensor, down_EDF: Tensor, experts_P: Tensor, tokens_P: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return also where each expert's rows start, the row of each pair, and relu(up(x)) of every row."""
    y_ND, start, places_P, positive_PF = _empty(x_ND, gates_P, up_EFD, down_EDF, experts_P, tokens_P)
    sizes = _sizes(x_ND, up_EFD, tokens_P)
    call(SOURCE, "places", (experts_P, start, places_P), sizes[-2:])
    tensors = (x_ND, gates_P, up_EFD, down_EDF, tokens_P, start, places_P, positive_PF, y_ND)
    call(SOURCE, "experts", tensors, sizes)
    return y_ND, start, places_P, positive_PF


def _empty_like(
    _dy_ND: Tensor, x_ND: Tensor, gates_P: Tensor, up_EFD: Tensor, down_EDF: Tensor, *_: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        x_ND.new_empty(x_ND.shape),
        gates_P.new_empty(gates_P.shape),
        up_EFD.new_empty(up_EFD.shape),
        down_EDF.new_empty(down_EDF.shape),
    )


@operator("experts_backward", like=_empty_like)
def _backward(
    dy_ND: Tensor,
    x_ND: Tensor,
    gates_P: Tensor,
    up_EFD: Tensor,
    down_EDF: Tensor,
    tokens_P: Tensor,
    start: Tensor,
    places_P: Tensor,
    positive_PF: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    read = (dy_ND, x_ND, gates_P, up_EFD, down_EDF, tokens_P, start, places_P, positive_PF)
    found = _empty_like(*read)
    call(SOURCE, "experts_backward", (*read, *found), _sizes(x_ND, up_EFD, tokens_P))
    return found


def _sizes(x_ND: Tensor, up_EFD: Tensor, tokens_P: Tensor) -> tuple[int, ...]:
    E, F, D = up_EFD.shape
    return len(x_ND), D, F, len(tokens_P), E
