"""`mixopt import`: runs made elsewhere, from a table into a search, or from another format into a table."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, StoreLocation, app, fail

EXAMPLES = """
Examples:

    mixopt import runs.csv --search mine

    mixopt import --format regmix regmix/ -o regmix.csv
"""


@app.command("import", epilog=EXAMPLES)
def import_table(
    source: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV file of runs, or what --format reads.")],
    search: Annotated[
        str | None, typer.Option(metavar="NAME", help="Search of the store to bring the runs into; made if need be.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV file to write the table to.")] = None,
    kind: Annotated[str, typer.Option("--format", help="Format of TABLE: table (mixopt's own) or regmix.")] = "table",
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Audit the runs of TABLE, and bring them into a search or write them as a table; again, it adds nothing."""
    from mixopt.runs_table import FORMATS, write_runs

    if kind not in FORMATS:
        fail(f"no format is called {kind!r}; known: {', '.join(FORMATS)}")
    if (search is None) == (output is None):
        fail("say where the runs shall go: --search NAME, or -o TABLE")
    table = FORMATS[kind](source)
    warnings, told = [*table.warnings], {"runs": len(table), "fidelities": list(table.fidelities)}
    if output is not None:
        write_runs(table, output)
        said = f"wrote {len(table)} runs to {output}"
    else:
        from mixopt.ingest import import_runs
        from store import Store

        assert search is not None
        with Store(store) as ledger:
            found = import_runs(ledger, table, name=search)
        warnings += found.warnings
        told |= {"search": search, "added": found.added}
        said = f"search {search}: {found.added} of {found.runs} runs are new"
    if as_json:
        print(json.dumps(told | {"warnings": warnings}, indent=2))
        return
    for words in warnings:
        print(f"mixopt: note: {words}", file=sys.stderr)
    print(said)
