"""`mixopt revise`: budget, objective and constraints of a search, while it runs or before it goes on."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, SearchName, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt revise quickstart --budget +2e15

    mixopt revise quickstart --budget 5e15 --time-limit 7200

    mixopt revise quickstart quickstart.yaml --dry-run
"""


@app.command(epilog=EXAMPLES)
def revise(
    search: SearchName,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Its file, changed.")] = None,
    budget: Annotated[str | None, typer.Option(metavar="FLOPS", help="The budget; +FLOPS is added to it.")] = None,
    time_limit: Annotated[str | None, typer.Option(metavar="SECONDS", help="Likewise, the time limit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would change, leave and cost.")] = False,
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Change budget, objective, constraints, bounds, strategy or proof of SEARCH, which goes on with all it has seen.

    Where it runs, its driver takes the change up before its next proposal. Text, ladder and seed cannot change.
    """
    from mixopt.search.report import find
    from mixopt.search.revision import Wanted, revise_search
    from store import Store

    with Store(store) as ledger:
        wanted = Wanted(file=file, budget=budget, time_limit=time_limit)
        done = revise_search(ledger, find(ledger, search), wanted, is_rehearsal=dry_run)
    if as_json:
        print(json.dumps({"search": search, "recorded": not dry_run, **done}, indent=2))
        return
    for line in [*done["changes"], *done["outlook"], done["done"]]:
        print(line)
