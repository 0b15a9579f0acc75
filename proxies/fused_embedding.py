"""Embeddings and their norm in one loop in C++ each way, for processors with AVX-512 and its bf16 units; one thread.

In torch's own operators that is six passes over memory there, and ten back, with tokens sorted for the last.
"""

# Shapes: N tokens, J rows of the table that make an embedding, R rows of the table, D model width.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.fused_norm import WIDTHS
from proxies.layers import NORM_EPSILON
from proxies.native import call, check_within, operator, runs

SOURCE = Path(__file__).with_suffix(".cpp")


def serves(table_RD: Tensor, dtype: torch.dtype) -> bool:
    """Say whether embeddings from that table, with norms of `dtype`, go through it."""
    return (
        table_RD.device.type == "cpu" and table_RD.shape[1] % WIDTHS == 0 and dtype == torch.bfloat16 and runs(SOURCE)
    )


def embedded(rows_NJ: Tensor, table_RD: Tensor) -> tuple[Tensor, Tensor]:
    """Return `N x D`: sums of rows of a table, in float32, and their norms (`proxies.layers.rms_norm`) in bfloat16.

    Rows that the table does not have are an `IndexError`.
    """
    found: tuple[Tensor, Tensor] = _Embedded.apply(rows_NJ, table_RD)  # type: ignore[no-untyped-call]  # as torch does
    return found


class _Embedded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_NJ: Tensor, table_RD: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        x_ND, h_ND, scale_N = _forward(rows_NJ, table_RD)
        ctx.save_for_backward(h_ND, scale_N, rows_NJ)
        ctx.rows = len(table_RD)
        ctx.set_materialize_grads(False)
        return x_ND, h_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[None, Tensor]:  # noqa: ANN401
        h_ND, scale_N, rows_NJ = ctx.saved_tensors
        dx_ND, dh_ND = grads
        if dh_ND is None:
            dh_ND = torch.zeros_like(h_ND)
        found: Tensor = _backward(dx_ND, dh_ND, h_ND, scale_N, rows_NJ, ctx.rows)
        return None, found


# Operators of torch's own kind, so that a compiled program may hold them.


def _empty(rows_NJ: Tensor, table_RD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shape = len(rows_NJ), table_RD.shape[1]
    return table_RD.new_empty(shape), table_RD.new_empty(shape, dtype=torch.bfloat16), table_RD.new_empty(shape[0])


@operator("embedded", like=_empty)
def _forward(rows_NJ: Tensor, table_RD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return also the scale of each row."""
    check_within(rows_NJ, len(table_RD), what="rows of a table")
    found = _empty(rows_NJ, table_RD)
    call(SOURCE, "embedded", (rows_NJ, table_RD, *found), _sizes(rows_NJ, table_RD), NORM_EPSILON)
    return found


def _empty_table(
    _dx_ND: Tensor | None, _dh_ND: Tensor, h_ND: Tensor, scale_N: Tensor, _rows_NJ: Tensor, rows: int
) -> Tensor:
    return scale_N.new_empty(rows, h_ND.shape[1])


@operator("embedded_backward", like=_empty_table)
def _backward(dx_ND: Tensor | None, dh_ND: Tensor, h_ND: Tensor, scale_N: Tensor, rows_NJ: Tensor, rows: int) -> Tensor:
    found_RD = _empty_table(dx_ND, dh_ND, h_ND, scale_N, rows_NJ, rows)
    tensors = (dx_ND, dh_ND, h_ND, scale_N, rows_NJ, found_RD)
    call(SOURCE, "embedded_backward", tensors, _sizes(rows_NJ, found_RD))
    return found_RD


def _sizes(rows_NJ: Tensor, table_RD: Tensor) -> tuple[int, ...]:
    return *rows_NJ.shape, table_RD.shape[1], len(table_RD)
