"""`mixopt db`: look after the store."""

import json

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt db upgrade --store /data/mixopt.db
"""

database = typer.Typer(help="Look after the store.", no_args_is_help=True)
app.add_typer(database, name="db")


@database.command(epilog=EXAMPLES)
def upgrade(store: StoreLocation = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Bring the tables of a store made by an older mixopt up to date."""
    from store import upgrade as upgrade_store

    before, after = upgrade_store(store)
    if as_json:
        print(json.dumps({"store": store, "before": before, "after": after}))
        return
    print(f"{store}: is at revision {after}" + ("" if before == after else f", was at {before or 'none'}"))
