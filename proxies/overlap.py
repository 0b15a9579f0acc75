"""Training documents that contain evaluation text, by the 13-grams of words that they share.

The usual practice since GPT-3: words split at white space, case and punctuation ignored, and a 13-gram that stands in
many training documents is no leak but boilerplate (licence headers, turns of phrase), so it is ignored. Here a document
that shares any other 13-gram is dropped whole, not cut, and the text compared is what a proxy is scored on, in both
parts. A document that holds half of an excerpt's grams is dropped however common these are: it is a copy of the page
that the excerpt is from, and there are many. Token arrays are compared by 50 tokens, since a token is less than a word.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRAM_WORDS = 13
GRAM_TOKENS = 50
COMMON_DOCUMENTS = 5  # a gram in more training documents is boilerplate (seen in licences and templates; a choice)
COPIED_SHARE = 0.5  # of an excerpt's grams: a document that holds so much of it is a copy; a choice
BLOCK = 1 << 22  # bytes or tokens looked at together: bounds memory (about 40 times this)
FILTER_BITS = 22  # of a table that most grams fail at once

_SEPARATORS = bytes(code for code in range(128) if not chr(code).isalnum())
_FOLD = bytes(32 if code in _SEPARATORS else ord(chr(code).lower()) if code < 128 else code for code in range(256))
_RANDOM = np.random.default_rng(13)  # fixed: the hashes are never stored
_VALUES = _RANDOM.integers(1, 1 << 63, size=256, dtype=np.uint64)
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that its powers have inverses modulo 2**64
_STEP = np.uint64(0xC2B2AE3D27D4EB4F)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Documents one after another: utf-8 bytes, or token ids if `are_tokens`; offsets: int64 `[documents + 1]`.

    counted: bool `[documents]`, which ones take part (None: all).
    """

    content: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    are_tokens: bool = False
    counted: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Which documents of a domain to drop, and how many of these each evaluation set accounts for."""

    dropped: NDArray[np.bool_]
    by_set: Mapping[str, int]


def find(
    domains: Mapping[str, Texts], evaluation: Mapping[str, Texts], tokens: Mapping[str, Texts]
) -> dict[str, Overlap]:
    """Return what every domain shares with the sets: `evaluation` as text, `tokens` as ids (for domains of ids)."""
    by_words, by_tokens = _Index(evaluation), _Index(tokens)
    indices = {name: by_tokens if texts.are_tokens else by_words for name, texts in domains.items()}
    hits = {name: indices[name].hits(texts) for name, texts in domains.items()}
    common = _common(list(hits.values()))
    sets = list(evaluation)
    found = {}
    for name, texts in domains.items():
        telling = ~np.isin(hits[name].grams, common)
        telling |= indices[name].copied(hits[name], telling)
        found[name] = _overlap(hits[name], telling, len(texts.offsets) - 1, sets)
    return found


def grams(texts: Texts) -> Iterator[tuple[Hashes, NDArray[np.int64]]]:
    """Yield hashes of all grams, and the document that each is in, block by block; no gram spans two documents."""
    start, last = 0, len(texts.offsets) - 1
    while start < last:
        stop = int(np.searchsorted(texts.offsets, texts.offsets[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), last)
        offsets = texts.offsets[start : stop + 1]
        hashes, documents = _units(texts, offsets)
        yield _windows(hashes, documents + start, GRAM_TOKENS if texts.are_tokens else GRAM_WORDS)
        start = stop


def _units(texts: Texts, offsets: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Return a hash of every word (or token) and the document, counted within the block, that it is in."""
    content = texts.content[offsets[0] : offsets[-1]]
    within = offsets - offsets[0]
    if texts.are_tokens:
        return _mix(content.astype(np.uint64)), np.repeat(np.arange(len(within) - 1), np.diff(within))
    folded = np.frombuffer(content.tobytes().translate(_FOLD), dtype=np.uint8)
    inside = folded != 32
    starts_word = inside.copy()
    starts_word[1:] &= ~inside[:-1]
    starts_word[within[:-1][np.diff(within) > 0]] |= inside[within[:-1][np.diff(within) > 0]]
    starts = np.flatnonzero(starts_word)
    if not len(starts):
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    powers = _powers(len(folded))
    values = np.where(inside, _VALUES[folded], np.uint64(0)) * powers
    sums = np.add.reduceat(values, starts)  # blanks after a word count nothing
    return _mix(sums * _inverse_powers(len(folded))[starts]), np.searchsorted(within, starts, side="right") - 1


def _windows(units: Hashes, documents: NDArray[np.int64], width: int) -> tuple[Hashes, NDArray[np.int64]]:
    count = len(units) - width + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    total = np.zeros(count, dtype=np.uint64)
    for index in range(width):
        total *= _STEP
        total += units[index : index + count]
    whole = documents[:count] == documents[width - 1 :]
    return _mix(total[whole]), documents[:count][whole]


class _Index:
    """The grams of the evaluation sets, which set each is (first) in, and which excerpts each stands in."""

    def __init__(self, sets: Mapping[str, Texts]) -> None:
        joined = [_joined(texts) for texts in sets.values()]
        counts = [len(texts.offsets) - 1 for texts in sets.values()]
        firsts = np.cumsum([0, *counts])
        everything = np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in joined)])
        owners = np.repeat(np.arange(len(joined)), [len(hashes) for hashes, _ in joined])
        self._grams, first, places = np.unique(everything, return_index=True, return_inverse=True)
        self._owners = owners[first]
        excerpts = [where + first for (_, where), first in zip(joined, firsts[:-1].tolist(), strict=True)]
        pairs = _pairs(places, np.concatenate([np.empty(0, np.int64), *excerpts]))
        self._excerpts = pairs[:, 1]
        self._starts = np.searchsorted(pairs[:, 0], np.arange(len(self._grams) + 1))
        self._sizes = np.bincount(self._excerpts, minlength=int(firsts[-1]))
        self._filter = np.zeros(1 << FILTER_BITS, dtype=np.bool_)
        self._filter[self._grams >> np.uint64(64 - FILTER_BITS)] = True

    def hits(self, texts: Texts) -> "_Hits":
        """Return the grams of `texts` that are in a set: each once a document."""
        found = [self._look_up(hashes, documents) for hashes, documents in grams(texts)]
        pairs = np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)
        if texts.counted is not None:
            pairs = pairs[texts.counted[pairs[:, 1]]]
        places, documents = pairs[:, 0], pairs[:, 1]
        return _Hits(places=places, grams=self._grams[places], owners=self._owners[places], documents=documents)

    def copied(self, hits: "_Hits", telling: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which hits are of an excerpt that their document holds `COPIED_SHARE` of.

        Only documents without a `telling` hit are looked at: the others are dropped as it is.
        """
        found = np.zeros(len(hits.documents), dtype=np.bool_)
        if not len(found):
            return found
        told = np.zeros(int(hits.documents.max()) + 1, dtype=np.bool_)
        told[hits.documents[telling]] = True
        counts = np.bincount(hits.documents)
        enough = counts >= COPIED_SHARE * self._sizes[self._sizes > 0].min()
        open_hits = np.flatnonzero((enough & ~told)[hits.documents])
        open_hits = open_hits[np.argsort(hits.documents[open_hits], kind="stable")]
        widths = np.diff(self._starts)[hits.places[open_hits]]
        reach = np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])
        bounds = np.flatnonzero(np.diff(hits.documents[open_hits], prepend=-1, append=-1))
        start = 0
        while start < len(bounds) - 1:  # some documents at a time: a gram of many documents may be of many excerpts
            stop = int(np.searchsorted(reach[bounds], reach[bounds[start]] + BLOCK, side="right")) - 1
            stop = min(max(stop, start + 1), len(bounds) - 1)
            block = slice(int(bounds[start]), int(bounds[stop]))
            found[open_hits[block]] = self._of_copies(hits, open_hits[block], widths[block])
            start = stop
        return found

    def _of_copies(self, hits: "_Hits", chosen: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the `chosen` hits (all of some documents) are of an excerpt that their document copies."""
        which = np.repeat(np.arange(len(chosen)), widths)
        within = np.arange(len(which)) - np.repeat(np.cumsum(widths) - widths, widths)
        excerpts = self._excerpts[self._starts[hits.places[chosen]][which] + within]
        keys = hits.documents[chosen][which] * len(self._sizes) + excerpts
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        copies = counts[inverse] >= COPIED_SHARE * self._sizes[excerpts]
        found: NDArray[np.bool_] = np.bincount(which[copies], minlength=len(chosen)) > 0
        return found

    def _look_up(self, hashes: Hashes, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self._grams):
            return np.empty((0, 2), np.int64)
        likely = np.flatnonzero(self._filter[hashes >> np.uint64(64 - FILTER_BITS)])
        places = np.searchsorted(self._grams, hashes[likely]).clip(max=len(self._grams) - 1)
        sure = self._grams[places] == hashes[likely]
        return np.stack([places[sure], documents[likely[sure]]], axis=1)


@dataclass(frozen=True, kw_only=True)
class _Hits:
    places: NDArray[np.int64]
    grams: Hashes
    owners: NDArray[np.int64]
    documents: NDArray[np.int64]


def _common(hits: list[_Hits]) -> Hashes:
    everything = np.concatenate([np.empty(0, np.uint64), *(each.grams for each in hits)])
    found, counts = np.unique(everything, return_counts=True)
    return found[counts > COMMON_DOCUMENTS]


def _overlap(hits: _Hits, telling: NDArray[np.bool_], documents: int, sets: list[str]) -> Overlap:
    dropped = np.zeros(documents, dtype=np.bool_)
    dropped[hits.documents[telling]] = True
    pairs = _pairs(hits.owners[telling], hits.documents[telling])
    counts = np.bincount(pairs[:, 0], minlength=len(sets))
    return Overlap(
        dropped=dropped, by_set={name: int(count) for name, count in zip(sets, counts, strict=True) if count}
    )


def _joined(texts: Texts) -> tuple[Hashes, NDArray[np.int64]]:
    found = list(grams(texts))
    hashes = np.concatenate([np.empty(0, np.uint64), *(each for each, _ in found)])
    return hashes, np.concatenate([np.empty(0, np.int64), *(each for _, each in found)])


def _pairs(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct pairs, sorted."""
    return np.unique(np.stack([left, right], axis=1), axis=0)


def _mix(hashes: Hashes) -> Hashes:
    """Return the hashes with every bit depending on every other (the finalizer of splitmix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _powers(count: int) -> Hashes:
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count, _BASE)]), dtype=np.uint64)[:count]


def _inverse_powers(count: int) -> Hashes:
    inverse = np.uint64(pow(int(_BASE), -1, 1 << 64))
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count, inverse)]), dtype=np.uint64)[:count]
