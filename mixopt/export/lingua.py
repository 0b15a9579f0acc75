"""Meta Lingua: `data.sources`, folders of JSON lines that are drawn by documents."""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.provenance import Export
from mixopt.export.rows import row_note, row_parts
from mixopt.export.yaml_text import heading, quoted


def lingua(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the sources and mixopt's own JSON; a path is a folder of `*.chunk.*.jsonl`.

    Relative ones lie below your own `data.root_dir`; where all are absolute, it is written.
    """
    parts = row_parts(export, paths, trainer="lingua")
    root = '  root_dir: "/"\n' if all(part.path.startswith("/") for part in parts) else ""
    sources = "".join(f"    {quoted(part.path)}: {part.weight}\n" for part in parts)
    text = f"{heading(export, row_note(export, paths, trainer='lingua'))}data:\n{root}  sources:\n{sources}"
    return {f"{export.search}.lingua.yaml": text} | canonical(export, paths)
