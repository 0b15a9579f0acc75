"""`mixopt domains`: domains of a search that change while it goes on."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, SearchName, StoreLocation, app, fail

EXAMPLES = """
Examples:

    mixopt domains pile list

    mixopt domains pile rename web crawl

    mixopt domains pile add books --source "books={kind: files, paths: [books/*.txt]}" --dry-run

    mixopt domains pile split web web-en web-de --tokens web-en=2e12 --tokens web-de=5e11

    mixopt domains pile remove forums

    mixopt domains pile revise web --tokens web=3e12 --changed 0.2

    mixopt domains pile split web web-en web-de --file pile.yaml
"""


@app.command(epilog=EXAMPLES)
def domains(
    search: SearchName,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="list, add, remove, split, rename or revise.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[DOMAIN]...", help="A domain; then its parts, or its new name.")
    ] = None,
    tokens: Annotated[
        list[str] | None, typer.Option("--tokens", metavar="DOMAIN=N", help="Available tokens of one that comes.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="DOMAIN=YAML", help="Where its text comes from.")
    ] = None,
    changed: Annotated[
        float, typer.Option("--changed", help="Fraction of a revised text that is another, if nobody can count it.")
    ] = 1.0,
    file: Annotated[
        Path | None, typer.Option("--file", help="The search's file, changed, in place of tokens and sources.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what stays, is stale, and its cost.")] = False,
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Add, remove, split, rename or revise a domain of SEARCH, which keeps what it has seen; nothing is trained here.

    Trials of before are read as mixtures of the domains as they are now. What is trained again is said with its cost
    in FLOPs, and paid only once the search goes on.
    """
    from mixopt.search.report import find
    from store import Store

    with Store(store) as ledger:
        found = find(ledger, search)
        if action == "list":
            rows = [{"domain": name, "available_tokens": count} for name, count in found.domains.items()]
            said = [f"{row['domain']}: {row['available_tokens']:,} tokens" for row in rows]
            print(json.dumps(rows, indent=2) if as_json else "\n".join(said))
            return
        from mixopt.search.domain_edits import ARGUMENTS, edit_of
        from mixopt.search.domains import carry_out, is_recorded, plan
        from mixopt.text import Folders

        if action not in ARGUMENTS:
            fail(f"nobody knows the action {action!r}; known: list, {', '.join(ARGUMENTS)}")
        edit = edit_of(action, names or [], tokens=tokens or [], sources=source or [], changed=changed, file=file)
        folders = Folders.beside(store)
        worked_out = plan(ledger, found, edit, folders, report=lambda line: print(line, file=sys.stderr))
        done = "nothing is recorded; run it again without --dry-run" if dry_run else carry_out(ledger, worked_out)
        recorded = is_recorded(ledger, worked_out)
    if as_json:
        print(json.dumps(worked_out.plain() | {"recorded": recorded, "done": done}, indent=2, allow_nan=False))
        return
    print("\n".join([*worked_out.lines, done]))
