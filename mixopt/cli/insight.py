"""What is known around a recommendation, as tables for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mixopt.search.report import SearchReport

SHOWN = 3  # domains of an example, and evaluation sets of an effect


def insight_blocks(report: SearchReport, payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield what domains do, what does as well, the target beside the top rung, and whether to go on."""
    insight = payload["insight"]
    yield _effects(report, insight)
    for example in insight["examples"]:
        largest = sorted(example.items(), key=lambda pair: -pair[1])[: SHOWN + 1]
        yield Text("as good within the noise: " + ", ".join(f"{name} {weight:.1%}" for name, weight in largest))
    if payload["pull"]:
        yield Text(f"drawn towards the natural mixture by {payload['pull']:.2g} bits per byte a nat of divergence")
    if insight["target"] is not None:
        yield _target(payload, insight["target"])
        for doubt in insight["target"]["doubts"]:
            yield Text(f"in doubt: {doubt}")
    yield Text(advice(insight))


def advice(insight: Mapping[str, Any]) -> str:
    """Return in words what there is still to gain, by which trial, and whether to go on."""
    trial, said = insight["next_trial"], f"still to gain, as expected: {insight['to_gain']:.2g} bits per byte"
    if trial is None:
        return f"{said}; advice: stop, no trial promises a gain"
    return (
        f"{said}; the trial that would help most is at rung {trial['rung']}, "
        f"{trial['gain_for_top_cost']:.2g} for what one at the top costs; advice: {insight['advice']}"
    )


def _effects(report: SearchReport, insight: Mapping[str, Any]) -> Table:
    table = Table(title="One percentage point more of a domain, the others in proportion", title_justify="left")
    table.add_column("domain")
    for heading in ("objective (sd)", "as good from", "to"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("most on")
    effects = {effect["domain"]: effect for effect in insight["effects"]}
    for name in report.domains:
        effect, (low, high) = effects[name], insight["ranges"][name]
        most = sorted(effect["sets"].items(), key=lambda pair: -abs(pair[1]))[:SHOWN]
        table.add_row(
            name,
            f"{effect['change']:+.5f} ({effect['sd']:.5f})",
            f"{low:.1%}",
            f"{high:.1%}",
            ", ".join(f"{of} {change:+.4f}" for of, change in most),
        )
    return table


def _target(payload: Mapping[str, Any], target: Mapping[str, Any]) -> Table:
    table = Table(title="At the top rung and at the target, as predicted (sd)", title_justify="left")
    table.add_column("")
    for heading in ("recommended", "natural", "P(better than natural)"):
        table.add_column(heading, justify="right")
    for name, row in (("top rung", payload), ("target", target)):
        pair = [f"{row[key]['mean']:.4f} ({row[key]['sd']:.4f})" for key in ("predicted", "natural")]
        table.add_row(name, *pair, f"{row['beats_natural']:.3f}")
    return table
