"""`mixopt ask`: trials of a search for somebody else to train."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt ask outside.yaml -n 4

    mixopt ask outside -n 4 --json
"""


@app.command(epilog=EXAMPLES)
def ask(
    search: Annotated[str, typer.Argument(metavar="SEARCH", help="The search's name, or its file, which begins it.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many trials.")] = 1,
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Print N trials of SEARCH that you train and `mixopt tell` of; where a driver runs, it proposes them."""
    from mixopt.cli.tables import asked_table, wide_console
    from mixopt.search import asking
    from mixopt.search.report import find
    from mixopt.text import Folders
    from store import Store

    with Store(store) as ledger:
        name = search
        if Path(search).suffix in (".yaml", ".yml"):
            name = asking.open_search(
                ledger, search, Folders.beside(store), report=lambda line: print(line, file=sys.stderr)
            ).name
        trials = asking.ask(ledger, name, n=n)
        found = find(ledger, name)
        tokens = {rung["name"]: rung["tokens"] for rung in found.config["ladder"]}
        details = ledger.details(found.id, numbers=[trial.number for trial in trials])
    rows = [
        {
            "trial": trial.number,
            "fidelity": trial.fidelity,
            "tokens": tokens[trial.fidelity],
            "seed": trial.seed,
            "weights": dict(trial.weights),
            "reason": trial.reason,
            "predicted": dict(details[trial.number].predicted),
            "charged_flops": trial.charged_flops,
        }
        for trial in trials
    ]
    if as_json:
        print(json.dumps(rows, indent=2, allow_nan=False))
        return
    wide_console().print(asked_table(rows))
