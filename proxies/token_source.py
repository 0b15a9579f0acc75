"""Documents whose ids were made elsewhere: arrays of tokens in .npy or raw binary files."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.documents import TokenDocument
from proxies.errors import SourceError
from proxies.paths import as_patterns, expand, is_remote, stamp


@dataclass(frozen=True, kw_only=True)
class TokensSource:
    """Flat arrays of ids where `end_of_document` ends each document.

    dtype: needed for raw files (.bin), e.g. "uint16". The tokenizer that made the ids, to compare with the corpus's:
    `tokenizer` is "bytes" or the path of its file; where there is neither, `vocabulary` states the number of ids.
    """

    paths: str | tuple[str, ...]
    end_of_document: int
    dtype: str | None = None
    tokenizer: str | None = None
    vocabulary: int | None = None
    root: Path = field(default_factory=Path, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", as_patterns(self.paths))
        if (self.tokenizer is None) == (self.vocabulary is None):
            raise SourceError(
                "token arrays need either the tokenizer that made them ('bytes' or a file) or their vocabulary"
            )
        if self.dtype is not None and self.dtype not in {
            "uint8",
            "uint16",
            "uint32",
            "int32",
            "int64",
            "uint64",
            "int16",
        }:
            raise SourceError(f"dtype is {self.dtype!r}; give an integer type such as 'uint16'")

    def documents(self) -> Iterator[TokenDocument]:
        """Yield the documents without their ends; files stay on disk until asked."""
        for name in expand(as_patterns(self.paths), root=self.root):
            tokens = self._open(name)
            ends = np.flatnonzero(tokens == self.end_of_document)
            starts = np.concatenate([[0], ends + 1])
            for start, end in zip(starts, np.concatenate([ends, [len(tokens)]]), strict=True):
                if end > start:
                    yield TokenDocument(tokens=tokens[start:end], name=f"{name}:{start}")

    def fingerprint(self) -> str:
        """Return names, sizes and times of the files."""
        return "\n".join(stamp(name, root=self.root) for name in expand(as_patterns(self.paths), root=self.root))

    def _open(self, name: str) -> NDArray[np.unsignedinteger]:
        if is_remote(name):
            raise SourceError(f"{name!r} is a URL, and token arrays are read in place; copy the file to this machine")
        if not name.endswith(".npy") and self.dtype is None:
            raise SourceError(f"{name!r} is a raw file; state the dtype of its tokens, e.g. 'uint16'")
        try:
            tokens: NDArray[np.unsignedinteger] = (
                np.load(name, mmap_mode="r")
                if name.endswith(".npy")
                else np.memmap(name, dtype=np.dtype(self.dtype), mode="r")
            )
        except (OSError, ValueError, EOFError) as error:  # numpy's words for an empty file or one that is cut short
            raise SourceError(f"{name!r} cannot be read as an array ({error}); check the file and its dtype") from error
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise SourceError(f"{name!r} holds {tokens.dtype} of shape {tokens.shape}; give a flat array of integers")
        return tokens
