"""A sum of residuals and its norm in one loop in C++, for processors with AVX-512 and its bf16 units; one thread.

In torch's own operators that is five passes over memory there, and eight back.
"""

# Shapes: N tokens, D model width.

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxies.layers import NORM_EPSILON
from proxies.native import call, replaces

SOURCE = Path(__file__).with_suffix(".cpp")
WIDTHS = 16  # it serves multiples of it


def serves(y_ND: Tensor) -> bool:
    """Say whether the sum of residuals and `y_ND` goes through it."""
    return y_ND.shape[-1] % WIDTHS == 0 and replaces(SOURCE, y_ND)


def added_norm(x_ND: Tensor, y_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Return x + y in float32, and its norm (`proxies.layers.rms_norm`) in bfloat16."""
    found: tuple[Tensor, Tensor] = _AddedNorm.apply(x_ND, y_ND)  # type: ignore[no-untyped-call]  # as torch leaves it
    return found


class _AddedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, y_ND: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        sum_ND = x_ND.new_empty(x_ND.shape)
        h_ND, scale_N = y_ND.new_empty(y_ND.shape), x_ND.new_empty(len(x_ND))
        call(SOURCE, "added", (x_ND, y_ND, sum_ND, h_ND, scale_N), x_ND.shape, NORM_EPSILON)
        ctx.save_for_backward(h_ND, scale_N)
        ctx.set_materialize_grads(False)
        return sum_ND, h_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        h_ND, scale_N = ctx.saved_tensors
        dsum_ND, dh_ND = grads
        if dh_ND is None:
            dh_ND = torch.zeros_like(h_ND)
        dx_ND, dy_ND = scale_N.new_empty(h_ND.shape), h_ND.new_empty(h_ND.shape)
        call(SOURCE, "added_backward", (dsum_ND, dh_ND, h_ND, scale_N, dx_ND, dy_ND), h_ND.shape)
        return dx_ND, dy_ND
