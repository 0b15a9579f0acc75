"""What a source yields: one document at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A piece of text that belongs together; `name` says where it is from.

    prompt: text before `text` that is shown to a proxy but not scored (evaluation only).
    stands_for: how many such documents there are, where the source reads a sample of what there is.
    """

    text: str
    name: str
    prompt: str = ""
    stands_for: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenDocument:
    """A document whose ids were made elsewhere, without the id that ends it."""

    tokens: NDArray[np.unsignedinteger]
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question of multiple choice (evaluation only): `choices[right]` is the right answer to `prompt`."""

    prompt: str
    choices: tuple[str, ...]
    right: int
    name: str


class Source(Protocol):
    """Where documents come from; a frozen value, read anew by every call."""

    def documents(self) -> Iterator[Document | TokenDocument | Question]:
        """Yield the documents, always in the same order."""
        ...

    def fingerprint(self) -> str:
        """Return a string that changes when the documents do; cheap (paths, sizes, times, versions)."""
        ...
