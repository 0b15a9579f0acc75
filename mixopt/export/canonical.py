"""mixopt's own JSON: the mixture with its provenance, from which everything else could be written."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mixopt.export.provenance import Export, fixed

SCHEMA = "mixopt-mixture/1"


def canonical(export: Export, paths: Mapping[str, object]) -> dict[str, str]:  # noqa: ARG001  # as every exporter
    """Return `<search>.json`: ASCII, weights as fixed-point numbers that sum to exactly 1. It needs no paths."""
    head = {
        "schema": SCHEMA,
        "search": export.search,
        "seed": export.seed,
        "config_hash": export.config_hash,
        "created": export.created,
        "versions": dict(sorted(export.versions.items())),
        "unit": "tokens",
        "target_tokens": export.target_tokens,
        "predicted": None if export.predicted is None else {"mean": export.predicted.mean, "sd": export.predicted.sd},
        "beats_natural": export.beats_natural,
        "dropped": export.dropped,
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in head.items()]
    domains = ",\n".join(_domain(export, name, millionths) for name, millionths in export.millionths.items())
    lines.append(f'  "domains": [\n{domains}\n  ]')
    return {f"{export.search}.json": "{\n" + ",\n".join(lines) + "\n}\n"}


def _domain(export: Export, name: str, millionths: int) -> str:
    epochs = export.epochs(name)
    entries = {
        "name": json.dumps(name),
        "weight": fixed(millionths),
        "available_tokens": str(export.available_tokens[name]),
        "epochs": "null" if epochs is None else f"{epochs:.6f}",
    }
    return "    {" + ", ".join(f'"{key}": {value}' for key, value in entries.items()) + "}"
