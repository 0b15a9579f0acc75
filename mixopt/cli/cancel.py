"""`mixopt cancel`: stop a running search, or one of its trials."""

from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, SearchName, StoreLocation, app, fail

EXAMPLES = """
Examples:

    mixopt cancel quickstart

    mixopt cancel quickstart 12
"""


@app.command(epilog=EXAMPLES)
def cancel(
    search: SearchName,
    trial: Annotated[int | None, typer.Argument(metavar="[TRIAL]", help="Only the trial of this number.")] = None,
    store: StoreLocation = DEFAULT_STORE,
) -> None:
    """Stop the process that runs SEARCH, or end one TRIAL uncharged, also where none runs; what has ended stays."""
    from mixopt.search.report import find
    from mixopt.search.wishes import CANCEL, is_driven, wish
    from store import Store

    with Store(store) as ledger:
        found = find(ledger, search)
        if trial is None and not is_driven(ledger, found):
            fail(f"nobody drives search {search!r}, which stands as {found.state}; there is nothing to stop")
        if trial is not None and ledger.trial(found.id, trial).state not in ("queued", "running"):
            fail(f"trial {trial} of {search!r} is {ledger.trial(found.id, trial).state} already; nothing to stop")
        print(wish(ledger, found, CANCEL, {"trial": trial}))
