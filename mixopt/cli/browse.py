"""`mixopt list`: the searches of a store."""

import json

from mixopt.cli.app import DEFAULT_STORE, AsJson, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt list

    mixopt list --store /data/mixopt.db --json
"""


@app.command("list", epilog=EXAMPLES)
def list_searches(store: StoreLocation = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the searches of a store: state, trials, cost, and whether a mixture is recommended and proven."""
    from mixopt.cli.tables import searches_table, wide_console
    from mixopt.search.report import summaries
    from store import Store, without_password

    with Store(store, read_only=True) as ledger:
        rows = summaries(ledger)
    if as_json:
        print(json.dumps(rows, indent=2, allow_nan=False))
        return
    wide_console().print(
        searches_table(rows)
        if rows
        else f"no search in {without_password(store)} yet; start one with: mixopt run CONFIG"
    )
