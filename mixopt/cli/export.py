"""`mixopt export`: the recommended mixture in the words of a trainer."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixopt.cli.app import DEFAULT_STORE, AsJson, SearchName, StoreLocation, app, fail

if TYPE_CHECKING:
    from mixopt.export import Export

FORMATS = """
Formats, and what a path of theirs is:

| format | a path |
|---|---|
| json | none: mixopt's own, with where the mixture came from |
| megatron, megatron-bridge, gpt-neox | the prefix of an indexed data set |
| olmo-core | a .npy file of tokens, or a pattern |
| nanotron | a folder of tokens |
| levanter | the folder of a cache |
| llm-foundry | a folder or URL of MDS shards of one length (--concat_tokens) |
| hf-interleave, trl | what load_dataset takes |
| llama-factory | a name in dataset_info.json |
| ms-swift | what --dataset takes |
| lingua | a folder of JSON lines in chunks |
| maxtext | a pattern of ArrayRecord files |

Those from hf-interleave on draw rows, not tokens: give `web: {path: ..., tokens_a_row: 812}` for every domain, or
for none where mixopt prepared the text and the rows are its documents.

Examples:

    mixopt export quickstart --to json

    mixopt export quickstart --to megatron --paths configs/quickstart.paths.yaml -o exports
"""


@app.command(epilog=FORMATS)
def export(
    search: SearchName,
    to: Annotated[
        str, typer.Option("--to", help="The format: json (mixopt's own) or a trainer's, see below.")
    ] = "json",
    paths: Annotated[
        Path | None, typer.Option(help="YAML file: domain to the trainer's own data path or paths.")
    ] = None,
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")] = Path(),
    store: StoreLocation = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Write the recommended mixture of SEARCH for a trainer."""
    from mixopt.export import EXPORTERS, read_paths
    from mixopt.search.shipping import export_of
    from store import Store

    if to not in EXPORTERS:
        fail(f"no exporter is called {to!r}; known: {', '.join(EXPORTERS)}")
    with Store(store, read_only=True) as ledger:
        shipped = export_of(ledger, search)
    files = EXPORTERS[to](shipped, read_paths(paths) if paths else {})
    warn_of_repetition(shipped)
    if as_json:
        print(json.dumps(files, indent=2))
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"wrote {folder / name}")
    if shipped.dropped:
        print(f"left out, having no weight: {', '.join(shipped.dropped)}")


def warn_of_repetition(shipped: "Export") -> None:
    """Say which domains the target training reads too often."""
    from mixopt.export import OFTEN

    for name, epochs in shipped.repeated.items():
        typer.echo(
            f"warning: the target's {shipped.target_tokens:,} tokens pass over {name} {epochs:.1f} times; more than "
            f"{OFTEN:g} add little: `max_epochs` keeps it from that",
            err=True,
        )
