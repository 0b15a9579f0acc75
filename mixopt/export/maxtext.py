"""MaxText: the JSON of `grain_train_mixture_config_path`, whose records are drawn before they are packed.

The inline form of its configuration rounds weights to four decimals; this one does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mixopt.export.canonical import canonical
from mixopt.export.provenance import Export
from mixopt.export.rows import row_parts


def maxtext(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the mixture and mixopt's own JSON; a path is a pattern of ArrayRecord files."""
    entries = ",\n".join(
        f'  {json.dumps(part.name)}: {{"path": {json.dumps(part.path)}, "weight": {part.weight}}}'
        for part in row_parts(export, paths, trainer="maxtext")
    )
    return {f"{export.search}.maxtext.json": f"{{\n{entries}\n}}\n"} | canonical(export, paths)
