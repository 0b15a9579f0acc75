"""`mixopt validate`: is this file a search?"""

import json
from typing import Annotated

import typer

from mixopt.cli.app import AsJson, app

EXAMPLES = """
Examples:

    mixopt validate configs/quickstart.yaml

    mixopt validate configs/*.yaml --json
"""


@app.command(epilog=EXAMPLES)
def validate(
    configs: Annotated[list[str], typer.Argument(metavar="CONFIG...", help="YAML files of searches.")],
    as_json: AsJson = False,
) -> None:
    """Check that every CONFIG is a search that could run; the first fault is named with its line."""
    from mixopt.config import load

    searches = [load(config) for config in configs]
    if as_json:
        print(json.dumps([search.resolved() for search in searches], indent=2, allow_nan=False))
        return
    for path, search in zip(configs, searches, strict=True):
        print(f"{path}: search {search.name!r}, {len(search.domains)} domains, {len(search.rungs)} rungs, valid")
