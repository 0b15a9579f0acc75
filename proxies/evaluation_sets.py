"""Evaluation sets while a corpus is made: which documents each part has, and their excerpts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from proxies.corpus_config import EvaluationConfig
from proxies.errors import CorpusError
from proxies.excerpts import Excerpts, Passage, draw
from proxies.overlap import Texts
from proxies.spool import Spool
from proxies.tokenization import Tokenizer

Part = Literal["search", "proof"]
PARTS: tuple[Part, ...] = ("search", "proof")  # what the search looks at, and what only the proof does


@dataclass(frozen=True, kw_only=True)
class SetPart:
    """The documents (indices into their source) of one part of an evaluation set, in the order of their hashes."""

    source: Spool
    documents: NDArray[np.int64]

    def passages(self) -> Iterator[Passage]:
        """Yield the documents."""
        for index in self.documents.tolist():
            yield Passage(
                content=self.source.document(index),
                prompt_bytes=int(self.source.prompts[index]),
                choice_bytes=self.source.choices[index],
                right=int(self.source.right[index]),
            )


def split(
    evaluation: Sequence[EvaluationConfig], spools: Mapping[str, Spool], held_out: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, SetPart]]:
    """Return the documents of each part of each set: in the order of hashes, dealt so that both have as much text.

    A document that stands in several sets is in the same part of all. Small sets are dealt first, since they have the
    least choice.
    """
    candidates = {each.name: _candidates(each, spools, held_out) for each in evaluation}
    parts: dict[int, str] = {}
    found: dict[str, dict[str, SetPart]] = {}
    for name in sorted(candidates, key=lambda name: len(candidates[name][1])):
        found[name] = _deal(*candidates[name], parts)
        if empty := [part for part in PARTS if not len(found[name][part].documents)]:
            raise CorpusError(
                f"evaluation set {name!r} has nothing for its part {empty[0]!r}: all of its documents stand in other "
                "sets too, in the other part of these; give it a document of its own, or remove it"
            )
    return {each.name: found[each.name] for each in evaluation}


def _candidates(
    each: EvaluationConfig, spools: Mapping[str, Spool], held_out: Mapping[str, NDArray[np.bool_]]
) -> tuple[Spool, NDArray[np.int64]]:
    """Return where a set's documents are and which they are, in the order of their hashes."""
    source = spools[f"domain {each.domain!r}" if each.domain is not None else f"evaluation set {each.name!r}"]
    indices = np.flatnonzero(held_out[each.domain]) if each.domain is not None else np.arange(len(source))
    if len(indices) < len(PARTS):
        what = f"held-out documents of domain {each.domain!r}" if each.domain is not None else "documents"
        raise CorpusError(
            f"evaluation set {each.name!r} has {len(indices)} {what}, and each part (search, proof) needs one; "
            "give more documents, or hold out more"
        )
    return source, indices[np.argsort(source.hashes[indices])]


def _deal(source: Spool, documents: NDArray[np.int64], parts: dict[int, str]) -> dict[str, SetPart]:
    """Return the documents dealt, one by one, to the part that has less text so far.

    One whose hash is in `parts` has its part already; these come first, and `parts` learns the others.
    """
    dealt: dict[str, list[int]] = {part: [] for part in PARTS}
    amounts: dict[str, int] = dict.fromkeys(PARTS, 0)
    hashes = source.hashes.tolist()
    for index in sorted(documents.tolist(), key=lambda index: hashes[index] not in parts):
        part = parts.setdefault(hashes[index], min(PARTS, key=lambda each: amounts[each]))
        dealt[part].append(index)
        amounts[part] += len(source.document(index))
    return {
        part: SetPart(source=source, documents=np.array(sorted(each, key=hashes.__getitem__), dtype=np.int64))
        for part, each in dealt.items()
    }


def draw_sets(
    evaluation: Sequence[EvaluationConfig],
    parts: Mapping[str, Mapping[str, SetPart]],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    seed: int,
) -> dict[str, dict[str, Excerpts]]:
    """Return the excerpts of every part of every set, and write them to `folder`/part/set.npz."""
    found: dict[str, dict[str, Excerpts]] = {each.name: {} for each in evaluation}
    for each in evaluation:
        for part, half in parts[each.name].items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            excerpts = draw(
                each.name,
                half.passages(),
                tokenizer,
                max_bytes=each.max_bytes,
                max_items=each.max_items,
                excerpt_tokens=each.excerpt_tokens,
                rng=np.random.default_rng([seed, crc32(each.name.encode()), crc32(part.encode())]),
            )
            if not len(excerpts):
                raise CorpusError(
                    f"evaluation set {each.name!r} has nothing to score in its part {part!r}; give longer documents"
                )
            excerpts.save(folder / part / f"{each.name}.npz")
            found[each.name][part] = excerpts
    return found


def keep_sets(evaluation: Sequence[EvaluationConfig], folder: Path, *, root: Path) -> dict[str, dict[str, Excerpts]]:
    """Return the excerpts of sets that are kept from corpora prepared before, copied into the corpus in `folder`."""
    found: dict[str, dict[str, Excerpts]] = {}
    for each in evaluation:
        for part in PARTS:
            assert each.kept is not None
            path = Path("evaluation") / part / f"{each.name}.npz"
            try:
                excerpts = Excerpts.load(root / each.kept / path)
            except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
                raise CorpusError(
                    f"evaluation set {each.name!r} is kept from {each.kept!r}, which has no such set ({error}); give "
                    "the folder of the corpus that it was first drawn for"
                ) from error
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            excerpts.save(folder / path)
            found.setdefault(each.name, {})[part] = excerpts
    return found


def as_ids(halves: Mapping[str, Excerpts]) -> Texts:
    """Return the excerpts of both parts of a set as ids, to look for in token arrays."""
    ids = [each.tokens[start:stop] for each in halves.values() for start, stop in _ranges(each)]
    return Texts(content=np.concatenate(ids), offsets=_offsets([len(each) for each in ids]), are_tokens=True)


def as_words(halves: Mapping[str, Excerpts], tokenizer: Tokenizer) -> Texts:
    """Return the text of the excerpts of both parts of a set, to look for in text."""
    texts = [tokenizer.decode(each.tokens[start:stop]) for each in halves.values() for start, stop in _ranges(each)]
    content = np.frombuffer(b"".join(texts), dtype=np.uint8)
    return Texts(content=content, offsets=_offsets([len(text) for text in texts]))


def _ranges(excerpts: Excerpts) -> list[tuple[int, int]]:
    bounds = excerpts.offsets.tolist()
    return list(pairwise(bounds))


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(lengths, dtype=np.int64))])
