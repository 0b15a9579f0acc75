"""`mixopt show`: one search, its recommendation and the proof; or one of its trials."""

import json
import sys
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, SearchName, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt show quickstart

    mixopt show quickstart --trials

    mixopt show quickstart --trial 12

    mixopt show quickstart --provenance

    mixopt show quickstart --file > quickstart.yaml

    mixopt show quickstart --json
"""


@app.command(epilog=EXAMPLES)
def show(
    search: SearchName,
    store: StoreLocation = DEFAULT_STORE,
    trials: Annotated[bool, typer.Option("--trials", help="List every trial too.")] = False,
    trial: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Show this trial instead, and what its training used and recorded."),
    ] = None,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="List its configurations and the drivers that ran it too.")
    ] = False,
    file: Annotated[bool, typer.Option("--file", help="Print its file instead, with all revisions since.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the search SEARCH: its state and cost, the recommended mixture, and how it did against its rivals."""
    if file:
        print_file(search, store=store)
        return
    if trial is not None:
        print_trial(search, trial, store=store, as_json=as_json)
        return
    print_search(search, store=store, as_json=as_json, trials=trials, provenance=provenance)


def print_search(name: str, *, store: str, as_json: bool, trials: bool = False, provenance: bool = False) -> None:
    """Print the search called `name`, for people or for machines."""
    from mixopt.cli.tables import provenance_tables, search_tables, trials_table, wide_console
    from mixopt.search.report import find, plain_provenance, report
    from mixopt.search.trial_report import plain_trials
    from store import Store

    with Store(store, read_only=True) as ledger:
        found = report(ledger, name)
        if as_json:
            rows = {"trials": plain_trials(ledger, find(ledger, name))} if trials else {}
            origin = plain_provenance(ledger, find(ledger, name)) if provenance else {}
            print(json.dumps(found.plain() | rows | origin, indent=2, allow_nan=False))
            return
        console = wide_console()
        for block in search_tables(found):
            console.print(block)
        if provenance:
            for block in provenance_tables(plain_provenance(ledger, find(ledger, name))):
                console.print(block)
        if trials:
            console.print(trials_table(plain_trials(ledger, find(ledger, name))))


def print_trial(name: str, number: int, *, store: str, as_json: bool) -> None:
    """Print trial `number` of the search called `name`, for people or for machines."""
    from mixopt.cli.tables import wide_console
    from mixopt.cli.trial import trial_blocks
    from mixopt.search.report import find
    from mixopt.search.trial_report import plain_trial
    from store import Store

    with Store(store, read_only=True) as ledger:
        found = plain_trial(ledger, find(ledger, name), number)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    console = wide_console()
    for block in trial_blocks(name, found):
        console.print(block)


def print_file(name: str, *, store: str) -> None:
    """Print the file that the search called `name` would begin with as it stands now."""
    from mixopt.config import SearchConfig
    from mixopt.search.report import find
    from mixopt.search.revising import root_of
    from store import Store

    with Store(store, read_only=True) as ledger:
        found = find(ledger, name)
        sys.stdout.write(SearchConfig.from_plain(found.config, root=root_of(found)).file_text())
