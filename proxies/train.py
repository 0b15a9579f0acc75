"""Train one proxy on a recipe and measure it."""

# Shapes: B batch, T sequence.

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxies import machine
from proxies.checkpoint import Checkpoint
from proxies.config import ProxyConfig
from proxies.corpus import Corpus, DomainTokens, Part
from proxies.errors import ProxyError
from proxies.evaluate import bits_per_byte, evaluation_tokens, gold_log_probabilities
from proxies.initialize import INITIALIZERS
from proxies.layers import cross_entropy
from proxies.mixing import Batches, Stage, slice_domains
from proxies.model import Decoder
from proxies.optimizers import OPTIMIZERS, learning_rate, set_learning_rate
from proxies.parallel import ALONE, Group, Ranks, joined
from proxies.training import Progress, Report, Training
from proxies.usage import expert_usage, usage_tokens

CURVE_POINTS = 20
LATE_FRACTION = 0.5  # worse than guessing blindly after half of the training, a loss will not come down; a guess


def train(
    config: ProxyConfig,
    corpus: Corpus,
    recipe: Sequence[Stage],
    *,
    tokens: int,
    seed: int,
    part: Part = "search",
    target_tokens: int | None = None,
    slice_tokens: int | None = None,
    gold: Path | None = None,
    report: Report | None = None,
    checkpoint: Checkpoint | None = None,
    ranks: Ranks | None = None,
) -> Training:
    """Train a proxy on `tokens` (rounded down to whole steps) of `recipe`, and evaluate it on `part`.

    Same arguments, same losses, bit for bit on one machine with one thread. `target_tokens`: simulated epoching,
    where every domain is cut as for a training on `slice_tokens` (None: `tokens`; more, where this training is cut
    short but must pass over the text of a longer one).
    `gold`: a folder for the gold-token log-probabilities of every evaluation set, `<set>.npy`, float32, natural log.
    `report` is called at every point of the curve. `checkpoint`: where the training is saved from time to time, and
    goes on from, with the same losses as if it had never stopped; whoever wants it gone removes it. `ranks`: this
    process trains together with others, called alike; only rank 0 saves, reports and measures.
    """
    batches = draw(
        config,
        corpus.domains,
        recipe,
        tokens=tokens,
        seed=seed,
        target_tokens=target_tokens,
        slice_tokens=slice_tokens,
    )
    started = time.perf_counter()
    first = start_batches(
        config, corpus, recipe, seed=seed, target_tokens=target_tokens, slice_tokens=slice_tokens or tokens
    )
    resumes = checkpoint is not None and checkpoint.load() is not None
    if first is None or resumes:
        model = build(config, vocabulary=corpus.vocabulary, end_of_document=corpus.end_of_document, seed=seed)
    else:
        model = taken_over(config, corpus, first, seed=seed)
    earlier = first.epochs() if first is not None else {}
    prepared_s = time.perf_counter() - started
    with joined(ranks) as group:
        model.sum_over_ranks = group.sum
        curve, diverged, before_s = fit(model, batches, report=report, checkpoint=checkpoint, group=group)
    model.sum_over_ranks = ALONE.sum
    trained_s = before_s + time.perf_counter() - started - prepared_s
    done = curve[-1][0]
    measured = NOTHING if diverged or group.rank else measure(model, corpus, part=part, gold=gold)
    if not all(math.isfinite(loss) for loss in measured.losses.values()):
        measured, diverged = replace(NOTHING, tokens=measured.tokens), True
    shows_usage = bool(config.experts) and bool(measured.losses)
    used = {"expert_usage": expert_usage(model, corpus.domains)} if shows_usage else {}
    read = measured.tokens + (usage_tokens(model, corpus.domains) if used else 0)
    return Training(
        losses=measured.losses,
        accuracies=measured.accuracies,
        items=measured.items,
        curve=curve,
        epochs={name: passes + earlier.get(name, 0.0) for name, passes in batches.epochs().items()},
        tokens=done,
        flops=first_flops(config, first, vocabulary=corpus.vocabulary)
        + config.flops_per_token(corpus.vocabulary) * done
        + config.forward_flops_per_token(corpus.vocabulary) * read,
        elapsed_s=before_s + time.perf_counter() - started,
        diverged=diverged,
        details={
            "precision": str(model.dtype).removeprefix("torch."),
            "device": str(model.table.device),
            "threads": torch.get_num_threads(),
            "processes": group.count,
            "parameters": config.total_parameters(corpus.vocabulary),
            "tokens_per_s": done / trained_s,
            **used,
        },
    )


def draw(
    config: ProxyConfig,
    domains: Mapping[str, DomainTokens],
    recipe: Sequence[Stage],
    *,
    tokens: int,
    seed: int,
    target_tokens: int | None = None,
    slice_tokens: int | None = None,
) -> Batches:
    """Return the batches of a training.

    `target_tokens` cuts domains so that a training on `slice_tokens` (None: `tokens`) repeats them as there.
    """
    steps = tokens // config.batch_tokens
    if steps < 1:
        raise ProxyError(f"{tokens} tokens are less than one step of {config.batch_tokens}; train on more")
    if target_tokens is not None:
        used = {name for _, weights in recipe for name, weight in weights.items() if weight > 0}
        cut = slice_domains(
            {name: domain for name, domain in domains.items() if name in used},
            proxy_tokens=tokens if slice_tokens is None else slice_tokens,
            target_tokens=target_tokens,
            sequence_tokens=config.sequence_tokens,
        )
        domains = {**domains, **cut}
    return Batches(
        domains,
        recipe,
        seed=seed,
        sequence_tokens=config.sequence_tokens,
        batch_sequences=config.batch_sequences,
        steps=steps,
    )


def start_batches(
    config: ProxyConfig,
    corpus: Corpus,
    recipe: Sequence[Stage],
    *,
    seed: int,
    target_tokens: int | None,
    slice_tokens: int,
) -> Batches | None:
    """Return the batches of the training that comes first, as `init` says; None where none does."""
    start = config.start
    if start is None:
        return None
    return draw(
        start.proxy,
        corpus.domains,
        recipe,
        tokens=start.tokens,
        seed=seed,
        target_tokens=target_tokens,
        slice_tokens=slice_tokens,
    )


def taken_over(config: ProxyConfig, corpus: Corpus, batches: Batches, *, seed: int) -> Decoder:
    """Return the model that a training begins with, where another one comes first, on `batches`."""
    start = config.start
    assert start is not None
    first = build(start.proxy, vocabulary=corpus.vocabulary, end_of_document=corpus.end_of_document, seed=seed)
    fit(first, batches)  # one that diverges goes on as it is, and is found out at once
    return INITIALIZERS[start.method](first, config, seed=seed)


def first_flops(config: ProxyConfig, batches: Batches | None, *, vocabulary: int) -> float:
    """Return the nominal FLOPs of the training that comes first, on `batches`."""
    start = config.start
    if start is None or batches is None:
        return 0.0
    return start.proxy.flops_per_token(vocabulary) * batches.steps * start.proxy.batch_tokens


def build(config: ProxyConfig, *, vocabulary: int, end_of_document: int, seed: int) -> Decoder:
    """Return an untrained model, drawn from `seed`, on the accelerator if there is one."""
    place = machine.device()
    dtype = machine.product_dtype(config.precision, place)
    model = Decoder(config, vocabulary=vocabulary, end_of_document=end_of_document, dtype=dtype)
    model.initialize(seed)
    return model.to(place)


def fit(
    model: Decoder,
    batches: Batches,
    *,
    report: Report | None = None,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
) -> tuple[tuple[tuple[int, float], ...], bool, float]:
    """Train `model` on all `batches`, or on those that the checkpoint leaves.

    Return the curve, whether the training diverged and so stopped early, and the seconds spent before the checkpoint.
    """
    config = model.config
    optimizers = OPTIMIZERS[config.optimizer](model, config)
    started = time.perf_counter()
    curve: list[tuple[int, float]] = []
    recent: list[Tensor] = []
    first, before_s = 0, 0.0
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        first, before_s, curve, recent = _restore(state, model, optimizers)
    every = max(1, round(batches.steps / CURVE_POINTS))
    for k in range(first, batches.steps):
        set_learning_rate(optimizers, learning_rate(config, (k + 0.5) / batches.steps))
        recent.append(step(model, batches.batch(k), optimizers, group=group))
        elapsed_s = before_s + time.perf_counter() - started
        if (k + 1) % every == 0 or k + 1 == batches.steps:
            loss = float(torch.stack(recent).mean())
            recent.clear()
            curve.append(((k + 1) * config.batch_tokens, loss))
            if report and not group.rank:
                report(Progress(tokens=curve[-1][0], loss=loss, elapsed_s=elapsed_s))
            if has_diverged(curve, progress=(k + 1) / batches.steps, vocabulary=model.vocabulary):
                return tuple(curve), True, before_s
        if checkpoint is not None and not group.rank and checkpoint.is_due:
            checkpoint.save(_state(model, optimizers, steps=k + 1, elapsed_s=elapsed_s, curve=curve, recent=recent))
    return tuple(curve), False, before_s


def _state(
    model: Decoder,
    optimizers: Sequence[torch.optim.Optimizer],
    *,
    steps: int,
    elapsed_s: float,
    curve: Sequence[tuple[int, float]],
    recent: Sequence[Tensor],
) -> dict[str, Any]:
    """Return all that the steps after the first `steps` depend on; batches depend on their number alone."""
    return {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "steps": steps,
        "elapsed_s": elapsed_s,
        "curve": list(curve),
        "recent": [float(loss) for loss in recent],
    }


def _restore(
    state: Mapping[str, Any], model: Decoder, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, float, list[tuple[int, float]], list[Tensor]]:
    """Put `model` and `optimizers` where they were; return the steps taken, their seconds, the curve and its rest."""
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    recent = [torch.tensor(loss, device=model.table.device) for loss in state["recent"]]
    return state["steps"], state["elapsed_s"], [(tokens, loss) for tokens, loss in state["curve"]], recent


def step(
    model: Decoder, rows: NDArray[np.int64], optimizers: Sequence[torch.optim.Optimizer], *, group: Group = ALONE
) -> Tensor:
    """Take one step on tokens `B x (T + 1)`; return the loss before it, nats per token, without routers' penalty."""
    tokens = torch.from_numpy(group.part(rows)).to(model.table.device)
    logits_BTV, penalty = model.logits_and_penalty(tokens[:, :-1])
    loss = cross_entropy(logits_BTV.flatten(0, 1), tokens[:, 1:].flatten())
    (loss + penalty if model.config.experts else loss).backward()
    group.average_gradients(model.parameters())
    torch.nn.utils.clip_grad_norm_(model.parameters(), model.config.clip_norm)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    model.end_step()
    return group.mean(loss.detach())


def has_diverged(curve: Sequence[tuple[int, float]], *, progress: float, vocabulary: int) -> bool:
    """Say whether a training is lost: its loss is no number, or late on still above that of guessing blindly."""
    loss = curve[-1][1]
    return not math.isfinite(loss) or (progress > LATE_FRACTION and loss > math.log(vocabulary))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model shows: bits per byte of every set, accuracies over `items` questions; and the tokens it read."""

    losses: Mapping[str, float]
    accuracies: Mapping[str, float]
    items: Mapping[str, int]
    tokens: int


NOTHING = Measured(losses={}, accuracies={}, items={}, tokens=0)


def measure(model: Decoder, corpus: Corpus, *, part: Part, gold: Path | None) -> Measured:
    """Return what `model` shows on every evaluation set of `part`.

    To the folder `gold` go the log-probabilities of the tokens that a set's loss is of.
    """
    losses: dict[str, float] = {}
    accuracies: dict[str, float] = {}
    items: dict[str, int] = {}
    read = 0
    if gold is not None:
        gold.mkdir(parents=True, exist_ok=True)
    for name, excerpts in corpus.evaluation(part).items():
        scores = gold_log_probabilities(model, excerpts)
        counted = scores[excerpts.counted]
        losses[name] = bits_per_byte(counted, excerpts.scored_bytes)
        if excerpts.choices is not None:
            accuracies[name], items[name] = excerpts.accuracy(scores), excerpts.choices.items
        read += evaluation_tokens(excerpts, sequence_tokens=model.config.sequence_tokens)
        if gold is not None:
            np.save(gold / f"{name}.npy", counted)
    return Measured(losses=losses, accuracies=accuracies, items=items, tokens=read)
