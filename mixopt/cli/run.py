"""`mixopt run`: start a search, or go on with it."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, Config, StoreLocation, app

INTERRUPTED = 130  # the shell's exit code for Ctrl-C

EXAMPLES = """
Examples:

    mixopt run configs/quickstart.yaml

    mixopt run configs/quickstart.yaml --seed 1 --name quickstart-1 --store /data/mixopt.db
"""


@app.command(epilog=EXAMPLES)
def run(
    config: Config,
    store: StoreLocation = DEFAULT_STORE,
    name: Annotated[str | None, typer.Option(help="Another name than the file's: another search.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the file's.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to train on, `local` for one of its own.", envvar="RAY_ADDRESS")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="For prepared text and artifacts; else they lie beside the store.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the search of CONFIG to its end; after any interruption the same command resumes it."""
    started_s = time.monotonic()
    from mixopt.cli.session import run_search  # heavy: torch and ray, loaded when a search really runs
    from mixopt.config import load

    found = load(config).renamed(name=name, seed=seed)
    try:
        run_search(found, store=store, started_s=started_s, address=address, folder=folder)
    except KeyboardInterrupt:
        print("mixopt: stopped; what has ended is in the store, and the same command goes on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    from mixopt.cli.show import print_search

    print_search(found.name, store=store, as_json=as_json)
    sys.stdout.flush()
