"""`mixopt tell`: what was measured of trials that `mixopt ask` handed out."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, SearchName, StoreLocation, app, fail

EXAMPLES = """
Examples:

    mixopt tell outside --trial 3 --losses web=0.93,code=0.71,accuracy/quiz=0.48

    mixopt tell outside --trial 4 --losses results.json

    mixopt tell outside --trial 5 --diverged "the loss became NaN"

    mixopt tell outside --runs runs.csv
"""


@app.command(epilog=EXAMPLES)
def tell(
    search: SearchName,
    trial: Annotated[int | None, typer.Option(help="The trial's number, as `mixopt ask` printed it.")] = None,
    losses: Annotated[str | None, typer.Option(metavar="SET=LOSS,...|FILE.json", help="What was measured.")] = None,
    failed: Annotated[str | None, typer.Option(metavar="REASON", help="It gave no losses; why.")] = None,
    diverged: Annotated[str | None, typer.Option(metavar="REASON", help="It diverged; how that showed.")] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="Table of runs instead; `run_id` is the trial's number.")
    ] = None,
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Record what became of trials of SEARCH that were trained elsewhere; what is refused changes nothing."""
    from mixopt.search import asking
    from store import Store

    given = [each for each in (losses, failed, diverged) if each is not None]
    if (runs is None) != (trial is not None and len(given) == 1) or (runs is not None and given):
        fail("say what to record: --trial with --losses, --failed or --diverged; or --runs TABLE")
    with Store(store) as ledger:
        if runs is not None:
            told = asking.told_of_table(ledger, search, runs)
        else:
            measured = {} if losses is None else asking.told_of_text(losses)
            told = [{"trial": trial, "failed": failed, "diverged": diverged} | measured]
        said = asking.tell(ledger, search, told)
    print(json.dumps({"search": search, "trials": [each["trial"] for each in told], "done": said}) if as_json else said)
