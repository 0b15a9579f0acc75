"""The feed-forward net of one block: squared ReLU or SwiGLU."""

# Shapes: M models, N tokens in all, D model width, F hidden width.
# Weights: up is M x F x D (squared ReLU) or M x 2F x D (SwiGLU: gate, then value), down is M x D x F.

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn.functional import silu

from proxies.layers import product, squared_relu

FeedForward = Callable[[Tensor, Tensor, Tensor], Tensor]


def relu2(x_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor) -> Tensor:
    """Return down(relu(up(x))^2), `N x D`."""
    return product(squared_relu(product(x_ND, up_MFD)), down_MDF)


def swiglu(x_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor) -> Tensor:
    """Return down(silu(gate(x)) * up(x)), `N x D` (arXiv:2002.05202, Eq. 6)."""
    gate_NF, value_NF = product(x_ND, up_MFD).chunk(2, dim=-1)
    return product(silu(gate_NF) * value_NF, down_MDF)


ACTIVATIONS: Mapping[str, FeedForward] = {"relu2": relu2, "swiglu": swiglu}
UP_MATRICES: Mapping[str, int] = {"relu2": 1, "swiglu": 2}
