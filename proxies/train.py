"""Train proxies on recipes and measure them: one, or several of one shape side by side."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from proxies import machine
from proxies.attention import fused_gain, is_fused
from proxies.checkpoint import Checkpoint, keep_weights, with_kept_weights
from proxies.compiling import check_compiled
from proxies.config import ProxyConfig, Start
from proxies.corpus import Corpus, DomainTokens, Part
from proxies.errors import ProxyError
from proxies.fitting import Fit, fit
from proxies.initialize import INITIALIZERS, merged
from proxies.measuring import NOTHING, measure
from proxies.mixing import Batches, Stage, slice_domains
from proxies.model import Decoder
from proxies.parallel import ALONE, Ranks, joined
from proxies.training import Report, Training
from proxies.usage import expert_usage, usage_tokens

OWN = ("learning_rate", "embedding_rate", "weight_decay")  # settings in which the trainings of one program may differ


@dataclass(frozen=True, kw_only=True)
class DataExperts:
    """Data experts that `config` trained: for every domain the folder of its weights, None where it has no expert."""

    config: ProxyConfig
    folders: Sequence[Path | None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One training, and what is measured of it: see `train`.

    stable: where the training is left as it was before its rate fell. begin: where a shorter training of the same
    recipe and seed left that; this one goes on from there, with the losses of training straight through, bit for bit,
    and spends only the steps that it adds. That takes schedule "wsd" and `warmup_tokens`; else all is trained.
    experts: what a training whose `init` is merge-experts starts from.
    """

    config: ProxyConfig
    recipe: Sequence[Stage]
    tokens: int
    seed: int
    part: Part = "search"
    target_tokens: int | None = None
    slice_tokens: int | None = None
    gold: Path | None = None
    report: Report | None = None
    checkpoint: Checkpoint | None = None
    begin: Checkpoint | None = None
    stable: Checkpoint | None = None
    experts: DataExperts | None = None


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
    `gold`: a folder for the gold-token log-probabilities of every evaluation set, `<set>.npy`, float32, natural log,
    and for the weights at the end.
    `report` is called at every point of the curve. `checkpoint`: where the training is saved from time to time, and
    goes on from, with the same losses as if it had never stopped; whoever wants it gone removes it. `ranks`: this
    process trains together with others, called alike; only rank 0 saves, reports and measures.
    """
    plan = Plan(
        config=config,
        recipe=recipe,
        tokens=tokens,
        seed=seed,
        part=part,
        target_tokens=target_tokens,
        slice_tokens=slice_tokens,
        gold=gold,
        report=report,
        checkpoint=checkpoint,
    )
    return train_together([plan], corpus, ranks=ranks)[0]


def train_together(plans: Sequence[Plan], corpus: Corpus, *, ranks: Ranks | None = None) -> list[Training]:
    """Train proxies of one shape as one program, and return what came of each.

    Recipes, seeds, tokens, rates and weight decays may differ. Losses are those of training one after another
    up to rounding; every training is repeatable bit for bit in the same company. `elapsed_s` is each one's share.
    `ranks`: of one training alone, see `train`.
    """
    if not plans:
        return []
    first = plans[0].config
    own = {name: getattr(first, name) for name in OWN}
    if not all(replace(plan.config, **own) == first for plan in plans):
        raise ProxyError(f"proxies that train as one program may differ in {list(OWN)} alone; train others apart")
    assert ranks is None or len(plans) == 1
    started = time.perf_counter()
    fits = _prepared(plans, corpus)
    prepared_s = (time.perf_counter() - started) / len(plans)
    with joined(ranks) as group:
        for each in fits:
            each.model.sum_over_ranks = group.sum
            each.report = None if group.rank else each.report
        fit(fits, group=group)
    found = []
    for plan, each in zip(plans, fits, strict=True):
        each.model.sum_over_ranks = ALONE.sum
        found.append(_ended(plan, each, corpus, prepared_s=prepared_s, measures=not group.rank))
    details = {"processes": group.count, "together": len(plans)}
    return [replace(training, details={**training.details, **details}) for training in found]


def _prepared(plans: Sequence[Plan], corpus: Corpus) -> list[Fit]:
    """Return every model with its batches; what comes first, as `init` says, is trained here."""
    fits = [
        Fit(
            model=_untrained(plan.config, corpus, plan.seed),
            batches=draw(plan.config, plan, corpus.domains, tokens=plan.tokens),
            report=plan.report,
            checkpoint=plan.checkpoint,
            begin=plan.begin,
            stable=plan.stable,
        )
        for plan in plans
    ]
    fresh = [(p, f) for p, f in zip(plans, fits, strict=True) if p.checkpoint is None or p.checkpoint.load() is None]
    for plan, each in fresh:
        if plan.config.merges_experts:
            each.model.load_state_dict(_of_experts(plan, corpus).state_dict())
    starts = [(plan, each, start) for plan, each in fresh if (start := plan.config.start) is not None]
    if not starts:
        return fits
    firsts = [
        Fit(model=_untrained(start.proxy, corpus, plan.seed), batches=start_batches(plan, start, corpus))
        for plan, _, start in starts
    ]
    fit(firsts)  # one that diverges goes on as it is, and is found out at once
    for (plan, each, start), first in zip(starts, firsts, strict=True):
        begun = INITIALIZERS[start.method](first.model, plan.config, seed=plan.seed)
        each.model.load_state_dict(begun.state_dict())  # its own products are in its own precision
    return fits


def _of_experts(plan: Plan, corpus: Corpus) -> Decoder:
    """Return the model that the data experts of `plan` merge into."""
    if plan.experts is None:
        raise ProxyError("init merge-experts starts from the data experts of a search: train this with `mixopt run`")
    config = plan.experts.config
    models = [
        None if folder is None else with_kept_weights(_untrained(config, corpus, plan.seed), folder)
        for folder in plan.experts.folders
    ]
    return merged(models, plan.config, seed=plan.seed)


def _untrained(config: ProxyConfig, corpus: Corpus, seed: int) -> Decoder:
    return build(config, vocabulary=corpus.vocabulary, end_of_document=corpus.end_of_document, seed=seed)


def _ended(plan: Plan, fit: Fit, corpus: Corpus, *, prepared_s: float, measures: bool) -> Training:
    """Return what came of a training, measured where it may be."""
    started = time.perf_counter()
    config, model, diverged = plan.config, fit.model, fit.diverged
    first = None if config.start is None else start_batches(plan, config.start, corpus)
    earlier = first.epochs() if first is not None else {}
    done = fit.curve[-1][0]
    measured = measure(model, corpus, part=plan.part, gold=plan.gold) if measures and not diverged else NOTHING
    if not all(math.isfinite(loss) for loss in measured.losses.values()):
        measured, diverged = replace(NOTHING, tokens=measured.tokens), True
    if plan.gold is not None and measured.losses:
        keep_weights(model.state_dict(), plan.gold)
    shows_usage = bool(config.experts) and bool(measured.losses)
    used = {"expert_usage": expert_usage(model, corpus.domains)} if shows_usage else {}
    read = measured.tokens + (usage_tokens(model, corpus.domains) if used else 0)
    return Training(
        losses=measured.losses,
        accuracies=measured.accuracies,
        items=measured.items,
        curve=tuple(fit.curve),
        epochs={name: passes + earlier.get(name, 0.0) for name, passes in fit.batches.epochs().items()},
        tokens=done,
        flops=first_flops(config, first, vocabulary=corpus.vocabulary)
        + config.flops_per_token(corpus.vocabulary) * (done - fit.begun * config.batch_tokens)
        + config.forward_flops_per_token(corpus.vocabulary) * read,
        elapsed_s=prepared_s + fit.elapsed_s + time.perf_counter() - started,
        diverged=diverged,
        details={
            "precision": str(model.dtype).removeprefix("torch."),
            **({"bf16_gain": round(machine.bf16_gain(), 2)} if _was_measured(model) else {}),
            **({"attention_gain": round(fused_gain(), 2)} if _is_fused(model) else {}),
            "device": str(model.table.device),
            "device_name": machine.device_name(model.table.device),
            "threads": torch.get_num_threads(),
            "parameters": config.total_parameters(corpus.vocabulary),
            "tokens_per_s": (done - fit.begun * config.batch_tokens) / max(fit.elapsed_s, 1e-9),
            **({"continued_tokens": fit.begun * config.batch_tokens} if fit.begun else {}),
            **used,
        },
    )


def _was_measured(model: Decoder) -> bool:
    """Say whether the type of products followed from a measurement."""
    return model.config.precision == "auto" and model.table.device.type == "cpu"


def _is_fused(model: Decoder) -> bool:
    """Say whether attention ran as one loop, having been measured to be the faster."""
    on_processor = model.dtype == torch.bfloat16 and model.table.device.type == "cpu"
    return on_processor and is_fused(model.config.head_width)


def draw(config: ProxyConfig, plan: Plan, domains: Mapping[str, DomainTokens], *, tokens: int) -> Batches:
    """Return the batches of `plan` for a training of `config` on `tokens`.

    `target_tokens` cuts domains so that a training on `slice_tokens` (None: the plan's) repeats them as there.
    """
    steps = tokens // config.batch_tokens
    if steps < 1:
        raise ProxyError(f"{tokens} tokens are less than one step of {config.batch_tokens}; train on more")
    if plan.target_tokens is not None:
        used = {name for _, weights in plan.recipe for name, weight in weights.items() if weight > 0}
        cut = slice_domains(
            {name: domain for name, domain in domains.items() if name in used},
            proxy_tokens=plan.tokens if plan.slice_tokens is None else plan.slice_tokens,
            target_tokens=plan.target_tokens,
            sequence_tokens=config.sequence_tokens,
        )
        domains = {**domains, **cut}
    return Batches(
        domains,
        plan.recipe,
        seed=plan.seed,
        sequence_tokens=config.sequence_tokens,
        batch_sequences=config.batch_sequences,
        steps=steps,
    )


def start_batches(plan: Plan, start: Start, corpus: Corpus) -> Batches:
    """Return the batches of the training that comes first, as `init` says."""
    return draw(start.proxy, plan, corpus.domains, tokens=start.tokens)


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
    model = model.to(place)
    check_compiled(model)
    return model
