"""Rows to their experts and back: gathers in both directions, and products of whole blocks of rows.

The rows of an expert stand together, each expert's from a multiple of `BLOCK_ROWS` on. So products come in few sizes: a
processor's kernels are made anew for every new one, which takes longer than many a product. Rows in between are copies
of some token that nobody takes back and that send no gradient.
"""

# Shapes: N tokens, D model width, F width of what a matrix writes, E experts, K experts a token, P pairs of a token and
# an expert, R rows: the pairs and what stands between.

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from proxies.feedforward import Activation
from proxies.layers import apply

BLOCK_ROWS = 64  # measured: of 1,024 rows an expert a thirtieth is lost, and after some steps every size has been seen


@dataclass(frozen=True)
class Rows:
    """Where pairs stand that come in the order of experts: `places` P, and `bounds`: the rows of each expert."""

    places: Tensor
    bounds: tuple[slice, ...]

    @classmethod
    def of(cls, counts_E: Tensor) -> "Rows":
        """Return the rows of experts with so many pairs."""
        lengths_E = (counts_E + BLOCK_ROWS - 1) // BLOCK_ROWS * BLOCK_ROWS
        stops_E = lengths_E.cumsum(0)
        shifts_E = stops_E - lengths_E - (counts_E.cumsum(0) - counts_E)
        shifts_P = shifts_E.repeat_interleave(counts_E)
        stops = stops_E.tolist()
        bounds = tuple(slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False))
        return cls(torch.arange(len(shifts_P), device=counts_E.device) + shifts_P, bounds)

    def filled(self, tokens_P: Tensor) -> Tensor:
        """Return the token of every row, `R`."""
        found_R = tokens_P.new_zeros(self.bounds[-1].stop)
        found_R[self.places] = tokens_P
        return found_R


def spread(x_ND: Tensor, tokens_R: Tensor, rows_NK: Tensor) -> Tensor:
    """Return the rows `R x D`: each its token of `x_ND`; `rows_NK` says which rows are a token's."""
    return apply(_Spread, x_ND, tokens_R, rows_NK)


def joined(y_RD: Tensor, gates_NK: Tensor, tokens_R: Tensor, rows_NK: Tensor) -> Tensor:
    """Return `N x D`: the sum of each token's rows, weighted by its gates."""
    return apply(_Joined, y_RD, gates_NK, tokens_R, rows_NK)


def through_experts(
    x_RD: Tensor, bounds: tuple[slice, ...], up_EFD: Tensor, down_EDF: Tensor, activation: Activation
) -> Tensor:
    """Return `R x D`: each row through the feed-forward net of its expert."""
    hidden = activation(apply(_Products, x_RD, up_EFD, bounds))
    return apply(_Products, hidden, down_EDF, bounds)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, tokens_R: Tensor, rows_NK: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(rows_NK)
        return x_ND.index_select(0, tokens_R)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (rows_NK,) = ctx.saved_tensors
        return embedding_bag(rows_NK, grads[0], mode="sum"), None, None


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y_RD: Tensor, gates_NK: Tensor, tokens_R: Tensor, rows_NK: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(y_RD, gates_NK, tokens_R, rows_NK)
        return embedding_bag(rows_NK, y_RD, mode="sum", per_sample_weights=gates_NK.to(y_RD.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        y_RD, gates_NK, tokens_R, rows_NK = ctx.saved_tensors
        g_RD = grads[0].index_select(0, tokens_R)
        dgates_NK = (g_RD * y_RD).sum(-1)[rows_NK].to(gates_NK.dtype)
        gates_R = y_RD.new_zeros(len(y_RD))  # rows that are no pair's keep 0: no gradient comes from them
        gates_R[rows_NK.flatten()] = gates_NK.flatten().to(y_RD.dtype)
        return g_RD.mul_(gates_R[:, None]), dgates_NK, None, None


class _Products(torch.autograd.Function):
    """Each expert's rows times its own matrix, written where they belong."""

    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, weights_EFD: Tensor, bounds: tuple[slice, ...]) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x_RD, weights_EFD)
        ctx.bounds = bounds
        found_RF = x_RD.new_empty(len(x_RD), weights_EFD.shape[1])
        for rows, weights_FD in _taken(bounds, weights_EFD):
            torch.mm(x_RD[rows], weights_FD.T, out=found_RF[rows])
        return found_RF

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        x_RD, weights_EFD = ctx.saved_tensors
        g_RF = grads[0].contiguous()
        dx_RD, dweights_EFD = torch.empty_like(x_RD), torch.zeros_like(weights_EFD)
        for rows, weights_FD in _taken(ctx.bounds, weights_EFD):
            torch.mm(g_RF[rows], weights_FD, out=dx_RD[rows])
        for rows, dweights_FD in _taken(ctx.bounds, dweights_EFD):
            torch.mm(g_RF[rows].T, x_RD[rows], out=dweights_FD)
        return dx_RD, dweights_EFD, None


def _taken(bounds: tuple[slice, ...], matrices_EFD: Tensor) -> list[tuple[slice, Tensor]]:
    """Return the rows and the matrix of every expert that has rows."""
    pairs = zip(bounds, matrices_EFD.unbind(0), strict=True)
    return [(rows, matrix) for rows, matrix in pairs if rows.stop > rows.start]
