"""Where a trainer keeps the tokens of each domain: one prefix, several, or several with their shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from mixopt.errors import ExportError
from mixopt.export.provenance import Export
from mixopt.located_yaml import read_yaml


def read_paths(path: Path | str) -> dict[str, object]:
    """Return the mapping of a `paths.yaml`: domain to a path, a list of paths, or a mapping of paths to shares."""
    plain = read_yaml(Path(path)).plain
    if not isinstance(plain, dict):
        raise ExportError(f"{path}: must map domains to paths; got {type(plain).__name__}")
    return {str(domain): value for domain, value in plain.items()}


def shares_of(export: Export, paths: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """Return, for every domain that is written, its paths with their shares (positive, of any sum).

    Raises:
        ExportError: a domain without a path, a path without a domain, or a path that stands twice.
    """
    known = list(export.mixture)
    unknown = sorted(set(paths) - set(known))
    if unknown:
        raise ExportError(f"paths name unknown domains {unknown}; known: {known}")
    missing = [name for name in export.millionths if name not in paths]
    if missing:
        raise ExportError(f"paths lack domains {missing}, which the mixture weighs; add a path for each")
    found = {name: _shares(name, paths[name]) for name in export.millionths}
    owners: dict[str, str] = {}
    for name, shares in found.items():
        for path in shares:
            if path in owners:
                raise ExportError(f"path {path!r} stands under {owners[path]!r} and {name!r}; give each domain its own")
            owners[path] = name
    return found


def _shares(name: str, value: object) -> dict[str, float]:
    """Return the paths of one domain with their shares, even ones for a list."""
    if isinstance(value, str):
        pairs: list[tuple[object, object]] = [(value, 1.0)]
    elif isinstance(value, list):
        pairs = [(path, 1.0) for path in value]
    elif isinstance(value, dict):
        pairs = list(value.items())
    else:
        raise ExportError(
            f"paths of domain {name!r} must be a path, a list of paths or paths with shares; got {value!r}"
        )
    shares: dict[str, float] = {}
    for path, share in pairs:
        if not isinstance(path, str) or not path.strip() or "\n" in path:
            raise ExportError(f"domain {name!r} has a path that is none: {path!r}; write it as text")
        if path in shares:
            raise ExportError(f"path {path!r} stands twice under {name!r}; keep one, or give shares")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share < math.inf:
            raise ExportError(f"the share of path {path!r} of domain {name!r} must be a positive number; got {share!r}")
        shares[path] = float(share)
    if not shares:
        raise ExportError(f"domain {name!r} has no path; give at least one")
    return shares
