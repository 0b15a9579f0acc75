"""GPT-NeoX: a configuration file beside the others, with indexed datasets and their weights in tokens."""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.megatron import prefixes
from mixopt.export.provenance import Export
from mixopt.export.yaml_text import heading, two_lists

NOTE = (
    "Beside it GPT-NeoX wants valid-data-paths and test-data-paths with their weights, and neither data-path nor "
    "weight_by_num_documents."
)


def gpt_neox(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the file and mixopt's own JSON; a path is a prefix, without .bin or .idx."""
    parts = prefixes(export, paths)
    names, weights = two_lists(parts, indent=2)
    text = f"{heading(export, NOTE)}train-data-paths:\n{names}train-data-weights:\n{weights}"
    return {f"{export.search}.gpt-neox.yml": text} | canonical(export, paths)
