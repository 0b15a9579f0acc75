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
from proxies.layers import cross_entropy
from proxies.mixing import Batches
from proxies.model import Decoder, forward
from proxies.optimizers import OPTIMIZERS, forget, rate_share, set_rate, state_of, take_state
from proxies.parallel import ALONE, Group
from proxies.training import Progress, Report

CURVE_POINTS = 20
LATE_FRACTION = 0.5  # worse than guessing blindly after half of the training, a loss will not come down; a guess


@dataclass(kw_only=True)
class Fit:
    """One model, its batches, and how far it is.

    curve: (tokens, mean loss since the last point). recent: losses since then. elapsed_s: its share of the time spent,
    before a checkpoint too. diverged: it was stopped early, and is no use.
    """

    model: Decoder
    batches: Batches
    report: Report | None = None
    checkpoint: Checkpoint | None = None
    steps: int = 0
    elapsed_s: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)
    recent: list[Tensor] = field(default_factory=list)
    diverged: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        return self.diverged or self.steps == self.batches.steps

    @property
    def rate_share(self) -> float:
        """Which share of its learning rate the next step takes."""
        return rate_share(self.model.config, (self.steps + 0.5) / self.batches.steps)

    def take(self, loss: Tensor, *, took_s: float) -> None:
        """Note a step and the loss before it; at a point of the curve, see whether the training is lost."""
        self.steps += 1
        self.elapsed_s += took_s
        self.recent.append(loss)
        every = max(1, round(self.batches.steps / CURVE_POINTS))
        if self.steps % every and self.steps < self.batches.steps:
            return
        mean = float(torch.stack(self.recent).mean())
        self.recent.clear()
        self.curve.append((self.steps * self.model.config.batch_tokens, mean))
        if self.report:
            self.report(Progress(tokens=self.curve[-1][0], loss=mean, elapsed_s=self.elapsed_s))
        progress = self.steps / self.batches.steps
        self.diverged = has_diverged(self.curve, progress=progress, vocabulary=self.model.vocabulary)


def fit(fits: Sequence[Fit], *, group: Group = ALONE) -> None:
    """Train the models of `fits`, of one shape, on all their batches, or on those that their checkpoints leave."""
    optimizers = OPTIMIZERS[fits[0].model.config.optimizer]([each.model for each in fits])
    for each in fits:
        if each.checkpoint is not None and (state := each.checkpoint.load()) is not None:
            _restore(state, each, optimizers)
    left = [each for each in fits if not each.is_over]
    for each in fits:
        if each.is_over:
            forget(optimizers, each.model)
    while left:
        started = time.perf_counter()
        for each in left:
            set_rate(optimizers, each.model, each.rate_share)
        rows = np.stack([each.batches.batch(each.steps) for each in left])
        losses_M = step([each.model for each in left], rows, optimizers, group=group)
        took_s = (time.perf_counter() - started) / len(left)
        for each, loss in zip(left, losses_M, strict=True):
            each.take(loss, took_s=took_s)
            if each.checkpoint is not None and not group.rank and each.checkpoint.is_due and not each.diverged:
                each.checkpoint.save(_state(each, optimizers))
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
    logits_NV, penalty_M = forward(models, tokens_MBS[:, :, :-1])
    losses_M = cross_entropy(logits_NV, tokens_MBS[:, :, 1:].flatten()).view(len(models), -1).mean(1)
    (losses_M + penalty_M if models[0].config.experts else losses_M).sum().backward()
    for model in models:
        group.average_gradients(model.parameters())
        torch.nn.utils.clip_grad_norm_(model.parameters(), model.config.clip_norm)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    for model in models:
        model.end_step()
    return group.mean(losses_M.detach())


def has_diverged(curve: Sequence[tuple[int, float]], *, progress: float, vocabulary: int) -> bool:
    """Say whether a training is lost: its loss is no number, or late on still above that of guessing blindly."""
    loss = curve[-1][1]
    return not math.isfinite(loss) or (progress > LATE_FRACTION and loss > math.log(vocabulary))


def _state(fit: Fit, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any]:
    """Return all that the later steps depend on; batches depend on their number alone."""
    return {
        "model": fit.model.state_dict(),
        "optimizers": state_of(optimizers, fit.model),
        "steps": fit.steps,
        "elapsed_s": fit.elapsed_s,
        "curve": list(fit.curve),
        "recent": [float(loss) for loss in fit.recent],
    }


def _restore(state: Mapping[str, Any], fit: Fit, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Put a training where it was."""
    fit.model.load_state_dict(state["model"])
    take_state(optimizers, fit.model, state["optimizers"])
    fit.steps, fit.elapsed_s = state["steps"], state["elapsed_s"]
    fit.curve = [(tokens, loss) for tokens, loss in state["curve"]]
    fit.recent = [torch.tensor(loss, device=fit.model.table.device) for loss in state["recent"]]
