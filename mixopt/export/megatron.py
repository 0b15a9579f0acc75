"""Megatron-LM (and Megatron Core): a blend of indexed datasets, weighted in tokens.

Its readers (`get_blend_from_list`, `--per-split-data-args-path`) take weight and prefix in turns, want every weight
positive, prefixes without .bin or .idx, and in the JSON all three splits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mixopt.errors import ExportError
from mixopt.export.canonical import canonical
from mixopt.export.paths import shares_of
from mixopt.export.provenance import Export, apportion, fixed


def megatron(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the file for `--per-split-data-args-path`, the one for `--data-args-path`, and mixopt's own JSON.

    The latter is split at white space by Megatron: where a prefix has some, it cannot be written and is left out.
    The JSON trains on the blend and has no validation or test data: add yours, or evaluate nothing.
    """
    blend = [(fixed(millionths), prefix) for prefix, millionths in _prefixes(export, paths).items()]
    flat = [word for pair in blend for word in pair]
    splits = json.dumps({"train": flat, "valid": None, "test": None}, indent=1) + "\n"
    files = {f"{export.search}.megatron.json": splits} | canonical(export, paths)
    if any(len(prefix.split()) > 1 for _, prefix in blend):
        return files
    return {f"{export.search}.megatron.args": "".join(f"{weight} {prefix}\n" for weight, prefix in blend)} | files


def _prefixes(export: Export, paths: Mapping[str, object]) -> dict[str, int]:
    """Return the millionths of every prefix: those of a domain share its weight; less than half of one is none."""
    parts: dict[str, int] = {}
    shares = shares_of(export, paths)
    for name, millionths in export.millionths.items():
        for prefix, part in apportion(shares[name], millionths).items():
            if prefix.endswith((".bin", ".idx")):
                raise ExportError(
                    f"prefix {prefix!r} of domain {name!r} must come without its ending; drop the last 4 letters"
                )
            if part > 0:
                parts[prefix] = part
    return parts
