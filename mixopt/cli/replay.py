"""`mixopt replay`: surrogates and strategies on finished tables of runs, and on landscapes with a known optimum."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from mixopt.cli.app import AsJson, app, fail

if TYPE_CHECKING:
    from mixopt.objective import Objective as Goal
    from mixopt.replay.fit import FitScore
    from mixopt.replay.rows import RowChoice
    from mixopt.replay.score import Mean
    from mixopt.replay.search import SearchScore
    from mixopt.replay.simulated import SimulatedScore
    from mixopt.runs_table import RunsTable

FIT_EXAMPLES = """
Examples:

    mixopt replay fit runs.csv --train small:train --test small:test --n 32,64,128

    mixopt replay fit runs.csv --train small --train large@16 --test large --objective set:code --json
"""
SEARCH_EXAMPLES = """
Examples:

    mixopt replay search runs.csv --top large --costs .1,.3,1,2,5 --pool 32 -o regret.html

    mixopt replay search runs.csv --top large --costs 1,5 --strategies bayesian,random --json
"""
SIMULATED_EXAMPLES = """
Examples:

    mixopt replay simulated --d 3,7 --seeds 4 --strategies bayesian,random,regmix

    mixopt replay simulated --d 3,7,17,40 --seeds 20 --jobs 2 --json
"""

Table = Annotated[Path, typer.Argument(metavar="TABLE", help="CSV file of finished runs.")]
Draws = Annotated[int, typer.Option(help="Random draws; means and standard errors are over these.")]
Objective = Annotated[str, typer.Option(help="mean (of all losses), set:NAME, or weights:FILE (JSON or YAML).")]
Seed = Annotated[int, typer.Option(help="Seed of the draws: the same again gives the same scores.")]
Jobs = Annotated[int, typer.Option(help="Processes to play the draws in; the scores are the same.")]

T = TypeVar("T")

replay = typer.Typer(help="Replay finished or simulated runs: who would have needed the fewest?", no_args_is_help=True)
app.add_typer(replay, name="replay")


@replay.command("fit", epilog=FIT_EXAMPLES)
def replay_fit(
    table: Table,
    train: Annotated[list[str], typer.Option(help="Rows to fit: FIDELITY[:SPLIT][@ROWS]; may be repeated.")],
    test: Annotated[str, typer.Option(help="Rows to score, those trained on aside: FIDELITY[:SPLIT].")],
    n: Annotated[str | None, typer.Option("--n", help="Numbers of training rows, as 32,64; none: all.")] = None,
    draws: Draws = 10,
    objective: Objective = "mean",
    surrogates: Annotated[str | None, typer.Option(help="Names, as a,b; none: all.")] = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    as_json: AsJson = False,
) -> None:
    """Fit surrogates on some rows of TABLE, and score what they predict for others."""
    from mixopt.optimize.predictors import SURROGATES
    from mixopt.replay import fit
    from mixopt.replay.objectives import read_objective
    from mixopt.replay.rows import RowChoice

    runs = _read(table)
    plan = fit.FitPlan(
        table=runs,
        objective=read_objective(objective, runs),
        train=tuple(RowChoice.parse(text, runs) for text in train),
        test=RowChoice.parse(test, runs),
        sizes=tuple(_whole(text) for text in _listed(n)),
        draws=draws,
        seed=seed,
    )
    _lacking((*plan.train, plan.test), runs, plan.objective)
    report = fit.replay_fit(plan, _chosen(surrogates, SURROGATES, "surrogate"), jobs=jobs, told=_tell)
    _left_out(report.left_out)
    if not report.scores:
        fail("no surrogate is left to score; the reasons are above")
    if as_json:
        print(json.dumps([score.plain() for score in report.scores], indent=2, allow_nan=False))
        return
    _print_fit(report.scores)


@replay.command("search", epilog=SEARCH_EXAMPLES)
def replay_search(
    table: Table,
    top: Annotated[str, typer.Option(help="The fidelity whose best row is sought.")],
    costs: Annotated[str, typer.Option(help="Budgets in the table's unit of cost, as .1,.3,1,2,5.")],
    draws: Draws = 10,
    strategies: Annotated[str | None, typer.Option(help="Names, as a,b; none: all.")] = None,
    pool: Annotated[int | None, typer.Option(help="Random rows of the top fidelity a draw; none: all.")] = None,
    objective: Objective = "mean",
    seed: Seed = 0,
    jobs: Jobs = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="HTML file for a picture.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let strategies pay for rows of TABLE, and score the row that each would ship."""
    from mixopt.replay import search
    from mixopt.replay.objectives import read_objective
    from mixopt.replay.picture import picture
    from mixopt.replay.players import PLAYERS
    from mixopt.replay.rows import RowChoice

    runs = _read(table)
    plan = search.SearchPlan(
        table=runs,
        objective=read_objective(objective, runs),
        top=top,
        costs=tuple(_number(text) for text in _listed(costs)),
        draws=draws,
        pool=pool,
        seed=seed,
    )
    if top in runs.fidelities:
        cheaper = runs.fidelities[: runs.fidelities.index(top) + 1]
        _lacking([RowChoice(fidelity=name) for name in cheaper], runs, plan.objective)
    report = search.replay_search(plan, _chosen(strategies, PLAYERS, "strategy"), jobs=jobs, told=_tell)
    _left_out(report.left_out)
    if not report.scores:
        fail("no strategy is left to replay; the reasons are above")
    if output is not None:
        output.write_text(picture(report, title=f"{table.name}: {draws} draws at {top}"), encoding="utf-8")
        print(f"wrote {output}", file=sys.stderr)
    if as_json:
        print(json.dumps([score.plain() for score in report.scores], indent=2, allow_nan=False))
        return
    _print_search(report.scores)


@replay.command("simulated", epilog=SIMULATED_EXAMPLES)
def replay_simulated(
    d: Annotated[str, typer.Option("--d", help="Numbers of domains, as 3,7,17,40.")] = "3,7,17,40",
    seeds: Annotated[int, typer.Option(help="Landscapes of each size; their shapes come by turns.")] = 20,
    budget: Annotated[float, typer.Option(help="Of every search, in trials at the top rung.")] = 6.0,
    batch: Annotated[int, typer.Option(help="Trials that are proposed at once.")] = 8,
    strategies: Annotated[str | None, typer.Option(help="Names, as a,b; none: all.")] = None,
    seed: Annotated[int, typer.Option(help="Of the first landscape.")] = 0,
    jobs: Jobs = 1,
    as_json: AsJson = False,
) -> None:
    """Let strategies search closed-form landscapes, and score what each recommends by its loss above the optimum."""
    from mixopt.optimize.strategies import STRATEGIES
    from mixopt.replay import simulated

    plan = simulated.SimulatedPlan(
        domains=tuple(_whole(text) for text in _listed(d)), seeds=seeds, first_seed=seed, budget=budget, batch=batch
    )
    report = simulated.replay_simulated(plan, _chosen(strategies, STRATEGIES, "strategy"), jobs=jobs, told=_tell)
    _left_out(report.left_out)
    if not report.scores:
        fail("no strategy is left to score; the reasons are above")
    if as_json:
        print(json.dumps([score.plain() for score in report.scores], indent=2, allow_nan=False))
        return
    _print_simulated(report.scores)


def _read(path: Path) -> "RunsTable":
    """Return the table; what was mended on reading goes to stderr."""
    from mixopt.runs_table import read_runs

    runs = read_runs(path)
    for warning in runs.warnings:
        print(f"{path}: {warning}", file=sys.stderr)
    return runs


def _lacking(choices: "Sequence[RowChoice]", runs: "RunsTable", objective: "Goal") -> None:
    """Say on stderr how many of the rows meant cannot take part, and which sets they lack."""
    for words in dict.fromkeys(choice.lacking(runs, objective) for choice in choices):
        if words is not None:
            print(words, file=sys.stderr)


def _chosen(wanted: str | None, known: Mapping[str, T], noun: str) -> dict[str, T]:
    names = list(known) if wanted is None else _listed(wanted)
    unknown = [name for name in names if name not in known]
    if unknown:
        fail(f"no {noun} is called {unknown[0]!r}; known: {', '.join(known)}")
    return {name: known[name] for name in names}


def _listed(text: str | None) -> list[str]:
    return [] if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _whole(text: str) -> int:
    if not text.isdecimal():
        fail(f"a number of rows or domains is a whole number; got {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        fail(f"a cost is a number; got {text!r}")


def _tell(words: str) -> None:
    """Show how far it is, on one line that is written over; in a log it would be many."""
    if sys.stderr.isatty():
        print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)


def _left_out(reasons: Mapping[str, str]) -> None:
    _tell("")
    for name, reason in reasons.items():
        print(f"{name} is left out: {reason}", file=sys.stderr)


def _print_fit(scores: "tuple[FitScore, ...]") -> None:
    from mixopt.optimize.predictors import DEFAULT

    _print_grid(
        f"Predictions of rows not trained on (mean over draws, standard error); {DEFAULT} is the default",
        ("n", "surrogate", "rho", f"rho less {DEFAULT}'s", "RMSE", "in 90 %", "sets in 90 %", "regret", "s"),
        (
            (
                str(score.n),
                score.surrogate,
                _pair(score.rho, 3),
                _pair(score.gain, 3),
                f"{score.rmse.value:.4f}",
                _percent(score.coverage.value),
                _percent(score.coverage_sets.value),
                _pair(score.regret, 4),
                f"{score.seconds.value:.2f}",
            )
            for score in scores
        ),
    )


def _print_search(scores: "tuple[SearchScore, ...]") -> None:
    from mixopt.replay.players import OWN

    _print_grid(
        "The pick that each would ship (mean over draws, standard error)",
        ("cost", "strategy", "spent", "regret", f"above {OWN}'s", "in interquartile ranges", "rank"),
        (
            (
                f"{score.cost:g}",
                score.strategy,
                f"{score.spent.value:.3g}",
                _pair(score.regret, 4),
                _pair(score.behind, 4),
                _pair(score.regret_iqr, 3),
                _pair(score.rank, 2),
            )
            for score in sorted(scores, key=lambda score: (score.cost, score.regret.value))
        ),
    )


def _print_simulated(scores: "tuple[SimulatedScore, ...]") -> None:
    from mixopt.replay.players import OWN

    _print_grid(
        "Loss of the recommendation above the optimum (mean over landscapes, standard error)",
        ("d", "strategy", "regret", f"above {OWN}'s"),
        (
            (str(score.d), score.strategy, _pair(score.regret, 4), _pair(score.behind, 4))
            for score in sorted(scores, key=lambda score: (score.d, score.regret.value))
        ),
    )


def _print_grid(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of numbers; the second column holds names."""
    from rich.table import Table as Grid

    from mixopt.cli.tables import wide_console

    grid = Grid(title=title)
    for place, heading in enumerate(headings):
        grid.add_column(heading, justify="left" if place == 1 else "right")
    for row in rows:
        grid.add_row(*row)
    wide_console().print(grid)


def _pair(mean: "Mean | None", digits: int) -> str:
    """Return a mean and its standard error as people read them."""
    if mean is None or math.isnan(mean.value):  # nan: it knows none
        return "-"
    return f"{mean.value:.{digits}f}" + ("" if math.isnan(mean.error) else f" ({mean.error:.{digits}f})")


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"
