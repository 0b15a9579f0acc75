"""A search as tables for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from mixopt.cli.durations import clock
from mixopt.cli.insight import insight_blocks
from mixopt.objective import ERROR
from mixopt.search.report import SearchReport
from proxies.manifest import Manifest

FILE_WIDTH = 120  # columns where stdout is no terminal
NO_RECOMMENDATION: Mapping[str, str] = {
    "running": "no recommendation yet: the search has not ended",
    "stopped": "no recommendation yet: the search was stopped; mixopt run goes on with it",
    "failed": "no recommendation: the search failed; mixopt run goes on with it once that is mended",
    "finished": "no recommendation: the search recorded what was trained elsewhere",
}
SHOWN_WEIGHT = 5e-4  # below this a weight prints as 0.0 %


def wide_console() -> Console:
    """Return the console for tables on stdout: as wide as the terminal, or wide enough for a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=FILE_WIDTH, highlight=False)


def search_tables(report: SearchReport) -> Iterator[RenderableType]:
    """Yield the blocks of one search, from its state to its proof."""
    weights = report.objective["weights"]
    assert isinstance(weights, dict)
    goal = ", ".join(name if len(weights) == 1 else f"{weight:.0%} {name}" for name, weight in weights.items())
    what = "bits per byte and shares of wrong answers" if any(n.startswith(ERROR) for n in weights) else "bits per byte"
    yield Text.assemble((report.name, "bold"), f" is {report.state}; it minimizes {what} on {goal}")
    yield Text(
        f"{report.trials} trials, {report.charged_flops:.3g} of {report.budget_flops:.3g} FLOPs charged, "
        f"{clock(report.elapsed_s)} of training on all workers"
    )
    yield _rungs(report)
    for failure in report.failures:
        others = f" and {failure.trials - 1} more" if failure.trials > 1 else ""
        yield Text(f"trial {failure.last}{others} failed: {failure.error}", style="yellow")
    if report.outdated:
        yield Text(f"{report.outdated} trials are outdated: they weigh domains that were removed since", style="yellow")
    for number, reason in report.retracted:
        yield Text(f"trial {number} is retracted: {reason}", style="yellow")
    payload = report.recommendation
    if payload is None:
        yield Text(NO_RECOMMENDATION[report.state])
        return
    yield from _recommendation(report, payload)


def asked_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the trials that somebody asked for, one a row, as `mixopt ask --json` has them."""
    table = Table(title="To train, and to tell of", title_justify="left")
    for heading in ("trial", "rung", "tokens", "seed", "expected (sd)", "mixture"):
        table.add_column(heading, justify="left" if heading in ("rung", "mixture") else "right")
    for row in rows:
        expected = row["predicted"].get("objective")
        table.add_row(
            str(row["trial"]),
            row["fidelity"],
            f"{row['tokens']:,}",
            str(row["seed"]),
            with_sd(expected),
            ", ".join(f"{name}={weight:.4f}" for name, weight in row["weights"].items() if weight > 0.0),
        )
    return table


def with_sd(predicted: Mapping[str, float] | None) -> str:
    """Return a prediction and its sd as people read them, a dash where there is none."""
    return "-" if predicted is None else f"{predicted['mean']:.4f} ({predicted['sd']:.4f})"


def provenance_tables(plain: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[RenderableType]:
    """Yield the configurations that a search has had, and the drivers that ran it."""
    revisions = Table("revision", "since", "file", "note", title="Configurations", title_justify="left")
    for row in plain["revisions"]:
        revisions.add_row(str(row["number"]), _minute(row["created_at"]), row["config_hash"][:12], row["note"])
    yield revisions
    sessions = Table("since", "host", "workers", "job", "code", "packages", title="Drivers", title_justify="left")
    for row in plain["sessions"]:
        packages = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
        workers = f"{row['workers']['slots']} {row['workers']['kind']}"
        job = (row.get("ray_job") or {}).get("id", "-")
        sessions.add_row(_minute(row["started_at"]), row["host"], workers, job, (row["git"] or "-")[:12], packages)
    yield sessions


def jobs_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the searches that are jobs of a Ray cluster, one a row."""
    table = Table("job", "search", "state", "since", "took", "store", "page", title="Jobs", title_justify="left")
    for row in rows:
        since = "-" if row["started_s"] is None else f"{datetime.fromtimestamp(row['started_s'], UTC):%Y-%m-%d %H:%M}"
        took = "-" if None in (row["started_s"], row["ended_s"]) else clock(row["ended_s"] - row["started_s"])
        table.add_row(row["id"], row["search"], row["state"], since, took, row["store"], row["page"])
    return table


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _rungs(report: SearchReport) -> Table:
    table = Table(title="Search", title_justify="left")
    for heading, justify in (
        ("rung", "left"),
        ("trials", "right"),
        ("failed", "right"),
        ("FLOPs", "right"),
        ("best", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]  # a literal above
    for rung in report.rungs:
        best = "-" if rung.best is None else f"{rung.best:.4f} (trial {rung.best_trial})"
        table.add_row(rung.name, str(rung.completed), str(rung.failed), f"{rung.charged_flops:.3g}", best)
    return table


def _recommendation(report: SearchReport, payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    proof = payload["proof"]
    if report.undermined:
        yield Text(
            f"what follows rests on retracted trials ({', '.join(map(str, report.undermined))}); "
            "decide anew with: mixopt run",
            style="bold red",
        )
    for entry in payload["agreement"]:
        interval = f"90 % interval {entry['low']:.2f} to {entry['high']:.2f}, {entry['mixtures']} mixtures"
        yield Text(
            f"rung {entry['rung']} ranks mixtures as the top rung does: rho {entry['spearman']:.2f} ({interval})"
        )
        if entry["misleads"]:
            yield Text(f"rung {entry['rung']} misleads: it is listened to no longer, nor paid for", style="yellow")
    for entry in payload.get("experts", ()):
        ensemble, merged = ("-" if entry[known] is None else f"{entry[known]:.2f}" for known in ("ensemble", "merged"))
        which = "of all trials, chosen by models too," if entry.get("chosen", True) else "that opened the search"
        yield Text(
            f"data experts rank {entry['mixtures']} mixtures {which} as rung {entry['rung']} does: rho {ensemble} as "
            f"an ensemble, {merged} with their weights merged"
        )
    if payload["fallback"]:
        yield Text(f"the surrogate fell back: {payload['fallback']}", style="yellow")
    yield _mixture(report, payload)
    if guard := payload.get("guard"):
        yield Text(
            f"no guarded set is worse than with natural by more than {guard['delta']:g} with probability "
            f"{guard['probability']:.2f} (asked: {guard['asked']:g}); the nearest to it is {guard['worst_set']}",
            style="" if guard["probability"] >= guard["asked"] else "yellow",
        )
    if payload["insight"] is not None:
        yield from insight_blocks(report, payload)
    if proof is None:
        predicted, natural = payload["predicted"], payload["natural"]
        yield Text(
            f"predicted {_pair(predicted['mean'], predicted['sd'])}, natural {_pair(natural['mean'], natural['sd'])}; "
            f"it beats natural with probability {payload['beats_natural']:.3f}, by the search's own model"
        )
        yield Text("no proof: the file asks for none, the budget did not pay for it, or the search has not come to it")
        return
    yield _proof(proof)
    yield Text("predicted: on the search's own text. difference: that loss less the recommended mixture's, same seeds.")
    yield Text(proof["verdict"], style="bold green" if proof["holds"] else "bold red")
    if not proof["holds"] and proof["best_measured"] != proof["rows"][0]["name"]:
        yield Text(
            f"recommended is therefore what measured best of what the constraints allow: {proof['best_measured']}"
        )


def _mixture(report: SearchReport, payload: Mapping[str, Any]) -> Table:
    """Return the recommended mixture beside the natural one, with its epochs where it was trained."""
    table = Table(title="Recommended mixture", title_justify="left")
    table.add_column("domain")
    columns = ["weight", "natural", "epochs at the proxy", *(["epochs at the target"] if report.target_epochs else [])]
    for heading in columns:
        table.add_column(heading, justify="right")
    for name in report.domains:
        weight = payload["mixture"].get(name, 0.0)
        passes = [_epochs(report.epochs.get(name)), _epochs(report.target_epochs.get(name))]
        cells = [_percent(weight), _percent(report.natural[name]), *passes]
        table.add_row(name, *cells[: len(columns)])
    return table


def _epochs(epochs: float | None) -> str:
    return "-" if epochs is None else f"{epochs:.2f}"


def _percent(weight: float) -> str:
    return "0" if weight == 0.0 else f"{weight:.1%}" if weight >= SHOWN_WEIGHT else "<0.1%"


def _proof(proof: Mapping[str, Any]) -> Table:
    table = Table(
        title="Proof: fresh seeds, and text that the search has not looked at (bits per byte)", title_justify="left"
    )
    table.add_column("mixture")
    for heading in ("predicted (sd)", "measured (se)", "seeds", "difference", "95 % interval", "P < natural"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in proof["rows"]:
        table.add_row(
            row["name"] + ("" if row["allowed"] else " (not allowed)"),
            _pair(row["predicted_mean"], row["predicted_sd"]),
            _pair(row["measured"], row["standard_error"]),
            str(row["seeds"]),
            *_difference(row),
            "-" if row["beats_natural"] is None else f"{row['beats_natural']:.3f}",
        )
    return table


def _pair(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.4f}" if spread is None else f"{mean:.4f} ({spread:.4f})"


def _difference(row: Mapping[str, Any]) -> tuple[str, str]:
    if row["difference"] is None:
        return "-", "-"
    return f"{row['difference']:+.4f}", f"{row['difference_low']:+.3f} to {row['difference_high']:+.3f}"


def trials_table(trials: Sequence[Mapping[str, Any]]) -> Table:
    """Return every trial as a row: why it was proposed, how it ended, its largest weights."""
    table = Table(title="Trials", title_justify="left")
    for heading in ("trial", "why", "rung", "seed", "state", "objective", "mixture"):
        table.add_column(heading)
    for trial in trials:
        value = "-" if trial["objective"] is None else f"{trial['objective']:.4f}"
        cells = (
            trial["number"],
            trial["reason"],
            trial["rung"],
            trial["seed"],
            trial["state"],
            value,
            _weights(trial["weights"]),
        )
        table.add_row(*(str(cell) for cell in cells))
    return table


def searches_table(searches: Sequence[Mapping[str, Any]]) -> Table:
    """Return every search as a row."""
    table = Table()
    for heading in ("search", "state", "trials", "FLOPs of budget", "recommended", "proof"):
        table.add_column(heading)
    for search in searches:
        proven = {None: "-", True: "holds", False: "does not hold"}[search["proven"]]
        cost = f"{search['charged_flops']:.3g} of {search['budget_flops']:.3g}"
        weights = _weights(search["mixture"]) if search["mixture"] else "-"
        table.add_row(search["name"], search["state"], str(search["trials"]), cost, weights, proven)
    return table


def text_tables(manifest: Manifest) -> Iterator[Table]:
    """Yield what a prepared corpus holds: its domains, and its evaluation sets by part."""
    domains = Table(title="Training text", title_justify="left")
    for heading in ("domain", "documents", "MB", "tokens", "available tokens", "held out", "duplicates", "overlapping"):
        domains.add_column(heading, justify="left" if heading == "domain" else "right")
    for name, domain in manifest.domains.items():
        counts = (domain.held_out_documents, domain.duplicate_documents, domain.overlapping_documents)
        sizes = (
            f"{domain.documents:,}",
            f"{domain.bytes / 1e6:.2f}",
            f"{domain.tokens:,}",
            f"{domain.available_tokens:,}",
        )
        domains.add_row(name, *sizes, *(f"{count:,}" for count in counts))
    yield domains
    sets = Table(title="Evaluation text", title_justify="left")
    for heading in ("set", "part", "documents", "excerpts", "scored bytes"):
        sets.add_column(heading, justify="left" if heading in ("set", "part") else "right")
    for name, parts in manifest.evaluation.items():
        for part, record in parts.items():
            sets.add_row(name, part, f"{record.documents:,}", f"{record.excerpts:,}", f"{record.scored_bytes:,}")
    yield sets


def _weights(mixture: Mapping[str, float]) -> str:
    """Return the weights in one line, the largest first."""
    largest = sorted(mixture.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {_percent(weight)}" for name, weight in largest if weight >= SHOWN_WEIGHT)
