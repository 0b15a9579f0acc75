"""`mixopt db`: look after the store."""

import json
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, StoreLocation, app, fail

EXAMPLES = """
Examples:

    mixopt db upgrade --store /data/mixopt.db

    mixopt db backup /backup/mixopt-monday.db

    mixopt db backup postgresql://user@host/name --store /data/mixopt.db
"""

database = typer.Typer(help="Look after the store.", no_args_is_help=True)
app.add_typer(database, name="db")


@database.command(epilog=EXAMPLES)
def upgrade(store: StoreLocation = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Bring the tables of a store made by an older mixopt up to date."""
    from store import upgrade as upgrade_store
    from store import without_password

    place = without_password(store)
    before, after = upgrade_store(store)
    if as_json:
        print(json.dumps({"store": place, "before": before, "after": after}))
        return
    print(f"{place}: is at revision {after}" + ("" if before == after else f", was at {before or 'none'}"))


@database.command(epilog=EXAMPLES)
def check(store: StoreLocation = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Look for damage: in the file itself, its references, its guards, and trials without results."""
    from store import check as check_store
    from store import without_password

    place = without_password(store)
    faults = check_store(store)
    if as_json:
        print(json.dumps({"store": place, "faults": faults}))
    if faults:
        fail(f"{len(faults)} found in {place}: " + "; ".join(faults))
    if not as_json:
        print(f"{place}: sound")


@database.command(epilog=EXAMPLES)
def backup(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="File to make, or an empty database's URL.")],
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Copy the store to TARGET, also while a search writes to it; the copy is a store like any other."""
    from store import copy

    counts = copy(store, target)
    told = {name: counts[name] for name in ("searches", "trials", "runs")}
    print(json.dumps({"target": target} | told) if as_json else f"{target}: {told['trials']} trials copied")


@database.command(epilog=EXAMPLES)
def vacuum(store: StoreLocation = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Give back the room that the store does not need any more."""
    from store import vacuum as vacuum_store
    from store import without_password

    place = without_password(store)
    done = vacuum_store(store)
    if as_json:
        print(json.dumps({"store": place, "before_bytes": done.before_bytes, "after_bytes": done.after_bytes}))
        return
    print(f"{place}: {done.after_bytes:,} bytes, was {done.before_bytes:,}")
