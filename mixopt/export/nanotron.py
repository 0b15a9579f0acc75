"""nanotron: the `data_stages` of its configuration, with folders of tokens and their weights in tokens."""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.paths import parts_of
from mixopt.export.provenance import Export
from mixopt.export.yaml_text import heading, quoted, two_lists


def nanotron(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the stage and mixopt's own JSON; a path is a folder of tokens as datatrove writes them.

    Folders and weights are two lists: the mapping that older documentation shows is refused by today's reader.
    """
    parts = parts_of(export, paths)
    folders, weights = two_lists(parts, indent=10)
    text = (
        heading(export, "To stand in the one configuration of a training.")
        + f"data_stages:\n  - name: {quoted(export.search)}\n    start_training_step: 1\n    data:\n      dataset:\n"
        + f"        dataset_folder:\n{folders}        dataset_weights:\n{weights}      seed: {export.seed}\n"
    )
    return {f"{export.search}.nanotron.yaml": text} | canonical(export, paths)
