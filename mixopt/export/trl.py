"""TRL (1.8 and later): `datasets` with the `fraction` of the rows that each makes up.

It repeats no row: of every data set it keeps the first fraction * N, N being as many as the scarcest one allows.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.provenance import Export
from mixopt.export.rows import row_note, row_parts
from mixopt.export.yaml_text import heading, quoted

NOTE = "TRL repeats no row: the data set with the fewest rows for its fraction bounds them all. Not for streaming."


def trl(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the data sets and mixopt's own JSON; a path is what `load_dataset` takes."""
    sets = "".join(
        f"  - path: {quoted(part.path)}\n    fraction: {part.weight}\n"
        for part in row_parts(export, paths, trainer="trl")
    )
    text = f"{heading(export, row_note(export, paths, trainer='trl'), NOTE)}datasets:\n{sets}"
    return {f"{export.search}.trl.yaml": text} | canonical(export, paths)
