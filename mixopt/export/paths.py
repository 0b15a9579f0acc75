"""Where a trainer keeps the text of each domain: one path, several, or several with their shares; and its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixopt.errors import ExportError
from mixopt.export.provenance import GRID, Export, apportion, fixed
from mixopt.located_yaml import read_yaml

ROWS = "tokens_a_row"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One data set of a trainer: a domain, or one of its paths, called `<domain>/<number>` then.

    count: its weight (> 0) in whole parts of `grid`; those of all data sets sum to `grid`.
    """

    name: str
    path: str
    count: int
    grid: int = GRID

    @property
    def weight(self) -> str:
        """Return the weight as a fixed-point number."""
        return fixed(self.count, self.grid)


def read_paths(path: Path | str) -> dict[str, object]:
    """Return the mapping of a `paths.yaml`: domain to a path, a list of paths, or a mapping of paths to shares.

    Any of these may stand as the `path` of a mapping that has the domain's `tokens_a_row` beside it.
    """
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
        raise ExportError(
            f"paths lack domains {missing}, which the mixture weighs; add a path for each, to the file of --paths or "
            "under workers.paths"
        )
    found = {name: _shares(name, _entry(name, paths[name])[0]) for name in export.millionths}
    owners: dict[str, str] = {}
    for name, shares in found.items():
        for path in shares:
            if path in owners:
                raise ExportError(f"path {path!r} stands under {owners[path]!r} and {name!r}; give each domain its own")
            owners[path] = name
    return found


def parts_of(
    export: Export, paths: Mapping[str, object], counts: Mapping[str, int] | None = None, grid: int = GRID
) -> list[Part]:
    """Return the data sets of the mixture: those of a domain share its count; less than half a part is none.

    counts: whole parts of `grid` for every domain, None for the millionths of the tokens.
    """
    parts = []
    for name, shares in shares_of(export, paths).items():
        count = (export.millionths if counts is None else counts)[name]
        several = len(shares) > 1
        split = apportion(shares, count)
        parts += [
            Part(name=f"{name}/{i}" if several else name, path=path, count=part, grid=grid)
            for i, (path, part) in enumerate(split.items())
            if part > 0
        ]
    names = [part.name for part in parts]
    twice = [name for name in export.millionths if names.count(name) > 1]
    if twice:
        raise ExportError(f"domain {twice[0]!r} is called like one of several paths of another; rename it")
    return parts


def tokens_a_row(export: Export, paths: Mapping[str, object], *, trainer: str) -> dict[str, float]:
    """Return the mean tokens of a row of every domain that is written, as the paths state or as mixopt prepared them.

    Raises:
        ExportError: they are not known of every domain, or stated for some only.
    """
    shares_of(export, paths)
    stated = {name: _entry(name, paths[name])[1] for name in export.millionths}
    lacking = [name for name, tokens in stated.items() if tokens is None]
    if len(lacking) == len(stated) and all(name in export.tokens_a_document for name in lacking):
        return {name: export.tokens_a_document[name] for name in stated}
    if lacking:
        raise ExportError(
            f"{trainer} draws rows, not tokens, so a domain of long rows would get more than its weight; say how many "
            f"tokens a row of {lacking} has on average (for all domains or none, in one tokenizer), such as: "
            f"{lacking[0]}: {{path: ..., {ROWS}: 812}}"
        )
    return {name: tokens for name, tokens in stated.items() if tokens is not None}


def _entry(name: str, value: object) -> tuple[object, float | None]:
    """Return the paths of one domain as written, and its tokens a row where they stand beside them."""
    if not isinstance(value, dict) or (ROWS not in value and not isinstance(value.get("path"), str | list | dict)):
        return value, None
    if "path" not in value or set(value) - {"path", ROWS}:
        raise ExportError(f"domain {name!r} must have `path` and `{ROWS}` and no more; got {value!r}")
    tokens = value.get(ROWS)
    if tokens is None:
        return value["path"], None
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or not 0.0 < tokens < math.inf:
        raise ExportError(f"{ROWS} of domain {name!r} must be a positive number; got {tokens!r}")
    return value["path"], float(tokens)


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
