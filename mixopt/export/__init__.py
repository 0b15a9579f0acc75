"""The recommended mixture in the words of a trainer: pure functions to `{file name: text}`, one file a trainer.

Every exporter takes (export, paths), `paths` being a mapping from domains to where the trainer keeps their text. The
first of its files is the one for the trainer.
"""

from collections.abc import Callable, Mapping

from mixopt.export.canonical import canonical
from mixopt.export.gpt_neox import gpt_neox
from mixopt.export.hf_interleave import hf_interleave
from mixopt.export.levanter import levanter
from mixopt.export.lingua import lingua
from mixopt.export.llama_factory import llama_factory
from mixopt.export.llm_foundry import llm_foundry
from mixopt.export.maxtext import maxtext
from mixopt.export.megatron import megatron
from mixopt.export.megatron_bridge import megatron_bridge
from mixopt.export.ms_swift import ms_swift
from mixopt.export.nanotron import nanotron
from mixopt.export.olmo_core import olmo_core
from mixopt.export.paths import read_paths as read_paths
from mixopt.export.provenance import OFTEN as OFTEN
from mixopt.export.provenance import Export as Export
from mixopt.export.trl import trl

EXPORTERS: Mapping[str, Callable[[Export, Mapping[str, object]], dict[str, str]]] = {
    "json": canonical,
    "megatron": megatron,
    "megatron-bridge": megatron_bridge,
    "olmo-core": olmo_core,
    "gpt-neox": gpt_neox,
    "nanotron": nanotron,
    "levanter": levanter,
    "llm-foundry": llm_foundry,
    "hf-interleave": hf_interleave,
    "llama-factory": llama_factory,
    "ms-swift": ms_swift,
    "trl": trl,
    "lingua": lingua,
    "maxtext": maxtext,
}
