"""The slope of a product's matrix in one loop in C++, for processors with AVX-512 and its bf16 units."""

# Shapes: M models, N rows of each, X rows of all, F and D widths.

from pathlib import Path

from torch import Tensor

from proxies.config import LOOP_MULTIPLE
from proxies.native import call, operator, runs, takes

SOURCE = Path(__file__).with_suffix(".cpp")


def serves(g_XF: Tensor, x_XD: Tensor, models: int) -> bool:
    """Say whether the slope of such a product goes through it."""
    sizes = (len(x_XD) // models, g_XF.shape[1], x_XD.shape[1])
    return takes(x_XD) and not any(size % LOOP_MULTIPLE for size in sizes) and bool(runs(SOURCE))


def _empty(g_XF: Tensor, x_XD: Tensor, models: int) -> Tensor:
    return g_XF.new_empty(models, g_XF.shape[1], x_XD.shape[1])


@operator("weight_slope", like=_empty)
def weight_slope(g_XF: Tensor, x_XD: Tensor, models: int) -> Tensor:
    """Return g' x of every model, `M x F x D` in bfloat16, added up in float32; rows of all models are `X = M N`."""
    found_MFD = _empty(g_XF, x_XD, models)
    call(SOURCE, "weight_slope", (g_XF, x_XD, found_MFD), (models, len(x_XD) // models, *found_MFD.shape[1:]))
    return found_MFD
