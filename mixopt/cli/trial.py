"""One trial as tables for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mixopt.cli.durations import clock
from mixopt.cli.tables import with_sd
from mixopt.objective import minimized

EXPERTS = 8  # side by side in a table: more do not fit beside a domain's name


def trial_blocks(search: str, trial: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the blocks of one trial, as `mixopt.search.trial_report.plain_trial` has it: from its state to its run."""
    state = f" is {trial['state']}: rung {trial['rung']}, seed {trial['seed']}"
    yield Text.assemble((f"trial {trial['number']} of {search}", "bold"), state)
    yield Text(f"purpose: {trial['purpose']}" + (f"; why: {trial['reason']}" if trial["reason"] else ""))
    took = "" if trial["elapsed_s"] is None else f", {clock(trial['elapsed_s'])} of training"
    yield Text(f"{trial['charged_flops']:.3g} FLOPs charged{took}; judged on the text for the {trial['part']}")
    if trial["error"]:
        yield Text(trial["error"], style="red")
    if trial["stale"]:
        yield Text(f"{trial['stale']:.0%} of its tokens are of text that is another by now", style="yellow")
    yield _mixture(trial)
    yield _losses(trial)
    if trial["part"] == "proof" and trial["predicted"]:
        yield Text("predicted: on the search's own text")
    if trial["each_attempt"]:
        yield _attempts(trial["each_attempt"])
    details = trial["run"]["details"]
    if said := ", ".join(f"{key} {_short(value)}" for key, value in details.items() if _is_single(value)):
        yield Text(f"the run: {said}")
    if usage := details.get("expert_usage"):
        yield from _usage(usage)


def _is_single(value: object) -> bool:
    return not isinstance(value, dict | list)


def _short(value: object) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _mixture(trial: Mapping[str, Any]) -> Table:
    table = Table("domain", title="Mixture", title_justify="left")
    for heading in ("weight", "epochs"):
        table.add_column(heading, justify="right")
    for name, weight in trial["weights"].items():
        epochs = trial["epochs"].get(name)
        table.add_row(name, f"{weight:.4f}", "-" if epochs is None else f"{epochs:.2f}")
    return table


def _losses(trial: Mapping[str, Any]) -> Table:
    """Return what was measured beside what was predicted, the objective first; a dash where there is none."""
    measured = {"objective": trial["objective"], **minimized(trial["losses"], trial["accuracies"])}
    what = "Bits per byte, shares of wrong answers" if trial["accuracies"] else "Bits per byte"
    table = Table("evaluation set", title=what, title_justify="left")
    for heading in ("measured", "predicted (sd)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in dict.fromkeys([*measured, *trial["predicted"]]):
        value = measured.get(name)
        table.add_row(name, "-" if value is None else f"{value:.4f}", with_sd(trial["predicted"].get(name)))
    return table


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Attempts", title_justify="left")
    for heading in ("attempt", "state", "worker", "node", "since", "took", "FLOPs", "error"):
        table.add_column(heading)
    for each in attempts:
        table.add_row(
            str(each["number"]),
            each["state"],
            each["worker"],
            each["node"] or "-",
            each["started_at"][:19].replace("T", " "),
            "-" if each["elapsed_s"] is None else clock(each["elapsed_s"]),
            f"{each['spent_flops']:.3g}",
            each["error"] or "",
        )
    return table


def _usage(usage: Mapping[str, Sequence[Sequence[float]]]) -> Iterator[RenderableType]:
    """Yield a table of domains and routed experts for each layer, several where a layer has many experts."""
    yield Text("which routed experts a domain's tokens use: % of its tokens' routes in the layer")
    layers = list(zip(*usage.values(), strict=True))
    for layer, rows in enumerate(layers, 1):
        for first in range(0, len(rows[0]), EXPERTS):
            table = Table("domain", title=f"Layer {layer} of {len(layers)}", title_justify="left")
            for expert in range(first, min(first + EXPERTS, len(rows[0]))):
                table.add_column(f"{expert + 1}", justify="right", no_wrap=True)
            for name, row in zip(usage, rows, strict=True):
                table.add_row(name, *(f"{100 * share:.0f}" for share in row[first : first + EXPERTS]))
            yield table
