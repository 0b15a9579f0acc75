"""OLMo-core: the YAML that `SourceMixtureList.from_yaml` reads, weighted in tokens.

It refuses ratios that do not sum to 1, and a source that would be read more often than `max_repetition_ratio`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from mixopt.errors import ExportError
from mixopt.export.canonical import canonical
from mixopt.export.paths import shares_of
from mixopt.export.provenance import Export, fixed
from mixopt.export.yaml_text import heading, quoted


def olmo_core(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the source mixture and mixopt's own JSON; a path is a .npy file or a pattern of such.

    Where the target's tokens are stated, a source may be repeated as often as it must be: its epochs, rounded up.
    """
    sources = []
    for name, shares in shares_of(export, paths).items():
        if len(set(shares.values())) > 1:
            raise ExportError(
                f"olmo-core reads the files of a source in proportion to their tokens, so those of {name!r} cannot "
                "have shares; list them without"
            )
        files = "".join(f"      - {quoted(path)}\n" for path in shares)
        epochs = export.epochs(name)
        repeated = "" if epochs is None else f"    max_repetition_ratio: {max(1, math.ceil(epochs))}.0\n"
        sources.append(
            f"  - source_name: {quoted(name)}\n    target_ratio: {fixed(export.millionths[name])}\n"
            f"    paths:\n{files}{repeated}"
        )
    text = heading(export, _note(export)) + "sources:\n" + "".join(sources)
    return {f"{export.search}.olmo-core.yaml": text} | canonical(export, paths)


def _note(export: Export) -> str:
    if export.target_tokens is None:
        return "No target tokens are stated: add max_repetition_ratio to sources that must be repeated."
    return f"For requested_tokens: {export.target_tokens}."
