"""LLaMA-Factory: `interleave_probs` of data sets that its dataset_info.json names, which are drawn by rows.

`interleave_once` would read every row once and so ignore the probabilities; `interleave_under` ends with the first
data set that does.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.errors import ExportError
from mixopt.export.canonical import canonical
from mixopt.export.provenance import Export
from mixopt.export.rows import row_note, row_parts
from mixopt.export.yaml_text import heading, quoted


def llama_factory(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the arguments and mixopt's own JSON; a path is the name of a data set in dataset_info.json."""
    parts = row_parts(export, paths, trainer="llama-factory")
    for part in parts:
        if "," in part.path or part.path != part.path.strip():
            raise ExportError(
                f"llama-factory separates data sets by commas, so {part.path!r} of domain {part.name!r} cannot be "
                "named; rename it in dataset_info.json"
            )
    text = (
        heading(export, row_note(export, paths, trainer="llama-factory"))
        + f"dataset: {quoted(','.join(part.path for part in parts))}\n"
        + "mix_strategy: interleave_over\n"
        + f"interleave_probs: {quoted(','.join(part.weight for part in parts))}\n"
    )
    return {f"{export.search}.llama-factory.yaml": text} | canonical(export, paths)
