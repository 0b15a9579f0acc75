"""Excerpts of evaluation documents: what a proxy is scored on, the same for every proxy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.tokenization import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Excerpts:
    """The excerpts of one part of one evaluation set; each is predicted from `end_of_document` on.

    tokens: ids of all excerpts, one after another. offsets: int64 `[n + 1]`, where excerpt i is
    `tokens[offsets[i]:offsets[i + 1]]`.
    scored_from: int64 `[n]`, index inside an excerpt of its first scored token (0: all are scored; more: a prompt
    stands before).
    documents: int64 `[n]`, which document of the set an excerpt is from. scored_bytes, scored_tokens: totals of what
    is scored.
    """

    name: str
    tokens: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    scored_from: NDArray[np.int64]
    documents: NDArray[np.int64]
    scored_bytes: int
    scored_tokens: int

    def __len__(self) -> int:
        """Return the number of excerpts."""
        return len(self.scored_from)

    def save(self, path: Path) -> None:
        """Write the excerpts to one .npz file."""
        np.savez(
            path,
            tokens=self.tokens,
            offsets=self.offsets,
            scored_from=self.scored_from,
            documents=self.documents,
            scored_bytes=np.int64(self.scored_bytes),
        )

    @classmethod
    def load(cls, path: Path) -> "Excerpts":
        """Return the excerpts written by `save`; their name is the file's."""
        with np.load(path) as arrays:
            offsets, scored_from = arrays["offsets"], arrays["scored_from"]
            return cls(
                name=path.stem,
                tokens=arrays["tokens"],
                offsets=offsets,
                scored_from=scored_from,
                documents=arrays["documents"],
                scored_bytes=int(arrays["scored_bytes"]),
                scored_tokens=int((np.diff(offsets) - scored_from).sum()),
            )


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A document of an evaluation set as bytes or ids, with the prompt (not scored) at its start, if it has one."""

    content: NDArray[np.unsignedinteger]
    prompt_bytes: int = 0


def draw(
    name: str,
    passages: Iterable[Passage],
    tokenizer: Tokenizer,
    *,
    max_bytes: int,
    excerpt_tokens: int,
    rng: np.random.Generator,
) -> Excerpts:
    """Return excerpts of about `max_bytes` scored bytes in all, from as many of the `passages` as can be.

    A document is cut into windows of `excerpt_tokens`; first one window (drawn by `rng`) is taken of each document, in
    order, then another of each, until there is enough. A document with a prompt gives one excerpt: the answer, whole
    however long, after the end of the prompt. The prompt has what `excerpt_tokens` leave beside the answer, but at
    least half of them (if it is as long), so that no answer is scored without its question; such an excerpt is longer.
    """
    pieces: list[_Piece] = []
    first_bytes = 0
    for index, passage in enumerate(passages):
        new = _pieces(index, passage, tokenizer, excerpt_tokens, rng)
        pieces += new
        first_bytes += new[0].scored_bytes if new else 0
        if first_bytes >= max_bytes:
            break
    pieces.sort(key=lambda piece: (piece.rank, piece.document))
    return _assemble(name, _until(pieces, max_bytes), tokenizer)


@dataclass(frozen=True, kw_only=True)
class _Piece:
    rank: int
    document: int
    ids: NDArray[np.unsignedinteger]
    scored_from: int
    scored_bytes: int


def _pieces(
    index: int, passage: Passage, tokenizer: Tokenizer, excerpt_tokens: int, rng: np.random.Generator
) -> list[_Piece]:
    if passage.prompt_bytes:
        prompt = tokenizer.encode(passage.content[: passage.prompt_bytes])
        answer = tokenizer.encode(passage.content[passage.prompt_bytes :])
        room = max(excerpt_tokens - len(answer), excerpt_tokens // 2)
        prompt = prompt[max(0, len(prompt) - room) :]
        ids, scored_from = np.concatenate([prompt, answer]), len(prompt)
        starts, width = [0], len(ids)
    else:
        ids, scored_from = tokenizer.encode(passage.content), 0
        starts, width = list(range(0, len(ids), excerpt_tokens)), excerpt_tokens
    pieces = []
    for rank, which in enumerate(rng.permutation(len(starts))):
        window = ids[starts[which] : starts[which] + width]
        scored_bytes = int(tokenizer.byte_lengths(window[scored_from:]).sum())
        if scored_bytes:
            pieces.append(
                _Piece(rank=rank, document=index, ids=window, scored_from=scored_from, scored_bytes=scored_bytes)
            )
    return pieces


def _until(pieces: Sequence[_Piece], max_bytes: int) -> list[_Piece]:
    taken: list[_Piece] = []
    scored_bytes = 0
    for piece in pieces:
        if taken and scored_bytes + piece.scored_bytes > max_bytes:
            break
        taken.append(piece)
        scored_bytes += piece.scored_bytes
    return taken


def _assemble(name: str, pieces: Sequence[_Piece], tokenizer: Tokenizer) -> Excerpts:
    lengths = np.array([len(piece.ids) for piece in pieces], dtype=np.int64)
    scored_from = np.array([piece.scored_from for piece in pieces], dtype=np.int64)
    ids = [piece.ids for piece in pieces]
    return Excerpts(
        name=name,
        tokens=np.concatenate(ids).astype(tokenizer.dtype) if ids else np.empty(0, tokenizer.dtype),
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        scored_from=scored_from,
        documents=np.array([piece.document for piece in pieces], dtype=np.int64),
        scored_bytes=sum(piece.scored_bytes for piece in pieces),
        scored_tokens=int((lengths - scored_from).sum()),
    )
