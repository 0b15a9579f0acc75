"""A plan as text and tables for the terminal."""

import math
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mixopt.cli.durations import clock
from mixopt.export import OFTEN
from mixopt.plan.domains import DomainPlan
from mixopt.plan.outlook import Outlook
from mixopt.plan.rehearsal import RAISE
from mixopt.replay.score import Mean


def outlook_blocks(outlook: Outlook) -> Iterator[RenderableType]:
    """Yield the blocks of a plan, from the money to the advice."""
    yield Text.assemble((outlook.name, "bold"), f" may spend {outlook.budget_flops:.3g} FLOPs{_hours(outlook)}")
    yield Text(f"throughput {outlook.throughput.source}: {_speeds(outlook)} FLOPs a second of one device")
    parts = outlook.money
    named = {
        "the data experts take": parts.experts_flops,
        "the proof": parts.proof_flops,
        "the search": parts.search_flops,
    }
    yield Text(", ".join(f"{what} {flops / outlook.budget_flops:.0%}" for what, flops in named.items()))
    yield _ladder(outlook)
    late = "" if outlook.time_limit_s is None else f", and the time limit is {clock(outlook.time_limit_s)}"
    at_a_time = "one trial" if outlook.slots == 1 else f"{outlook.slots} trials"
    yield Text(f"about {clock(outlook.elapsed_s)} of training with {at_a_time} at a time{late}")
    yield from _certainty(outlook)
    yield _domains(outlook)
    yield from _remarks(outlook.domains)
    for line in outlook.advice:
        yield Text(f"advice: {line}", style="yellow")


def _hours(outlook: Outlook) -> str:
    hours = outlook.budget_device_hours
    return "" if hours is None else f", which is {hours:g} device-hours"


def _speeds(outlook: Outlook) -> str:
    speeds = outlook.throughput.rungs
    if len(set(speeds.values())) == 1:
        return f"{next(iter(speeds.values())):.3g}"
    return ", ".join(f"{name} {speed:.3g}" for name, speed in speeds.items())


def _ladder(outlook: Outlook) -> Table:
    table = Table(title="What it buys", title_justify="left")
    for heading in ("rung", "FLOPs a trial", "takes", "experts", "search", "of it (range)", "proof"):
        table.add_column(heading, justify="left" if heading == "rung" else "right")
    for rung in outlook.rungs:
        table.add_row(
            rung.name,
            f"{rung.trial_flops:.2e}",
            clock(rung.trial_s) if rung.trial_s >= 1.0 else f"{rung.trial_s:.2f} s",
            str(rung.experts or "-"),
            f"{rung.search:.0f}",
            f"{rung.least} to {rung.most}",
            str(rung.proof or "-"),
        )
    return table


def _certainty(outlook: Outlook) -> Iterator[Text]:
    where = "at the target" if outlook.at_target else "at the top rung"
    low, high = outlook.beats_natural_interval
    times = "once" if outlook.rehearsals == 1 else f"{outlook.rehearsals} times"
    yield Text(
        f"If your data behave as the simulated law (rehearsed {times}; noise {outlook.noise_sd:.4f} bits per byte from "
        "seed to seed):",
        style="bold",
    )
    lost, gained = _pair(outlook.regret), _pair(outlook.gain)
    yield Text(f"  the recommended mixture is {lost} bits per byte above the best there is, {where}")
    yield Text(
        f"  it is {gained} below the natural mixture, and beats it with "
        f"probability {outlook.beats_natural:.2f} (90 % interval {low:.2f} to {high:.2f})"
    )


def _pair(mean: Mean) -> str:
    return f"{mean.value:.4f}" if math.isnan(mean.error) else f"{mean.value:.4f} ({mean.error:.4f})"


def _domains(outlook: Outlook) -> Table:
    table = Table(title="Domains, and how often the final training passes over them", title_justify="left")
    for heading in ("domain", "tokens", "natural", "epochs", "UniMax", "epochs", "at most", "epochs"):
        table.add_column(heading, justify="left" if heading == "domain" else "right")
    table.add_column(f"effect of +{RAISE:.0%}", justify="right")
    table.add_column("known to", justify="right")
    for domain in outlook.domains:
        table.add_row(
            domain.name,
            f"{domain.available_tokens:.3g}",
            *(f"{domain.natural:.1%}", f"{domain.natural_epochs:.2f}"),
            *(f"{domain.unimax:.1%}", f"{domain.unimax_epochs:.2f}"),
            *(f"{domain.cap_weight:.1%}", f"{domain.cap_epochs:.2f}"),
            f"{domain.effect_sd:.4f}" if domain.raised else "pinned",
            f"{domain.error:.4f}" if domain.raised else "-",
        )
    return table


def _remarks(domains: tuple[DomainPlan, ...]) -> Iterator[Text]:
    yield Text(
        "effect: what raising it usually does to the objective at the top rung, bits per byte; known to: the error of "
        "what the model says of it"
    )
    hidden = [domain.name for domain in domains if domain.raised and not domain.is_resolved]
    if hidden:
        yield Text(
            f"with so few trials the effect of {', '.join(hidden)} is less than twice the error of what is known of "
            "it: bound or merge such domains, or give more",
            style="yellow",
        )
    often = [domain.name for domain in domains if domain.cap_epochs > OFTEN]
    if often:
        yield Text(
            f"nothing keeps the final training from passing over {', '.join(often)} more than {OFTEN:g} times; "
            "`max_epochs` would",
            style="yellow",
        )
