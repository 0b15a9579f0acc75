"""`mixopt retract`: take a wrong result back."""

import json
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, SearchName, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt retract quickstart 12 --reason "trained on a corpus that was cut short"
"""


@app.command(epilog=EXAMPLES)
def retract(
    search: SearchName,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="The trial's number, as `show --trials` prints it.")],
    reason: Annotated[str, typer.Option(help="What is wrong with it, for whoever reads this later.")],
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Take the result of TRIAL back: it stays on record with the reason, and no figure uses it any more.

    Trials of other searches that rest on the same training fall with it. A recommendation that rests on it is flagged
    until `mixopt run` has decided anew; the same mixture asked for again is trained again.
    """
    from mixopt.search.report import find
    from mixopt.search.wishes import wish
    from store import Store

    with Store(store) as ledger:
        said = wish(ledger, find(ledger, search), "retract", {"trial": trial, "reason": reason})
    print(json.dumps({"search": search, "trial": trial, "done": said}) if as_json else said)
