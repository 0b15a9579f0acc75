"""The small parts of a decoder with their way back written by hand: norm, squared ReLU and cross entropy.

Small models spend their time on passes over memory, not on arithmetic; these make as few as there can be.
"""

# Shapes: N tokens, D model width, V vocabulary.

from typing import Any

import torch
from torch import Tensor

NORM_EPSILON = 1e-6
LEAST_SHARE = 1e-38  # the smallest normal float32: a loss stays below 88 nats, whatever the logits


def apply(function: type[torch.autograd.Function], *arguments: object) -> Tensor:
    """Return what `function` makes of `arguments`; torch leaves this call without types."""
    found: Tensor = function.apply(*arguments)
    return found


def rms_norm(x_ND: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x / rms(x) along the last axis of a float32 tensor, as `dtype` (arXiv:1910.07467, Eq. 4; no gains)."""
    return apply(_RMSNorm, x_ND, dtype)


def squared_relu(x: Tensor) -> Tensor:
    """Return relu(x)^2 (arXiv:2109.08668); only relu(x) is kept for the way back."""
    return apply(_SquaredReLU, x)


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Return the mean cross entropy of logits `N x V` of any type, in float32, against targets `N`; at most 88 nats."""
    return apply(_CrossEntropy, logits_NV, targets_N)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ANN401
        width = x_ND.shape[-1]
        norm_N1 = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True)
        scale_N1 = norm_N1.square_().div_(width).add_(NORM_EPSILON).rsqrt_()
        y_ND = torch.mul(x_ND, scale_N1, out=torch.empty_like(x_ND, dtype=dtype))
        ctx.save_for_backward(y_ND, scale_N1)
        return y_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        y_ND, scale_N1 = ctx.saved_tensors
        g_ND = grads[0]
        shared_N1 = (g_ND * y_ND).mean(-1, keepdim=True, dtype=torch.float32)
        return g_ND.to(torch.float32, copy=True).addcmul_(y_ND.float(), shared_N1, value=-1).mul_(scale_N1), None


class _SquaredReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        positive = x.relu()
        ctx.save_for_backward(positive)
        squared: Tensor = positive * positive
        return squared

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401
        (positive,) = ctx.saved_tensors
        found: Tensor = grads[0] * positive
        return found.mul_(2)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor) -> Tensor:  # noqa: ANN401
        shares_NV = torch.softmax(logits_NV, dim=-1, dtype=torch.float32)
        ctx.save_for_backward(shares_NV, targets_N)
        ctx.dtype = logits_NV.dtype
        return -shares_NV.gather(1, targets_N[:, None]).clamp_min_(LEAST_SHARE).log_().mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        shares_NV, targets_N = ctx.saved_tensors
        scale = grads[0] / len(targets_N)
        found_NV = shares_NV * scale
        found_NV.scatter_add_(1, targets_N[:, None], -scale.expand(len(targets_N), 1))
        return found_NV.to(ctx.dtype), None
