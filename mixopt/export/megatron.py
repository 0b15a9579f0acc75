"""Megatron-LM (and Megatron Core): a blend of indexed datasets, weighted in tokens.

Its readers (`get_blend_from_list`, `--per-split-data-args-path`) take weight and prefix in turns, want every weight
positive, prefixes without .bin or .idx, and in the JSON all three splits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mixopt.errors import ExportError
from mixopt.export.canonical import canonical
from mixopt.export.paths import Part, parts_of
from mixopt.export.provenance import Export


def megatron(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the file for `--per-split-data-args-path`, the one for `--data-args-path`, and mixopt's own JSON.

    The latter is split at white space by Megatron: where a prefix has some, it cannot be written and is left out.
    The JSON trains on the blend and has no validation or test data: add yours, or evaluate nothing.
    """
    blend = [(part.weight, part.path) for part in prefixes(export, paths)]
    flat = [word for pair in blend for word in pair]
    splits = json.dumps({"train": flat, "valid": None, "test": None}, indent=1) + "\n"
    files = {f"{export.search}.megatron.json": splits} | canonical(export, paths)
    if any(len(prefix.split()) > 1 for _, prefix in blend):
        return files
    return {f"{export.search}.megatron.args": "".join(f"{weight} {prefix}\n" for weight, prefix in blend)} | files


def prefixes(export: Export, paths: Mapping[str, object]) -> list[Part]:
    """Return the parts of a blend of indexed datasets, whose paths must be prefixes."""
    parts = parts_of(export, paths)
    for part in parts:
        if part.path.endswith((".bin", ".idx")):
            raise ExportError(
                f"prefix {part.path!r} of domain {part.name!r} must come without its ending; drop the last 4 letters"
            )
    return parts
