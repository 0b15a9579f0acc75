"""`mixopt export`: the recommended mixture in the words of a trainer."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, SearchName, StoreLocation, app, fail

EXAMPLES = """
Examples:

    mixopt export quickstart --to json

    mixopt export quickstart --to megatron --paths configs/quickstart.paths.yaml -o exports
"""


@app.command(epilog=EXAMPLES)
def export(
    search: SearchName,
    to: Annotated[
        str, typer.Option("--to", help="The format: json (mixopt's own) or a trainer's, such as megatron.")
    ] = "json",
    paths: Annotated[
        Path | None, typer.Option(help="YAML file: domain to the trainer's own data path or paths.")
    ] = None,
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path(),
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Write the recommended mixture of SEARCH for a trainer."""
    from mixopt.export import EXPORTERS, read_paths
    from mixopt.search.shipping import export_of
    from store import Store

    if to not in EXPORTERS:
        fail(f"no exporter is called {to!r}; known: {', '.join(EXPORTERS)}")
    with Store(store, read_only=True) as ledger:
        shipped = export_of(ledger, search)
    files = EXPORTERS[to](shipped, read_paths(paths) if paths else {})
    if as_json:
        print(json.dumps(files, indent=2))
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"wrote {folder / name}")
    if shipped.dropped:
        print(f"left out, having no weight: {', '.join(shipped.dropped)}")
