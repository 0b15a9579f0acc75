"""Documents of one source on disk while a corpus is made: a large source needs no memory, and is read once."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.documents import Document, Question, TokenDocument
from proxies.errors import SourceError


@dataclass(frozen=True, kw_only=True)
class Spool:
    """Distinct documents one after another: utf-8 bytes without NUL, or ids where the source has these.

    offsets: int64 `[documents + 1]`. hashes: uint64, of the content. prompts: int64, bytes of the prompt that a
    document starts with. choices: bytes of the choices after it, of a question; none of other documents.
    right: int64, the place of a question's right choice; -1.
    stands_for: float64, see `Document`. duplicates: how many documents were left out because an equal one came before.
    """

    content: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    prompts: NDArray[np.int64]
    stands_for: NDArray[np.float64]
    choices: tuple[tuple[int, ...], ...]
    right: NDArray[np.int64]
    duplicates: int
    are_tokens: bool

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.hashes)

    def document(self, index: int) -> NDArray[np.unsignedinteger]:
        """Return the content of one document."""
        return self.content[self.offsets[index] : self.offsets[index + 1]]


def spool(
    documents: Iterable[Document | TokenDocument | Question],
    path: Path,
    *,
    token_type: np.dtype[np.unsignedinteger],
    vocabulary: int = 0,
) -> Spool:
    """Return the distinct, non-empty `documents`, written to `path`; ids, below `vocabulary`, as `token_type`."""
    seen: set[int] = set()
    lengths: list[int] = []
    hashes: list[int] = []
    prompts: list[int] = []
    stands_for: list[float] = []
    choices: list[tuple[int, ...]] = []
    right: list[int] = []
    duplicates, are_tokens = 0, False
    with path.open("wb") as file:
        for document in documents:
            are_tokens = isinstance(document, TokenDocument)
            content, prompt_bytes, weight = _content(document, token_type, vocabulary)
            if len(content) == prompt_bytes:
                continue
            digest = int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
            if digest in seen:
                duplicates += 1
                continue
            seen.add(digest)
            file.write(content)
            lengths.append(len(content))
            hashes.append(digest)
            prompts.append(prompt_bytes)
            stands_for.append(weight)
            choices.append(_choice_bytes(document))
            right.append(document.right if isinstance(document, Question) else -1)
    dtype = token_type if are_tokens else np.dtype(np.uint8)
    total = sum(lengths) // dtype.itemsize
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(lengths, np.int64) // dtype.itemsize)])
    return Spool(
        content=np.memmap(path, dtype=dtype, mode="r", shape=(total,)) if total else np.empty(0, dtype),
        offsets=offsets,
        hashes=np.array(hashes, dtype=np.uint64),
        prompts=np.array(prompts, dtype=np.int64),
        stands_for=np.array(stands_for, dtype=np.float64),
        choices=tuple(choices),
        right=np.array(right, dtype=np.int64),
        duplicates=duplicates,
        are_tokens=are_tokens,
    )


def _choice_bytes(document: Document | TokenDocument | Question) -> tuple[int, ...]:
    return tuple(len(_bytes(text)) for text in document.choices) if isinstance(document, Question) else ()


def _content(
    document: Document | TokenDocument | Question, token_type: np.dtype[np.unsignedinteger], vocabulary: int
) -> tuple[bytes, int, float]:
    """Return a document's bytes, how many of these are its prompt, and how many documents it stands for."""
    if isinstance(document, TokenDocument):
        _check_ids(document, vocabulary)
        return document.tokens.astype(token_type).tobytes(), 0, 1.0
    if isinstance(document, Question):
        prompt = _bytes(document.prompt)
        return prompt + b"".join(map(_bytes, document.choices)), len(prompt), 1.0
    text = _bytes(document.text)
    if not text.strip():
        return b"", 0, 1.0
    prompt = _bytes(document.prompt)
    return prompt + text, len(prompt), document.stands_for


def _check_ids(document: TokenDocument, vocabulary: int) -> None:
    """Refuse ids outside the vocabulary, before a narrower type would make other ids of them."""
    if not len(document.tokens):
        return
    for wrong in (int(document.tokens.min()), int(document.tokens.max())):
        if not 0 <= wrong < vocabulary:
            raise SourceError(f"{document.name} has the id {wrong}, the vocabulary is {vocabulary}; check its dtype")


def _bytes(text: str) -> bytes:
    return text.replace("\0", "").encode("utf-8", errors="replace")
