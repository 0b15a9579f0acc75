"""LLM Foundry: streams of MosaicML Streaming with their proportion of the samples.

Samples weigh as tokens where they are of one length: text converted with `--concat_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.paths import parts_of
from mixopt.export.provenance import Export
from mixopt.export.yaml_text import heading, quoted

NOTE = "Samples must be of one length, as --concat_tokens makes them; epoch_size says how many there are in all."


def llm_foundry(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the streams and mixopt's own JSON; a path is a folder of shards, or the URL of one."""
    streams = "".join(
        f"      {quoted(part.name)}:\n        {'remote' if '://' in part.path else 'local'}: {quoted(part.path)}\n"
        f"        proportion: {part.weight}\n"
        for part in parts_of(export, paths)
    )
    text = f"{heading(export, NOTE)}train_loader:\n  dataset:\n    streams:\n{streams}"
    return {f"{export.search}.llm-foundry.yaml": text} | canonical(export, paths)
