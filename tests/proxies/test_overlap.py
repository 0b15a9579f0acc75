"""Overlap: what is found agrees with sets of word tuples."""

import re

import numpy as np
import pytest

from proxies.overlap import BLOCK, COMMON_DOCUMENTS, GRAM_TOKENS, GRAM_WORDS, Texts, find, grams


def texts(documents: list[str]) -> Texts:
    encoded = [document.encode() for document in documents]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    return Texts(content=np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets=offsets)


def random_documents(rng: np.random.Generator, count: int, words: int) -> list[str]:
    return [" ".join(f"w{i}" for i in rng.integers(0, 2, size=rng.integers(0, words))) for _ in range(count)]


def word_grams(document: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[^\W_]+", document.lower())
    return {tuple(words[i : i + GRAM_WORDS]) for i in range(len(words) - GRAM_WORDS + 1)}


def test_grams_are_as_many_as_tuples_of_words_document_by_document() -> None:
    documents = random_documents(np.random.default_rng(0), 60, 60)
    found = list(grams(texts(documents)))
    hashes, where = (np.concatenate(each) for each in zip(*found, strict=True))
    for index, document in enumerate(documents):
        assert len(set(hashes[where == index].tolist())) == len(word_grams(document))


def test_a_document_is_dropped_exactly_if_it_shares_a_gram_that_is_not_common() -> None:
    rng = np.random.default_rng(1)
    training, evaluation = random_documents(rng, 200, 40), random_documents(rng, 40, 40)
    counts: dict[tuple[str, ...], int] = {}
    for document in training:
        for gram in word_grams(document):
            counts[gram] = counts.get(gram, 0) + 1
    excerpts = [found for each in evaluation if (found := word_grams(each))]
    telling = {gram for found in excerpts for gram in found if counts.get(gram, 0) <= COMMON_DOCUMENTS}
    overlap = find({"a": texts(training)}, {"set": texts(evaluation)}, {})["a"]
    assert overlap.dropped.tolist() == [
        bool(held & telling) or any(2 * len(held & found) >= len(found) for found in excerpts)
        for held in map(word_grams, training)
    ]
    assert overlap.by_set == {"set": int(overlap.dropped.sum())}


def test_case_and_punctuation_hide_nothing() -> None:
    phrase = "one two three four five six seven eight nine ten eleven twelve thirteen"
    training = texts(["Zero. " + phrase.upper().replace(" ", ", ") + "!", "quite another text " * 5])
    assert find({"a": training}, {"set": texts([phrase])}, {})["a"].dropped.tolist() == [True, False]


def test_boilerplate_that_stands_in_many_documents_drops_none() -> None:
    phrase = " ".join(f"licence{i}" for i in range(20))
    training = [f"{phrase} and number {i} of its own words" for i in range(COMMON_DOCUMENTS + 1)]
    excerpt = phrase + " " + " ".join(f"own{i}" for i in range(40))
    assert not find({"a": texts(training)}, {"set": texts([excerpt])}, {})["a"].dropped.any()
    assert find({"a": texts(training[1:])}, {"set": texts([excerpt])}, {})["a"].dropped.all()


@pytest.mark.parametrize("block", [20, BLOCK])
def test_every_mirror_of_an_evaluated_page_is_dropped(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.overlap.BLOCK", block)
    page, other = (" ".join(f"{name}{i}" for i in range(60)) for name in ("page", "other"))
    licence = " ".join(f"licence{i}" for i in range(20))
    training = [f"mirror{i} of {page} at site{i}" for i in range(8)] + [f"{licence} and file{i}" for i in range(8)]
    evaluation = {"first": texts([f"{licence} {other}", other]), "second": texts([page])}
    overlap = find({"a": texts(training)}, evaluation, {})["a"]
    assert overlap.dropped.tolist() == [True] * 8 + [False] * 8
    assert overlap.by_set == {"second": 8}


def test_token_arrays_are_compared_by_runs_of_ids() -> None:
    rng = np.random.default_rng(2)
    secret = rng.integers(0, 60_000, GRAM_TOKENS).astype(np.uint16)
    leak = np.concatenate([rng.integers(0, 60_000, 30).astype(np.uint16), secret])
    clean = np.concatenate([secret[:-1], rng.integers(0, 60_000, 30).astype(np.uint16)])
    domain = Texts(
        content=np.concatenate([leak, clean]), offsets=np.array([0, len(leak), len(leak) + len(clean)]), are_tokens=True
    )
    ids = Texts(content=secret, offsets=np.array([0, len(secret)]), are_tokens=True)
    assert find({"a": domain}, {"set": texts([""])}, {"set": ids})["a"].dropped.tolist() == [True, False]
