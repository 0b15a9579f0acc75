"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from proxies.config import ProxyConfig
from proxies.model import Decoder
from proxies.width_rule import HIDDEN, Scale, adamw_scale, muon_scale

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # https://kellerjordan.github.io/posts/muon/
NEWTON_SCHULZ_STEPS = 5
MUON_MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-8  # torch's
EPSILON = 1e-7
FLOOR_FRACTION = 0.1  # of the learning rate, where a cosine ends; linear and wsd end at zero


class Muon(torch.optim.Optimizer):
    """Muon with torch.optim.Muon's update (match_rms_adamw) on stacks of matrices.

    A parameter of shape (..., m, n) is a stack of m x n matrices; all matrices of one shape, transposed or not, are
    orthogonalized by the same batched products.
    """

    def __init__(
        self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]], *, lr: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; a closure is not supported."""
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for _, same in groupby(sorted(parameters, key=_shape), key=_shape):
                self._update(list(same), lr=group["lr"], weight_decay=group["weight_decay"])

    def _update(self, parameters: Sequence[Tensor], *, lr: float, weight_decay: float) -> None:
        wide = [_wide(self._momentum(p)) for p in parameters]
        turned = orthogonalize(torch.cat(wide) if len(wide) > 1 else wide[0])
        rate = lr * 0.2 * math.sqrt(max(parameters[0].shape[-2:]))
        for parameter, update in zip(parameters, turned.split([len(w) for w in wide]), strict=True):
            upright = update.mT if parameter.shape[-2] > parameter.shape[-1] else update
            parameter.mul_(1 - lr * weight_decay).add_(upright.reshape(parameter.shape), alpha=-rate)

    def _momentum(self, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - MUON_MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MUON_MOMENTUM)


def orthogonalize(x: Tensor) -> Tensor:
    """Return the nearest half-orthogonal matrices to a stack `n x a x b`, a <= b, roughly, in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    x = x.bfloat16()
    x = x / x.flatten(1).norm(dim=1).clamp(min=EPSILON)[:, None, None]
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _shape(parameter: Tensor) -> tuple[int, int]:
    small, large = sorted(parameter.shape[-2:])
    return small, large


def _wide(x: Tensor) -> Tensor:
    stack = x.reshape(-1, *x.shape[-2:])
    return stack.mT if stack.shape[1] > stack.shape[2] else stack


def muon(model: Decoder, config: ProxyConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks, and AdamW without decay for embeddings, router and head."""
    named = dict(model.named_parameters())
    scale = muon_scale(config)
    matrices = {"params": [named[name] for name in named if name in HIDDEN], "scale": scale.rate}
    return [
        Muon([matrices], lr=config.learning_rate * scale.rate, weight_decay=config.weight_decay * scale.decay),
        _adamw({name: p for name, p in named.items() if name not in HIDDEN}, config),
    ]


def adamw(model: Decoder, config: ProxyConfig) -> list[torch.optim.Optimizer]:
    """Return AdamW, with decay for the matrices of the blocks alone."""
    return [_adamw(dict(model.named_parameters()), config)]


def _adamw(named: Mapping[str, Tensor], config: ProxyConfig) -> torch.optim.Optimizer:
    """Return AdamW with a group for every scale that the width rule gives."""
    groups: dict[tuple[bool, Scale], list[Tensor]] = {}
    for name, parameter in named.items():
        groups.setdefault((name in HIDDEN, adamw_scale(name, config)), []).append(parameter)
    plain = [
        {
            "params": parameters,
            "scale": scale.rate,
            "lr": config.learning_rate * scale.rate,
            "eps": ADAM_EPSILON * scale.epsilon,
            "weight_decay": config.weight_decay * scale.decay if decayed else 0.0,
        }
        for (decayed, scale), parameters in groups.items()
    ]
    return torch.optim.AdamW(plain, lr=config.learning_rate, betas=ADAM_BETAS, fused=True)


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """Give every group its scale's part of `rate`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]


def learning_rate(config: ProxyConfig, progress: float) -> float:
    """Return the learning rate at `progress`, the share of the training that is done: from 0 to 1."""
    warmup = config.warmup_fraction
    if progress < warmup:
        return config.learning_rate * progress / warmup
    return config.learning_rate * SCHEDULES[config.schedule](config, (progress - warmup) / max(1 - warmup, 1e-9))


def _cosine(_: ProxyConfig, progress: float) -> float:
    return FLOOR_FRACTION + (1 - FLOOR_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress))


def _linear(_: ProxyConfig, progress: float) -> float:
    return 1 - progress


def _warmup_stable_decay(config: ProxyConfig, progress: float) -> float:
    decay = config.decay_fraction / max(1 - config.warmup_fraction, 1e-9)
    return min(1.0, (1 - progress) / decay) if decay else 1.0


OPTIMIZERS: Mapping[str, Callable[[Decoder, ProxyConfig], list[torch.optim.Optimizer]]] = {
    "muon": muon,
    "adamw": adamw,
}
SCHEDULES: Mapping[str, Callable[[ProxyConfig, float], float]] = {
    "cosine": _cosine,
    "linear": _linear,
    "wsd": _warmup_stable_decay,
}
