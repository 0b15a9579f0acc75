"""Files that are not on this machine, through fsspec."""

from typing import IO

import fsspec

from proxies.errors import SourceError


def match(pattern: str) -> list[str]:
    """Return the URLs that `pattern` matches, sorted."""
    try:
        system, path = fsspec.core.url_to_fs(pattern)
        return sorted(system.unstrip_protocol(name) for name in system.glob(path) if system.isfile(name))
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"{pattern!r} cannot be listed: {error}") from error


def describe(url: str) -> str:
    """Return what the file system knows of a file that changes with it."""
    system, path = fsspec.core.url_to_fs(url)
    known = system.info(path)
    kept = {
        key: known.get(key)
        for key in ("size", "mtime", "created", "ETag", "etag", "LastModified", "last_modified", "updated")
    }
    return f"{url} {kept}"


def open_remote(url: str) -> IO[bytes]:
    """Return the file opened for reading bytes."""
    opened: IO[bytes] = fsspec.open(url, "rb").open()
    return opened
