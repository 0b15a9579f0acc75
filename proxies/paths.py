"""Which files a list of patterns names, on this machine or anywhere that fsspec reaches."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from proxies.errors import SourceError

COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd"}


def as_patterns(paths: str | Sequence[str]) -> tuple[str, ...]:
    """Return one pattern or several as a tuple; none at all is refused."""
    patterns = (paths,) if isinstance(paths, str) else tuple(paths)
    if not patterns:
        raise SourceError("paths is empty; give at least one file or pattern")
    return patterns


def expand(patterns: Sequence[str], *, root: Path) -> list[str]:
    """Return the files that `patterns` name, each once, sorted within a pattern; one that names nothing is an error."""
    found: dict[str, None] = {}
    for pattern in patterns:
        names = _remote(pattern) if is_remote(pattern) else _local(pattern, root)
        if not names:
            place = "" if is_remote(pattern) else f" (looked in {str(root.resolve())!r})"
            raise SourceError(f"no file matches {pattern!r}{place}; check the path")
        found.update(dict.fromkeys(names))
    return list(found)


def is_remote(path: str) -> bool:
    """Return whether `path` is a URL."""
    return "://" in path


def suffix_of(name: str) -> str:
    """Return the suffix that tells the format, in lower case: that before .gz or .zst."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def stamp(name: str, *, root: Path) -> str:
    """Return a file's name below `root`, size and time of change, or what a remote file system says instead."""
    if not is_remote(name):
        path = Path(name)
        status = path.stat()
        label = path.relative_to(root.resolve()) if path.is_relative_to(root.resolve()) else path
        return f"{label.as_posix()} {status.st_size} {status.st_mtime_ns}"
    from proxies.remote_files import describe  # noqa: PLC0415 - fsspec takes long to import, and local files do without

    return describe(name)


def _local(pattern: str, root: Path) -> list[str]:
    folder = Path(glob.escape(str(root.resolve())))  # its brackets are no pattern
    full = str(folder / Path(pattern).expanduser())
    found = glob.glob(full, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return sorted(name for name in found if Path(name).is_file())


def _remote(pattern: str) -> list[str]:
    from proxies.remote_files import match  # noqa: PLC0415 - as above

    return match(pattern)
