"""`mixopt plan`: what a search would buy, before anything is paid."""

import json
import os
import sys
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, Config, StoreLocation, app

REHEARSALS = 8

EXAMPLES = """
Examples:

    mixopt plan configs/quickstart.yaml

    mixopt plan configs/command.yaml --throughput 4e14 --slots 16

    mixopt plan configs/simulated.yaml --json
"""


@app.command(epilog=EXAMPLES)
def plan(
    config: Config,
    throughput: Annotated[
        float | None, typer.Option(help="FLOPs a second of one device; without, it is measured.", min=1.0)
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Trials at a time, where the file does not say.", min=1)] = None,
    rehearsals: Annotated[
        int, typer.Option(help="Simulated searches at most; fewer where they take long.", min=1)
    ] = REHEARSALS,
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Say what the search of CONFIG would buy: trials, cost, time, certainty, and what it could not tell.

    The file's own strategy is rehearsed on simulated laws; nothing is trained, except where the speed of your devices
    must be measured for a moment.
    """
    from mixopt.cli.outlook import outlook_blocks
    from mixopt.cli.session import plan_search
    from mixopt.cli.tables import wide_console
    from mixopt.config import load

    found = plan_search(
        load(config),
        store=store,
        throughput=throughput,
        slots=slots,
        rehearsals=rehearsals,
        jobs=os.cpu_count() or 1,
        told=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if as_json:
        print(json.dumps(found.plain(), indent=2, allow_nan=False))
        return
    console = wide_console()
    for block in outlook_blocks(found):
        console.print(block)
