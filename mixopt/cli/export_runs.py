"""`mixopt export-runs`: the completed trials of a search as a table of runs."""

from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, SearchName, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt export-runs quickstart -o runs.csv
"""


@app.command("export-runs", epilog=EXAMPLES)
def export_runs(
    search: SearchName,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="CSV file to write; the terminal without it.")
    ] = None,
    store: StoreLocation = DEFAULT_STORE,
) -> None:
    """Write the completed trials of SEARCH as a table that `mixopt import` and `mixopt replay` read."""
    from mixopt.ingest import runs_of
    from mixopt.runs_table import table_text, write_runs
    from mixopt.search.report import find
    from store import Store

    with Store(store, read_only=True) as ledger:
        table = runs_of(ledger, find(ledger, search))
    if output is None:
        print(table_text(table), end="")
        return
    write_runs(table, output)
    print(f"wrote {len(table)} runs to {output}")
