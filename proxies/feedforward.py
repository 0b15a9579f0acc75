"""The feed-forward net of one block: squared ReLU or SwiGLU."""

# Shapes: M models, N tokens in all, D model width, F hidden width.
# Weights: up is M x F x D (squared ReLU) or M x 2F x D (SwiGLU: gate, then value), down is M x D x F.

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn.functional import silu

from proxies import fused_relu, layers
from proxies.layers import product

Activation = Callable[[Tensor], Tensor]  # what `up` wrote, to what `down` reads


def feed_forward(x_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor, activation: Activation) -> Tensor:
    """Return down(activation(up(x))), `N x D`."""
    return product(activation(product(x_ND, up_MFD)), down_MDF)


def squared_relu(x: Tensor) -> Tensor:
    """Return relu(x)^2 (arXiv:2109.08668)."""
    return fused_relu.squared_relu(x) if fused_relu.serves(x) else layers.squared_relu(x)


def swiglu(gate_and_value: Tensor) -> Tensor:
    """Return silu(gate) * value (arXiv:2002.05202, Eq. 6)."""
    gate_NF, value_NF = gate_and_value.chunk(2, dim=-1)
    return silu(gate_NF) * value_NF


ACTIVATIONS: Mapping[str, Activation] = {"relu2": squared_relu, "swiglu": swiglu}
UP_MATRICES: Mapping[str, int] = {"relu2": 1, "swiglu": 2}
