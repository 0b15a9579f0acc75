"""The feed-forward net of one block: squared ReLU or SwiGLU."""

# Shapes: N tokens, D model width, F hidden width.
# Weights: up is F x D (squared ReLU) or 2F x D (SwiGLU: gate, then value), down is D x F.

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn.functional import linear, silu

from proxies.layers import squared_relu

FeedForward = Callable[[Tensor, Tensor, Tensor], Tensor]


def relu2(x_ND: Tensor, up_FD: Tensor, down_DF: Tensor) -> Tensor:
    """Return down(relu(up(x))^2), `N x D`."""
    return linear(squared_relu(linear(x_ND, up_FD)), down_DF)


def swiglu(x_ND: Tensor, up_FD: Tensor, down_DF: Tensor) -> Tensor:
    """Return down(silu(gate(x)) * up(x)), `N x D` (arXiv:2002.05202, Eq. 6)."""
    gate_NF, value_NF = linear(x_ND, up_FD).chunk(2, dim=-1)
    return linear(silu(gate_NF) * value_NF, down_DF)


ACTIVATIONS: Mapping[str, FeedForward] = {"relu2": relu2, "swiglu": swiglu}
UP_MATRICES: Mapping[str, int] = {"relu2": 1, "swiglu": 2}
