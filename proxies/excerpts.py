"""Excerpts of evaluation documents: what a proxy is scored on, the same for every proxy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.questions import Choices
from proxies.tokenization import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Excerpts:
    """The excerpts of one part of one evaluation set; each is predicted from `end_of_document` on.

    tokens: ids of all excerpts, one after another. offsets: int64 `[n + 1]`, where excerpt i is
    `tokens[offsets[i]:offsets[i + 1]]`.
    scored_from: int64 `[n]`, index inside an excerpt of its first scored token (0: all are scored; more: a prompt
    stands before).
    documents: int64 `[n]`, which document of the set an excerpt is from. scored_bytes, scored_tokens: totals of what
    is scored. choices: of a set of multiple choice, where every excerpt is a prompt with one choice; there only the
    right choices count for `scored_bytes`, and the set's loss is theirs.
    """

    name: str
    tokens: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    scored_from: NDArray[np.int64]
    documents: NDArray[np.int64]
    scored_bytes: int
    scored_tokens: int
    choices: Choices | None = None

    def __len__(self) -> int:
        """Return the number of excerpts."""
        return len(self.scored_from)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which scored tokens the set's loss is of, bool `[scored_tokens]`: all, or those of right choices."""
        lengths = np.diff(self.offsets) - self.scored_from
        return np.repeat(np.ones(len(self), np.bool_) if self.choices is None else self.choices.right, lengths)

    def accuracy(self, log_probabilities: NDArray[np.float32]) -> float:
        """Return the accuracy that log-probabilities of all scored tokens, in order, give a set of multiple choice."""
        assert self.choices is not None
        starts = np.cumsum(np.diff(self.offsets) - self.scored_from)[:-1]
        sums = np.add.reduceat(log_probabilities.astype(np.float64), np.concatenate([np.zeros(1, np.int64), starts]))
        return self.choices.accuracy(-sums)

    def save(self, path: Path) -> None:
        """Write the excerpts to one .npz file."""
        arrays: dict[str, NDArray[np.generic]] = {
            "tokens": self.tokens,
            "offsets": self.offsets,
            "scored_from": self.scored_from,
            "documents": self.documents,
            "scored_bytes": np.array(self.scored_bytes, dtype=np.int64),
        }
        if self.choices is not None:
            arrays |= {"choice_bytes": self.choices.bytes, "right": self.choices.right}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Excerpts":
        """Return the excerpts written by `save`; their name is the file's."""
        with np.load(path) as arrays:
            offsets, scored_from = arrays["offsets"], arrays["scored_from"]
            choices = None
            if "right" in arrays:
                choices = Choices(bytes=arrays["choice_bytes"], questions=arrays["documents"], right=arrays["right"])
            return cls(
                name=path.stem,
                tokens=arrays["tokens"],
                offsets=offsets,
                scored_from=scored_from,
                documents=arrays["documents"],
                scored_bytes=int(arrays["scored_bytes"]),
                scored_tokens=int((np.diff(offsets) - scored_from).sum()),
                choices=choices,
            )


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A document of an evaluation set as bytes or ids, with the prompt (not scored) at its start, if it has one.

    choice_bytes: of a question, the lengths of its choices, which follow the prompt; right: the place of the right one.
    """

    content: NDArray[np.unsignedinteger]
    prompt_bytes: int = 0
    choice_bytes: tuple[int, ...] = ()
    right: int = -1


def draw(
    name: str,
    passages: Iterable[Passage],
    tokenizer: Tokenizer,
    *,
    max_bytes: int,
    max_items: int,
    excerpt_tokens: int,
    rng: np.random.Generator,
) -> Excerpts:
    """Return excerpts of about `max_bytes` scored bytes in all, from as many of the `passages` as can be.

    A document is cut into windows of `excerpt_tokens`; first one window (drawn by `rng`) is taken of each document, in
    order, then another of each, until there is enough. A document with a prompt gives one excerpt: the answer, whole
    however long, after the end of the prompt. The prompt has what `excerpt_tokens` leave beside the answer, but at
    least half of them (if it is as long), so that no answer is scored without its question; such an excerpt is longer.
    A question of multiple choice gives an excerpt a choice, all with the same prompt, and `max_items` such are taken.
    """
    passages = iter(passages)
    first = next(passages, None)
    if first is not None and first.choice_bytes:
        questions = islice(chain([first], passages), max_items)
        asked = [p for i, each in enumerate(questions) for p in _choice_pieces(i, each, tokenizer, excerpt_tokens)]
        return _assemble(name, asked, tokenizer)
    passages = passages if first is None else chain([first], passages)
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
    right: bool | None = None


def _choice_pieces(index: int, passage: Passage, tokenizer: Tokenizer, excerpt_tokens: int) -> list[_Piece]:
    """Return a piece a choice; the prompt has what `excerpt_tokens` leave beside the longest, at least half of them."""
    bounds = np.cumsum([passage.prompt_bytes, *passage.choice_bytes])
    prompt = tokenizer.encode(passage.content[: passage.prompt_bytes])
    choices = [tokenizer.encode(passage.content[start:stop]) for start, stop in pairwise(bounds.tolist())]
    room = max(excerpt_tokens - max(map(len, choices)), excerpt_tokens // 2)
    prompt = prompt[max(0, len(prompt) - room) :]
    return [
        _Piece(
            rank=0,
            document=index,
            ids=np.concatenate([prompt, choice]),
            scored_from=len(prompt),
            scored_bytes=size,
            right=place == passage.right,
        )
        for place, (choice, size) in enumerate(zip(choices, passage.choice_bytes, strict=True))
    ]


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
    documents = np.array([piece.document for piece in pieces], dtype=np.int64)
    choices = None
    if pieces and pieces[0].right is not None:
        choices = Choices(
            bytes=np.array([piece.scored_bytes for piece in pieces], dtype=np.int64),
            questions=documents,
            right=np.array([bool(piece.right) for piece in pieces]),
        )
    return Excerpts(
        name=name,
        tokens=np.concatenate(ids).astype(tokenizer.dtype) if ids else np.empty(0, tokenizer.dtype),
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        scored_from=scored_from,
        documents=documents,
        scored_bytes=sum(piece.scored_bytes for piece in pieces if piece.right is not False),
        scored_tokens=int((lengths - scored_from).sum()),
        choices=choices,
    )
