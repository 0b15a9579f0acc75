"""Optimizers, over the parameters of one model or of several that train together."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from proxies import fused_muon
from proxies.model import Decoder
from proxies.width_rule import HIDDEN, Scale, adamw_scale, muon_scale

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # https://kellerjordan.github.io/posts/muon/
NEWTON_SCHULZ_STEPS = 5
ADAM_BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-8  # torch's
EPSILON = 1e-7
TURN = fused_muon.Turn(polynomial=NEWTON_SCHULZ, steps=NEWTON_SCHULZ_STEPS, least_norm=EPSILON)


class Muon(torch.optim.Optimizer):
    """Muon with torch.optim.Muon's update (match_rms_adamw) on stacks of matrices.

    A parameter of shape (..., m, n) is a stack of m x n matrices; all matrices of one shape, transposed or not, are
    orthogonalized by the same batched products. Before that, the average of gradients is divided by the root of the
    average of their squares, as in Adam; the idea is of Muon^2 (arXiv:2604.09967, abstract). `square_momentum` None:
    it is not, which is Muon as it was first published.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        square_momentum: float | None,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self._momentum, self._square_momentum = momentum, square_momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; a closure is not supported."""
        assert closure is None
        pairs = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        others = []
        for parameter, group in pairs:
            if fused_muon.serves(parameter):
                fused_muon.move(parameter, self._averages(parameter), TURN, **_distances(parameter, group))
            else:
                others.append((parameter, group))
        for _, same in groupby(sorted(others, key=_shape), key=_shape):
            self._update(list(same))

    def _update(self, pairs: Sequence[tuple[Tensor, Mapping[str, Any]]]) -> None:
        """Move parameters of one shape, each by the settings of its group."""
        wide = [_wide(self._averaged(parameter)) for parameter, _ in pairs]
        turned = newton_schulz(torch.cat(wide) if len(wide) > 1 else wide[0])
        for (parameter, group), update in zip(pairs, turned.split([len(w) for w in wide]), strict=True):
            distances = _distances(parameter, group)
            upright = update.mT if parameter.shape[-2] > parameter.shape[-1] else update
            parameter.mul_(1 - distances["decay"]).add_(upright.reshape(parameter.shape), alpha=-distances["rate"])

    def _averages(self, parameter: Tensor) -> fused_muon.Averages:
        """Return what is kept for a parameter; at first it is zero."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
            if self._square_momentum is not None:
                state["squares"] = torch.zeros_like(parameter)
        return fused_muon.Averages(
            momentum=state["momentum"],
            squares=state.get("squares"),
            kept=self._momentum,
            kept_of_squares=self._square_momentum or 0.0,
            epsilon=ADAM_EPSILON,
        )

    def _averaged(self, parameter: Tensor) -> Tensor:
        """Return the average of gradients that Nesterov's rule takes, over the root of that of their squares.

        Neither is corrected for its start at zero: what is orthogonalized may be of any size.
        """
        assert parameter.grad is not None
        grad, averages = parameter.grad, self._averages(parameter)
        averages.momentum.lerp_(grad, 1 - averages.kept)
        averaged = grad.lerp(averages.momentum, averages.kept)
        if averages.squares is None:
            return averaged
        squares = averages.squares.mul_(averages.kept_of_squares)
        squares.addcmul_(grad, grad, value=1 - averages.kept_of_squares)
        return averaged.div_(squares.sqrt().add_(averages.epsilon))


def newton_schulz(x: Tensor) -> Tensor:
    """Return the nearest half-orthogonal matrices to a stack `n x a x b`, a <= b, roughly, in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    x = x.bfloat16()
    x = x / x.flatten(1).norm(dim=1).clamp(min=EPSILON)[:, None, None]
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _shape(pair: tuple[Tensor, Mapping[str, Any]]) -> tuple[int, int]:
    small, large = sorted(pair[0].shape[-2:])
    return small, large


def _distances(parameter: Tensor, group: Mapping[str, Any]) -> dict[str, float]:
    """Return how far a step moves a parameter (match_rms_adamw), and by which share it shrinks."""
    rate = group["lr"] * 0.2 * math.sqrt(max(parameter.shape[-2:]))
    return {"rate": rate, "decay": group["lr"] * group["weight_decay"]}


def _wide(x: Tensor) -> Tensor:
    stack = x.reshape(-1, *x.shape[-2:])
    return stack.mT if stack.shape[1] > stack.shape[2] else stack


def muon(models: Sequence[Decoder]) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks, and AdamW without decay for embeddings, router and head."""
    matrices = []
    for model in models:
        config, scale = model.config, muon_scale(model.config)
        matrices.append(
            {
                "owner": model,
                "params": [p for name, p in model.named_parameters() if name in HIDDEN],
                **_at(config.learning_rate * scale.rate),
                "weight_decay": config.weight_decay * scale.decay,
            }
        )
    others = [{name: p for name, p in m.named_parameters() if name not in HIDDEN} for m in models]
    kept, kept_of_squares = models[0].config.momentum, models[0].config.square_momentum
    turning = Muon(matrices, lr=0.0, weight_decay=0.0, momentum=kept, square_momentum=kept_of_squares)
    return [turning, _adamw(models, others)]


def adamw(models: Sequence[Decoder]) -> list[torch.optim.Optimizer]:
    """Return AdamW, with decay for the matrices of the blocks alone."""
    return [_adamw(models, [dict(model.named_parameters()) for model in models])]


def _adamw(models: Sequence[Decoder], named: Sequence[Mapping[str, Tensor]]) -> torch.optim.Optimizer:
    """Return AdamW with a group for every model and every scale that the width rule gives."""
    plain = []
    for model, own in zip(models, named, strict=True):
        config = model.config
        groups: dict[tuple[bool, Scale], list[Tensor]] = {}
        for name, parameter in own.items():
            groups.setdefault((name in HIDDEN, adamw_scale(name, config)), []).append(parameter)
        plain += [
            {
                "owner": model,
                "params": parameters,
                **_at((config.learning_rate if is_hidden else config.rate_of_embeddings) * scale.rate),
                "eps": ADAM_EPSILON * scale.epsilon,
                "weight_decay": config.weight_decay * scale.decay if is_hidden else 0.0,
            }
            for (is_hidden, scale), parameters in groups.items()
        ]
    return torch.optim.AdamW(plain, betas=ADAM_BETAS, fused=True)


def _at(peak: float) -> dict[str, float]:
    """Return the settings of a group whose highest rate is `peak`."""
    return {"peak": peak, "lr": peak}


def set_rate(optimizers: Sequence[torch.optim.Optimizer], model: Decoder, share: float) -> None:
    """Give every group of `model` the `share` of its highest rate."""
    for group in _groups(optimizers, model):
        group["lr"] = share * group["peak"]


def forget(optimizers: Sequence[torch.optim.Optimizer], model: Decoder) -> None:
    """Move `model` no more, and let go of what was kept for it."""
    for optimizer in optimizers:
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["owner"] is not model]
        for parameter in model.parameters():
            optimizer.state.pop(parameter, None)


def state_of(optimizers: Sequence[torch.optim.Optimizer], model: Decoder) -> list[dict[str, Tensor]]:
    """Return what the optimizers keep for the parameters of `model`, in their order."""
    return [dict(optimizer.state[p]) for p in model.parameters() for optimizer in optimizers if p in optimizer.state]


def take_state(
    optimizers: Sequence[torch.optim.Optimizer], model: Decoder, saved: Sequence[Mapping[str, Tensor]]
) -> None:
    """Put back what `state_of` returned."""
    for optimizer in optimizers:
        held = {p for group in optimizer.param_groups for p in group["params"]}
        for parameter, state in zip(model.parameters(), saved, strict=True):
            if parameter in held:
                optimizer.state[parameter] = {name: v.to(parameter.device) for name, v in state.items()}


def _groups(optimizers: Sequence[torch.optim.Optimizer], model: Decoder) -> list[dict[str, Any]]:
    return [group for optimizer in optimizers for group in optimizer.param_groups if group["owner"] is model]


OPTIMIZERS: Mapping[str, Callable[[Sequence[Decoder]], list[torch.optim.Optimizer]]] = {
    "muon": muon,
    "adamw": adamw,
}
