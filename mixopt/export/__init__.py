"""The recommended mixture in the words of a trainer: pure functions to `{file name: text}`, one file a trainer.

Every exporter takes (export, paths), `paths` being a mapping from domains to where the trainer keeps their tokens.
"""

from collections.abc import Callable, Mapping

from mixopt.export.canonical import canonical
from mixopt.export.megatron import megatron
from mixopt.export.paths import read_paths as read_paths
from mixopt.export.provenance import Export as Export

EXPORTERS: Mapping[str, Callable[[Export, Mapping[str, object]], dict[str, str]]] = {
    "json": canonical,
    "megatron": megatron,
}
