"""ms-swift: a file of arguments with `interleave_prob`, by which it draws rows.

Its default `first_exhausted` ends an epoch with the first data set that does.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.provenance import Export
from mixopt.export.rows import row_note, row_parts
from mixopt.export.yaml_text import heading, two_lists


def ms_swift(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the arguments and mixopt's own JSON; a path is what its `--dataset` takes."""
    parts = row_parts(export, paths, trainer="ms-swift")
    sets, weights = two_lists(parts, indent=2)
    text = (
        heading(export, row_note(export, paths, trainer="ms-swift"))
        + f"dataset:\n{sets}interleave_prob:\n{weights}stopping_strategy: all_exhausted\n"
    )
    return {f"{export.search}.ms-swift.yaml": text} | canonical(export, paths)
