"""`mixopt gc`: remove what no search needs."""

import json
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt gc --dry-run

    mixopt gc --store /data/mixopt.db
"""


@app.command(epilog=EXAMPLES)
def gc(
    store: StoreLocation = DEFAULT_STORE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove prepared text, checkpoints and artifacts that no search of the store, or of one beside it, needs."""
    from contextlib import ExitStack

    from mixopt.search.leavings import leavings, remove, siblings
    from mixopt.text import Folders
    from store import Store

    with ExitStack() as stack:
        stores = [stack.enter_context(Store(each, read_only=True)) for each in siblings(store)]
        found = leavings(stores, Folders.beside(store))
    for each in [] if dry_run else found:
        remove(each)
    rows = [{"path": str(each.path), "why": each.why, "bytes": each.size_bytes} for each in found]
    if as_json:
        print(json.dumps({"removed": not dry_run, "found": rows}, indent=2))
        return
    for row in rows:
        print(f"{row['bytes']:>15,}  {row['path']}  ({row['why']})")
    done = "would be removed; run again without --dry-run" if dry_run else "removed"
    total = sum(each.size_bytes for each in found)
    print(f"{total:,} bytes in {len(found)} places {done}" if found else "nothing to go")
