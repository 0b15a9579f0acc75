"""What exporters in YAML share: text that any reader takes as it is, and a heading that says where a file came from."""

from __future__ import annotations

from collections.abc import Sequence

from mixopt.export.paths import Part
from mixopt.export.provenance import Export


def heading(export: Export, *notes: str) -> str:
    """Return comment lines: the search, its configuration and software, what was left out, and `notes`."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(export.versions.items()))
    lines = [
        f"Mixture of the search {export.search}, written by mixopt on {export.created}.",
        f"Configuration {export.config_hash}, seed {export.seed}{'; ' if versions else ''}{versions}.",
    ]
    if export.dropped:
        lines.append(f"Left out, having no weight: {', '.join(export.dropped)}.")
    return "".join(f"# {_line(line)}\n" for line in (*lines, *notes))


def quoted(text: str) -> str:
    """Return `text` as a double-quoted scalar: no name is a number, a comment or a key to YAML then."""
    return f'"{"".join(_letter(letter) for letter in text)}"'


def two_lists(parts: Sequence[Part], *, indent: int) -> tuple[str, str]:
    """Return the items of two lists of the same order: the paths of data sets, and their weights."""
    bullet = f"{' ' * indent}- "
    paths = "".join(f"{bullet}{quoted(part.path)}\n" for part in parts)
    return paths, "".join(f"{bullet}{part.weight}\n" for part in parts)


def _letter(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
