"""Secrets in URLs: what stands in a file is kept in the store, and shown to whoever looks at the search."""

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import parse_qsl

# user:password@ after a scheme; a password may hold a slash, which a port with a path has, too. $NAME is a
# variable that a shell fills in.
PASSWORD = re.compile(r"://[^/@:\s]*:(?!\d+/)(?!\$(?:\w+|\{\w+\})@)[^@\s]+@")
TELLING = ("password", "passwd", "secret", "token", "signature", "credential", "access_key", "apikey", "api_key")
EXACT = ("sig", "pwd")
DEEPEST = 32  # of what a file may nest: deeper ones, which may contain themselves, are refused elsewhere


def holds_secret(text: str) -> bool:
    """Say whether a URL with a password or another secret stands in `text`."""
    return "://" in text and (PASSWORD.search(text) is not None or any(map(_in_query, text.split())))


def secret_places(plain: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the keys that lead to every text of a plain value that holds a secret."""
    if isinstance(plain, str):
        if holds_secret(plain):
            yield path
    elif len(path) > DEEPEST:
        return
    elif isinstance(plain, Mapping):
        for key, value in plain.items():
            yield from secret_places(value, (*path, str(key)))
    elif isinstance(plain, Sequence) and not isinstance(plain, bytes):
        for place, value in enumerate(plain):
            yield from secret_places(value, (*path, place))


def _in_query(word: str) -> bool:
    if "://" not in word or "?" not in word:
        return False
    told = parse_qsl(word.partition("?")[2])
    names = [name.lower() for name, value in told if not value.startswith(("$", "{"))]
    return any(name in EXACT or any(part in name for part in TELLING) for name in names)
