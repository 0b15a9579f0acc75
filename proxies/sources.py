"""Where text comes from: the kinds of source that a configuration may name."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from proxies.documents import Document as Document
from proxies.documents import Source as Source
from proxies.documents import TokenDocument as TokenDocument
from proxies.errors import SourceError
from proxies.file_source import FilesSource
from proxies.huggingface_source import HuggingFaceSource
from proxies.installed import InstalledSource
from proxies.plain_values import typed
from proxies.token_source import TokensSource


def open_source(plain: Mapping[str, Any], *, root: Path, where: str) -> Source:
    """Return the source that a mapping with `kind` describes.

    Its relative paths start at `root`; `where` names it in errors.
    """
    if not isinstance(plain, Mapping):
        raise SourceError(f"source of {where} is {plain!r}; give a mapping with kind, one of {sorted(SOURCES)}")
    if str(plain.get("kind")) not in SOURCES:
        raise SourceError(f"source of {where} has the unknown kind {plain.get('kind')!r}; known: {sorted(SOURCES)}")
    source = SOURCES[plain["kind"]]
    known = {each.name: each for each in fields(source) if each.name != "root"}
    given = {key: value for key, value in plain.items() if key != "kind"}
    if unknown := set(given) - set(known):
        raise SourceError(
            f"source of {where} has unknown keys {sorted(map(str, unknown))}; {plain['kind']!r} takes {sorted(known)}"
        )
    if missing := {name for name, each in known.items() if each.default is MISSING} - set(given):
        raise SourceError(f"source of {where} ({plain['kind']!r}) lacks {sorted(missing)}; add them")
    values = typed(source, given, where=f"source of {where}", error=SourceError)
    try:
        return source(**values, root=root)
    except SourceError as error:
        raise SourceError(f"source of {where}: {error}") from error


SOURCES: Mapping[str, type[FilesSource] | type[HuggingFaceSource] | type[TokensSource] | type[InstalledSource]] = {
    "files": FilesSource,
    "huggingface": HuggingFaceSource,
    "tokens": TokensSource,
    "installed": InstalledSource,
}
