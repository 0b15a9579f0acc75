"""Megatron Bridge: the `dataset.blend` of its configuration, weighted in tokens.

Two lists in YAML, so prefixes may have spaces. There is no `blend_weights`, whatever its guide to migration shows.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.megatron import prefixes
from mixopt.export.provenance import Export
from mixopt.export.yaml_text import heading, two_lists


def megatron_bridge(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the overrides and mixopt's own JSON; a path is a prefix, without .bin or .idx."""
    parts = prefixes(export, paths)
    names, weights = two_lists(parts, indent=6)
    text = f"{heading(export)}dataset:\n  blend:\n    -\n{names}    -\n{weights}"
    return {f"{export.search}.megatron-bridge.yaml": text} | canonical(export, paths)
