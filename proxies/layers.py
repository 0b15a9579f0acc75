"""The small parts of a decoder with their way back written by hand: products, norm, squared ReLU, cross entropy.

Small models spend their time on passes over memory, not on arithmetic; these make as few as there can be.
"""

# Shapes: M models, N tokens of each, D model width, F width of what a matrix writes, V vocabulary.

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from proxies import fused_product

NORM_EPSILON = 1e-6
LEAST_SHARE = 1e-38  # the smallest normal float32: a loss stays below 88 nats, whatever the logits


def apply(function: type[torch.autograd.Function], *arguments: object) -> Tensor:
    """Return what `function` makes of `arguments`; torch leaves this call without types."""
    found: Tensor = function.apply(*arguments)
    return found


def product(x_XD: Tensor, weights_MFD: Tensor) -> Tensor:
    """Return `(M N) x F`: the rows of each model, N of `(M N) x D`, times its own matrix."""
    return apply(_Product, x_XD, weights_MFD)


def stacked(parameters: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Return the parameters of M models as one `M x ...` of `dtype`; each gets its own gradient, in float32."""
    if len(parameters) == 1:
        return parameters[0].to(dtype)[None]
    return apply(_Stacked, dtype, *parameters)


def stacked_layers(parameters: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return the parameters of M models, all `L x ...`, as one `M x ...` of `dtype` for each layer."""
    found: tuple[Tensor, ...] = _StackedLayers.apply(dtype, *parameters)  # type: ignore[no-untyped-call]  # as above
    return found


def rms_norm(x_ND: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x / rms(x) along the last axis of a float32 tensor, as `dtype` (arXiv:1910.07467, Eq. 4; no gains)."""
    return apply(_RMSNorm, x_ND, dtype)


def squared_relu(x: Tensor) -> Tensor:
    """Return relu(x)^2 (arXiv:2109.08668); only relu(x) is kept for the way back."""
    return apply(_SquaredReLU, x)


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Return the cross entropy `N` of logits `N x V` of any type, in float32, against targets `N`; at most 88 nats."""
    return apply(_CrossEntropy, logits_NV, targets_N)


class _Product(torch.autograd.Function):
    """x W'. Of the two ways to write the gradient of W, the one with fewer rows is up to a quarter faster."""

    @staticmethod
    def forward(ctx: Any, x_XD: Tensor, weights_MFD: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x_XD, weights_MFD)
        if len(weights_MFD) == 1:
            return linear(x_XD, weights_MFD[0])
        return torch.bmm(_by_model(x_XD, weights_MFD), weights_MFD.mT).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        x_XD, weights_MFD = ctx.saved_tensors
        _, F, D = weights_MFD.shape
        g_MNF, x_MND = _by_model(grads[0], weights_MFD), _by_model(x_XD, weights_MFD)
        dx_MND = _products(g_MNF, weights_MFD)
        if fused_product.serves(grads[0], x_XD, len(weights_MFD)):
            return dx_MND.flatten(0, 1), fused_product.weight_slope(grads[0], x_XD, len(weights_MFD))
        dw_MFD = _products(g_MNF.mT, x_MND) if F <= D else _products(x_MND.mT, g_MNF).mT
        return dx_MND.flatten(0, 1), dw_MFD


def _by_model(x_XD: Tensor, weights_MFD: Tensor) -> Tensor:
    return x_XD.reshape(len(weights_MFD), -1, x_XD.shape[-1])


def _products(a: Tensor, b: Tensor) -> Tensor:
    return torch.mm(a[0], b[0])[None] if len(a) == 1 else torch.bmm(a, b)


class _Stacked(torch.autograd.Function):
    """One pass there and one back, where torch.stack and a cast make two each."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *parameters: Tensor) -> Tensor:  # noqa: ANN401
        del ctx
        found = torch.empty((len(parameters), *parameters[0].shape), dtype=dtype, device=parameters[0].device)
        for place, parameter in zip(found, parameters, strict=True):
            place.copy_(parameter)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        del ctx
        return None, *(each.to(torch.float32, copy=True) for each in grads[0])


class _StackedLayers(torch.autograd.Function):
    """The same layer by layer: no gradient of all layers is put together but the one in float32."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *parameters: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        ctx.models = len(parameters)
        first = parameters[0]
        found = [torch.empty((ctx.models, *first.shape[1:]), dtype=dtype, device=first.device) for _ in first]
        for place, layer in zip(found, zip(*parameters, strict=True), strict=True):
            for own, weights in zip(place, layer, strict=True):
                own.copy_(weights)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        found = [grads[0].new_empty(len(grads), *grads[0].shape[1:], dtype=torch.float32) for _ in range(ctx.models)]
        for layer, grad in enumerate(grads):
            for own, slope in zip(found, grad, strict=True):
                own[layer].copy_(slope)
        return None, *found


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
        gold_N = shares_NV.gather(1, targets_N[:, None]).squeeze(1)
        return gold_N.clamp_min_(LEAST_SHARE).log_().neg_()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        shares_NV, targets_N = ctx.saved_tensors
        scale_N1 = grads[0][:, None]
        found_NV = shares_NV * scale_N1
        found_NV.scatter_add_(1, targets_N[:, None], -scale_N1)
        return found_NV.to(ctx.dtype), None
