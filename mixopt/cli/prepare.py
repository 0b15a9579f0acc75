"""`mixopt prepare`: make a search's text ready, without training anything."""

import json

from mixopt.cli.app import DEFAULT_STORE, AsJson, Config, StoreLocation, app

EXAMPLES = """
Examples:

    mixopt prepare configs/quickstart.yaml
"""


@app.command(epilog=EXAMPLES)
def prepare(config: Config, store: StoreLocation = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Read, tokenize and deduplicate the text of CONFIG, and show what came of it; again, it costs nothing."""
    from rich.console import Console

    from mixopt.cli.tables import text_tables, wide_console
    from mixopt.config import load
    from mixopt.text import Folders, prepare_corpus

    console = Console(stderr=True)
    corpus = prepare_corpus(load(config), Folders.beside(store), report=console.print)
    if as_json:
        print(json.dumps(corpus.manifest.to_plain(), indent=2, allow_nan=False))
        return
    for block in text_tables(corpus.manifest):
        wide_console().print(block)
