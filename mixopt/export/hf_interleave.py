"""Hugging Face datasets: probabilities for `interleave_datasets`, which draws rows, and a function that applies them.

Its streams end when one or all data sets do, and with a probability of zero never; `all_exhausted_without_replacement`
ends with every row read once, whatever the probabilities. So every data set is repeated without end here: the mixture
holds from the first row to the last, and the number of steps ends the training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.paths import tokens_a_row
from mixopt.export.provenance import Export
from mixopt.export.rows import row_parts

SCHEMA = "mixopt-rows/1"
LOADER = '''\
"""Rows in the mixture of the JSON beside this file, without end: the steps of your training end them.

    rows = runpy.run_path("{name}.hf-interleave.py")["mixture"]()
"""

import json
from pathlib import Path

from datasets import IterableDataset, interleave_datasets, load_dataset


def streamed(path):
    """Return the rows of a data set on the Hub, or of a folder."""
    return load_dataset(path, split="train", streaming=True)


def mixture(load=streamed, file=Path(__file__).with_suffix(".json")):
    """Return the mixed rows; `load` makes a data set of a path, and may shuffle it."""
    plain = json.loads(Path(file).read_text(encoding="utf-8"))
    loaded = [load(entry["path"]) for entry in plain["datasets"]]
    streams = [rows if isinstance(rows, IterableDataset) else rows.to_iterable_dataset() for rows in loaded]
    return interleave_datasets(
        [rows.repeat(None) for rows in streams],
        probabilities=[entry["probability"] for entry in plain["datasets"]],
        seed=plain["seed"],
        stopping_strategy=plain["stopping_strategy"],
    )
'''


def hf_interleave(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the probabilities, the function and mixopt's own JSON; a path is what `load_dataset` takes."""
    lengths = tokens_a_row(export, paths, trainer="hf-interleave")
    head = {
        "schema": SCHEMA,
        "search": export.search,
        "config_hash": export.config_hash,
        "created": export.created,
        "unit": "rows",
        "tokens_a_row": lengths,
        "dropped": export.dropped,
        "seed": export.seed,
        "stopping_strategy": "all_exhausted",
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in head.items()]
    entries = ",\n".join(
        f'    {{"name": {json.dumps(part.name)}, "path": {json.dumps(part.path)}, "probability": {part.weight}}}'
        for part in row_parts(export, paths, trainer="hf-interleave")
    )
    text = "{\n" + ",\n".join([*lines, f'  "datasets": [\n{entries}\n  ]']) + "\n}\n"
    name = f"{export.search}.hf-interleave"
    return {f"{name}.json": text, f"{name}.py": LOADER.replace("{name}", export.search)} | canonical(export, paths)
