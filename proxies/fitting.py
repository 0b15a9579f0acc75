"""The loop: models of one shape train side by side as one program, each on its own batches; one alone is a case of it.

Nothing of one model enters another's sums but by the shape of a product: in a program of several a model equals itself
alone up to rounding. Each has its own place in its own batches, so that those that end early leave the rest.
"""

# Shapes: M models, B batch of one, T sequence.

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxies.checkpoint import Checkpoint
from proxies.compiling import compiled
from proxies.mixing import Batches
from proxies.model import Decoder, token_losses
from proxies.optimizers import OPTIMIZERS, forget, set_rate, state_of, take_state
from proxies.parallel import ALONE, Group
from proxies.schedules import rate_share, stable_steps
from proxies.training import Progress, Report

CURVE_POINTS = 20
LATE_FRACTION = 0.5  # worse than guessing blindly after half of the training, a loss will not come down; a guess


@dataclass(kw_only=True)
class Fit:
    """One model, its batches, and how far it is.

    losses: of every step. curve: (tokens, mean loss since the last point). elapsed_s: its share of the time spent,
    before a checkpoint too. diverged: it was stopped early, and is no use.
    begin: where a shorter training left what it was before its rate fell; this one goes on from there where it would
    come by there, and `begun` counts the steps so spared. stable: where this one leaves the same.
    """

    model: Decoder
    batches: Batches
    report: Report | None = None
    checkpoint: Checkpoint | None = None
    begin: Checkpoint | None = None
    stable: Checkpoint | None = None
    elapsed_s: float = 0.0
    begun: int = 0
    losses: list[Tensor | float] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    diverged: bool = False
    _told: int = 0

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.losses)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        return self.diverged or self.steps == self.batches.steps

    @property
    def is_stable(self) -> bool:
        """Whether the rate falls from the next step on."""
        return self.steps == stable_steps(self.model.config, self.batches.steps)

    @property
    def rate_share(self) -> float:
        """Which share of its learning rate the next step takes."""
        size = self.model.config.batch_tokens
        return rate_share(self.model.config, (self.steps + 0.5) * size, of=self.batches.steps * size)

    def take(self, loss: Tensor | float) -> bool:
        """Note a step and the loss before it, and say whether that makes a point of the curve.

        A loss that is no number makes one, and the last; an accelerator, which would have to be waited for, tells of it
        at the next regular point.
        """
        self.losses.append(loss)
        every = max(1, round(self.batches.steps / CURVE_POINTS))
        is_lost = (isinstance(loss, float) or loss.device.type == "cpu") and not math.isfinite(loss)
        if not is_lost and self.steps % every and self.steps < self.batches.steps:
            return False
        recent = [float(each) for each in self.losses[self._told :]]
        self.losses[self._told :] = recent
        self._told = self.steps
        mean = float(torch.tensor(recent).mean())
        self.curve.append((self.steps * self.model.config.batch_tokens, mean))
        progress = (self.steps - 1) / self.batches.steps  # when that loss was measured
        self.diverged = has_diverged(self.curve, progress=progress, vocabulary=self.model.vocabulary)
        return True


def fit(fits: Sequence[Fit], *, group: Group = ALONE) -> None:
    """Train the models of `fits`, of one shape, on all their batches, or on those that their checkpoints leave."""
    optimizers = OPTIMIZERS[fits[0].model.config.optimizer]([each.model for each in fits])
    for each in fits:
        _resume(each, optimizers)
        if each.is_over:
            forget(optimizers, each.model)
    left = [each for each in fits if not each.is_over]
    while left:
        started = time.perf_counter()
        for each in left:
            set_rate(optimizers, each.model, each.rate_share)
        rows = np.stack([each.batches.batch(each.steps) for each in left])
        losses_M = step([each.model for each in left], rows, optimizers, group=group)
        took_s = (time.perf_counter() - started) / len(left)
        for each, loss in zip(left, losses_M, strict=True):
            each.elapsed_s += took_s
            is_point = each.take(loss)
            if is_point and each.report:
                each.report(Progress(tokens=each.curve[-1][0], loss=each.curve[-1][1], elapsed_s=each.elapsed_s))
            if not group.rank and not each.diverged:
                _save(each, optimizers)
            if each.is_over:
                forget(optimizers, each.model)
        left = [each for each in left if not each.is_over]


def step(
    models: Sequence[Decoder],
    rows: NDArray[np.int64],
    optimizers: Sequence[torch.optim.Optimizer],
    *,
    group: Group = ALONE,
) -> Tensor:
    """Take one step on tokens `M x B x (T + 1)`; return the losses before it, `M` of nats per token.

    They are without routers' penalties.
    """
    part = group.part(rows[0])[None] if group.count > 1 else rows
    tokens_MBS = torch.from_numpy(part).to(models[0].table.device)
    losses_M, penalty_M = (compiled(losses) if models[0].config.compiled else losses)(models, tokens_MBS)
    (losses_M + penalty_M if models[0].config.experts else losses_M).sum().backward()
    for model in models:
        group.average_gradients(model.parameters())
        clip_gradients(model)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    for model in models:
        model.end_step()
    return group.mean(losses_M.detach())


def clip_gradients(model: Decoder) -> None:
    """Shorten the gradient of a model where it is longer than it may be."""
    norm = torch.nn.utils.get_total_norm([each.grad for each in model.parameters() if each.grad is not None])
    if norm.device.type == "cpu" and norm.item() < model.config.clip_norm:  # an accelerator would have to be waited for
        return
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), model.config.clip_norm, norm)


def losses(models: Sequence[Decoder], tokens_MBS: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean loss of each model on its `B x (T + 1)` tokens, and what its routers add to it, both `M`."""
    losses_N, penalty_M = token_losses(models, tokens_MBS[:, :, :-1], tokens_MBS[:, :, 1:])
    return losses_N.view(len(models), -1).mean(1), penalty_M


def has_diverged(curve: Sequence[tuple[int, float]], *, progress: float, vocabulary: int) -> bool:
    """Say whether a training is lost: its loss is no number, or late on still above that of guessing blindly."""
    loss = curve[-1][1]
    return not math.isfinite(loss) or (progress > LATE_FRACTION and loss > math.log(vocabulary))


def _save(fit: Fit, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Keep where a training stands, as often as it asks for, and once before its rate falls."""
    if fit.stable is not None and fit.is_stable:
        fit.stable.save(_state(fit, optimizers))
    if fit.checkpoint is not None and fit.checkpoint.is_due:
        fit.checkpoint.save(_state(fit, optimizers))


def _state(fit: Fit, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any]:
    """Return all that the later steps depend on; batches depend on their number alone."""
    return {
        "model": fit.model.state_dict(),
        "optimizers": state_of(optimizers, fit.model),
        "drawn": fit.batches.digest(fit.steps),
        "begun": fit.begun,
        "elapsed_s": fit.elapsed_s,
        "losses": [float(loss) for loss in fit.losses],
    }


def _resume(fit: Fit, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Put a training where it was, or where a shorter one was on its way."""
    if fit.checkpoint is not None and (state := fit.checkpoint.load()) is not None:
        fit.begun, fit.elapsed_s = state["begun"], state["elapsed_s"]
        _restore(fit, state, optimizers)
    elif fit.begin is not None and (state := fit.begin.load()) is not None and _leads_to(state, fit):
        fit.begun = len(state["losses"])
        _restore(fit, state, optimizers)


def _leads_to(state: Mapping[str, Any], fit: Fit) -> bool:
    """Say whether a training comes by where a shorter one was: it has drawn the same, at the same rates."""
    steps = len(state["losses"])
    config = fit.model.config
    warm = config.warmup_tokens is not None and config.warmup_tokens <= steps * config.batch_tokens
    return warm and steps <= stable_steps(config, fit.batches.steps) and state["drawn"] == fit.batches.digest(steps)


def _restore(fit: Fit, state: Mapping[str, Any], optimizers: Sequence[torch.optim.Optimizer]) -> None:
    fit.model.load_state_dict(state["model"])
    take_state(optimizers, fit.model, state["optimizers"])
    for loss in state["losses"]:
        fit.take(loss)
