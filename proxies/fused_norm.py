"""A sum of residuals and its norm in one loop in C++, for processors with AVX-512 and its bf16 units; one thread.

In torch's own operators that is five passes over memory there, and eight back.
"""

# Shapes: N tokens, D model width.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.layers import NORM_EPSILON
from proxies.native import call, operator, runs, takes

SOURCE = Path(__file__).with_suffix(".cpp")
WIDTHS = 16  # loops with norms serve multiples of it


def serves(y_ND: Tensor) -> bool:
    """Say whether the sum of residuals and `y_ND` goes through it."""
    return y_ND.shape[-1] % WIDTHS == 0 and takes(y_ND) and bool(runs(SOURCE))


def added_norm(x_ND: Tensor, y_ND: Tensor, *, reads_sum: bool = True) -> tuple[Tensor, Tensor]:
    """Return x + y in float32, nothing where nobody reads it, and its norm (`proxies.layers.rms_norm`) in bfloat16."""
    found: tuple[Tensor, Tensor] = _AddedNorm.apply(x_ND, y_ND, reads_sum)  # type: ignore[no-untyped-call]  # as torch leaves it
    return found


class _AddedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, y_ND: Tensor, reads_sum: bool) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        sum_ND, h_ND, scale_N = _forward(x_ND, y_ND, reads_sum)
        ctx.reads_sum = reads_sum
        ctx.save_for_backward(h_ND, scale_N)
        ctx.set_materialize_grads(False)
        return sum_ND, h_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        h_ND, scale_N = ctx.saved_tensors
        dsum_ND, dh_ND = grads
        if dh_ND is None:
            dh_ND = torch.zeros_like(h_ND)
        return *_backward(dsum_ND if ctx.reads_sum else None, dh_ND, h_ND, scale_N), None


# Operators of torch's own kind, so that a compiled program may hold them.


def _empty(x_ND: Tensor, y_ND: Tensor, reads_sum: bool) -> tuple[Tensor, Tensor, Tensor]:
    sum_ND = x_ND.new_empty(x_ND.shape if reads_sum else (0, 0))
    return sum_ND, y_ND.new_empty(y_ND.shape), x_ND.new_empty(len(x_ND))


@operator("added_norm", like=_empty)
def _forward(x_ND: Tensor, y_ND: Tensor, reads_sum: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return also the scale of each row."""
    found = _empty(x_ND, y_ND, reads_sum)
    sum_ND, *rest = found
    call(SOURCE, "added", (x_ND, y_ND, sum_ND if reads_sum else None, *rest), x_ND.shape, NORM_EPSILON)
    return found


def _empty_like(_dsum_ND: Tensor | None, _dh_ND: Tensor, h_ND: Tensor, scale_N: Tensor) -> tuple[Tensor, Tensor]:
    return scale_N.new_empty(h_ND.shape), h_ND.new_empty(h_ND.shape)


@operator("added_norm_backward", like=_empty_like)
def _backward(dsum_ND: Tensor | None, dh_ND: Tensor, h_ND: Tensor, scale_N: Tensor) -> tuple[Tensor, Tensor]:
    found = _empty_like(dsum_ND, dh_ND, h_ND, scale_N)
    call(SOURCE, "added_backward", (dsum_ND, dh_ND, h_ND, scale_N, *found), h_ND.shape)
    return found
