"""The corpus: tokens are the text, nothing evaluated is trained on, and preparing again costs nothing."""

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from proxies.corpus import Corpus, CorpusConfig, DomainTokens, open_corpus, prepare
from proxies.errors import CorpusError, SourceError
from proxies.evaluation_sets import PARTS


def write_domain(root: Path, name: str, *, documents: int = 60, seed: int = 0) -> list[str]:
    """Write documents of random words, so that no two share a phrase."""
    rng = np.random.default_rng([seed, *name.encode()])
    texts = [" ".join(f"{name}{i}" for i in rng.integers(0, 100_000, size=60)) for _ in range(documents)]
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return texts


def plain(*names: str, **extra: object) -> dict[str, object]:
    return {
        "tokenizer": {"kind": "bytes"},
        "domains": [{"name": name, "source": {"kind": "files", "paths": f"{name}.jsonl"}} for name in names],
        "evaluation": [{"name": name, "domain": name, "max_bytes": 1_024, "excerpt_tokens": 64} for name in names],
        **extra,
    }


def make(root: Path, config: dict[str, object]) -> Corpus:
    return prepare(CorpusConfig.from_plain(config, root=root), root / "corpora")


def documents(domain: DomainTokens) -> list[str]:
    bounds = domain.offsets.tolist()
    return [bytes(domain.tokens[a : b - 1]).decode() for a, b in pairwise(bounds)]


def test_training_documents_are_those_written_less_the_held_out_ones(tmp_path: Path) -> None:
    texts = write_domain(tmp_path, "a")
    corpus = make(tmp_path, plain("a"))
    kept = documents(corpus.domains["a"])
    assert set(kept) < set(texts)
    assert len(kept) + corpus.manifest.domains["a"].held_out_documents == len(texts)
    assert kept != [text for text in texts if text in kept]  # shuffled
    assert (np.asarray(corpus.domains["a"].tokens)[corpus.domains["a"].offsets[1:] - 1] == 0).all()


def test_a_domain_of_one_document_is_trained_on_whatever_its_hash(tmp_path: Path) -> None:
    names = [f"d{k}" for k in range(30)]  # of which a few have a hash so low that it is held out
    for name in names:
        words = write_domain(tmp_path, name, documents=40)
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": " ".join(words)}) + "\n")
    write_domain(tmp_path, "a")
    config = plain(*names, "a")
    config["evaluation"] = [{"name": "a", "domain": "a", "max_bytes": 1_024, "excerpt_tokens": 64}]
    found = make(tmp_path, config).manifest.domains
    assert [found[name].held_out_documents for name in names] == [0] * len(names)


def test_excerpts_come_from_held_out_documents_and_the_parts_share_none(tmp_path: Path) -> None:
    texts = write_domain(tmp_path, "a")
    corpus = make(tmp_path, plain("a"))
    held_out = set(texts) - set(documents(corpus.domains["a"]))
    origins = []
    for part in ("search", "proof"):
        each = corpus.evaluation(part)["a"]
        found = [bytes(each.tokens[a:b]).decode() for a, b in pairwise(each.offsets)]
        origins.append({text for text in held_out for excerpt in found if excerpt in text})
        assert all(any(excerpt in text for text in held_out) for excerpt in found)
        assert each.scored_bytes == each.scored_tokens == sum(map(len, found)) <= 1_024
        assert max(map(len, found)) <= 64
    assert not origins[0] & origins[1]


def test_an_opened_corpus_is_the_prepared_one(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    corpus = make(tmp_path, plain("a"))
    opened = open_corpus(corpus.folder)
    assert opened.digest == corpus.digest
    assert (opened.domains["a"].tokens == corpus.domains["a"].tokens).all()
    assert (opened.vocabulary, opened.end_of_document) == (256, 0)
    with pytest.raises(CorpusError, match="no prepared corpus"):
        open_corpus(tmp_path)


def test_preparing_again_costs_nothing_and_a_changed_source_is_said(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    config = CorpusConfig.from_plain(plain("a"), root=tmp_path)
    said: list[str] = []
    first = prepare(config, tmp_path / "corpora")
    started = time.perf_counter()
    again = prepare(config, tmp_path / "corpora", report=said.append)
    assert time.perf_counter() - started < 0.2
    assert (again.folder, said) == (first.folder, [])
    write_domain(tmp_path, "a", seed=1)
    changed = prepare(config, tmp_path / "corpora", report=said.append)
    assert said[0] == "changed since the corpus was prepared: domain 'a'; preparing it again"
    assert changed.folder != first.folder
    assert changed.digest != first.digest
    assert open_corpus(first.folder).digest == first.digest


def test_a_touched_file_with_the_same_text_gives_the_same_corpus(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    first = make(tmp_path, plain("a"))
    (tmp_path / "a.jsonl").touch()
    assert make(tmp_path, plain("a")).folder == first.folder
    assert make(tmp_path, plain("a", seed=1)).digest != first.digest


def test_a_failed_preparation_leaves_nothing(tmp_path: Path) -> None:
    write_domain(tmp_path, "a", documents=8)
    config = plain("a", evaluation=[])
    (tmp_path / "a.jsonl").write_text('{"text": "short"}\n{"text": "shorter"}\n')
    with pytest.raises(CorpusError, match=r"domain 'a' has \d+ tokens to train on and needs 2048"):
        make(tmp_path, config)
    assert list((tmp_path / "corpora").iterdir()) == []


def test_equal_documents_are_kept_once_and_never_trained_on_when_evaluated(tmp_path: Path) -> None:
    texts = write_domain(tmp_path, "a")
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(json.dumps({"text": texts[0]}) + "\n")
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[1:5]))
    own = {"name": "own", "source": {"kind": "files", "paths": "own.jsonl"}}
    corpus = make(tmp_path, plain("a", evaluation=[own]))
    kept = documents(corpus.domains["a"])
    assert len(kept) == len(set(kept))
    assert not set(kept) & set(texts[1:5])


def test_training_documents_that_quote_evaluation_text_are_dropped_and_counted(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    own = write_domain(tmp_path, "own", documents=4)
    with (tmp_path / "a.jsonl").open("a") as file:
        for index in range(40):  # most of them are not held out
            file.write(
                json.dumps({"text": f"quote {index}: {own[index % 4]}" if index < 4 else f"clean {index}"}) + "\n"
            )
    evaluation = [{"name": "own", "source": {"kind": "files", "paths": "own.jsonl"}}]
    corpus = make(tmp_path, plain("a", evaluation=evaluation))
    record = corpus.manifest.domains["a"]
    assert record.overlapping_documents == record.overlap_by_set["own"] > 0
    assert not [text for text in documents(corpus.domains["a"]) if text.startswith("quote")]


def test_a_domain_that_overlap_empties_is_an_error_with_both_names(tmp_path: Path) -> None:
    own = write_domain(tmp_path, "own", documents=30)
    lines = [json.dumps({"text": f"{index} {text}"}) + "\n" for index, text in enumerate(own)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    evaluation = [{"name": "own", "source": {"kind": "files", "paths": "own.jsonl"}}]
    with pytest.raises(CorpusError, match=r"domain 'a' has \d+ tokens left of the 2048 .* evaluation set 'own'"):
        make(tmp_path, plain("a", evaluation=evaluation))


def test_of_prompts_and_answers_only_the_answer_is_scored(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    pairs = [{"q": f"what is {i} plus {i}?" + "!" * 60 * (i == 3), "a": f" it is {2 * i}"} for i in range(8)]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    source = {"kind": "files", "paths": "qa.jsonl", "prompt": "q", "answer": "a"}
    corpus = make(tmp_path, plain("a", evaluation=[{"name": "qa", "source": source, "excerpt_tokens": 48}]))
    scored: list[str] = []
    for each in (corpus.evaluation("search")["qa"], corpus.evaluation("proof")["qa"]):
        ranges = zip(each.offsets[:-1], each.offsets[1:], each.scored_from, strict=True)
        answers = [bytes(each.tokens[start + first : stop]).decode() for start, stop, first in ranges]
        assert np.diff(each.offsets).max() <= 48
        assert each.scored_bytes == sum(map(len, answers))
        scored += answers
    assert sorted(scored) == sorted(pair["a"] for pair in pairs)


def test_a_long_answer_is_scored_whole_and_leaves_half_an_excerpt_to_its_prompt(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    pairs = [{"q": f"{i}:" + "?" * 100, "a": f"{i}" * 80} for i in range(4)]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    source = {"kind": "files", "paths": "qa.jsonl", "prompt": "q", "answer": "a"}
    corpus = make(tmp_path, plain("a", evaluation=[{"name": "qa", "source": source, "excerpt_tokens": 64}]))
    each = corpus.evaluation("search")["qa"]
    found = [bytes(each.tokens[start:stop]).decode() for start, stop in pairwise(each.offsets.tolist())]
    assert each.scored_from.tolist() == [32] * len(found)
    assert {text[32:] for text in found} <= {pair["a"] for pair in pairs}
    assert {text[:32] for text in found} == {"?" * 32}


def test_a_document_of_two_sets_is_in_the_same_part_of_both(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    own = write_domain(tmp_path, "own", documents=12)
    sets = {"all": own, "few": own[:3], "some": own[2:9]}
    for name, texts in sets.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    evaluation = [
        {"name": name, "source": {"kind": "files", "paths": f"{name}.jsonl"}, "excerpt_tokens": 1_000} for name in sets
    ]
    corpus = make(tmp_path, plain("a", evaluation=evaluation))
    texts = {
        part: {
            bytes(each.tokens[start:stop]).decode()
            for each in corpus.evaluation(part).values()
            for start, stop in pairwise(each.offsets.tolist())
        }
        for part in PARTS
    }
    assert not texts["search"] & texts["proof"]
    assert texts["search"] | texts["proof"] == set(own)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CorpusError, match=r"cannot be written to .* name another one"):
        prepare(CorpusConfig.from_plain(plain("a"), root=tmp_path), tmp_path / "file" / "corpora")


@pytest.mark.parametrize(
    "pattern", ["manifest.json", "domains/a.tokens", "domains/a.offsets.npy", "evaluation/*/a.npz"]
)
@pytest.mark.parametrize("content", [b"", b"{"])
def test_a_broken_corpus_is_said(tmp_path: Path, pattern: str, content: bytes) -> None:
    write_domain(tmp_path, "a")
    folder = make(tmp_path, plain("a")).folder
    for path in folder.glob(pattern):
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"is broken \(.*delete the folder"):
        open_corpus(folder).evaluation("search")


def test_heads_are_whole_documents_and_nested(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    domain = make(tmp_path, plain("a")).domains["a"]
    small, large = domain.head(3_000), domain.head(9_000)
    assert small.tokens_count <= 3_000 < domain.offsets[len(small.offsets)]
    assert documents(large)[: len(documents(small))] == documents(small)
    assert domain.head(10**9).tokens_count == domain.tokens_count
    assert domain.head(1).tokens_count == 0


def test_stated_available_tokens_stand_in_for_what_is_read(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    config = plain("a", evaluation=[])
    assert make(tmp_path, config).domains["a"].available_tokens == make(tmp_path, config).domains["a"].tokens_count
    config["domains"] = [{"name": "a", "source": {"kind": "files", "paths": "a.jsonl"}, "available_tokens": 10**9}]
    assert make(tmp_path, config).domains["a"].available_tokens == 10**9


def test_a_trained_vocabulary_holds_the_text_and_counts_bytes(tmp_path: Path) -> None:
    write_domain(tmp_path, "a")
    corpus = make(tmp_path, {**plain("a"), "tokenizer": {"kind": "bpe", "vocabulary": 400}})
    domain, record = corpus.domains["a"], corpus.manifest.domains["a"]
    assert domain.tokens.dtype == np.uint16
    assert record.bytes == make(tmp_path, plain("a")).manifest.domains["a"].bytes
    assert all(each.scored_bytes > each.scored_tokens for each in corpus.evaluation("proof").values())
    again = {**plain("a"), "tokenizer": {"kind": "file", "path": str(corpus.folder / "tokenizer.json")}}
    assert (np.asarray(make(tmp_path, again).domains["a"].tokens) == np.asarray(domain.tokens)).all()


def test_token_arrays_need_the_tokenizer_of_the_corpus(tmp_path: Path) -> None:
    texts = write_domain(tmp_path, "a")
    np.save(tmp_path / "b.npy", np.frombuffer("\0".join(texts[::-1]).encode(), dtype=np.uint8))
    source = {"kind": "tokens", "paths": "b.npy", "end_of_document": 0}
    config = plain("a")
    config["domains"] = [{"name": "a", "source": {**source, "tokenizer": "bytes"}}]
    assert set(documents(make(tmp_path, config).domains["a"])) < set(texts)
    config["domains"] = [{"name": "a", "source": {**source, "vocabulary": 256}}]
    with pytest.raises(CorpusError, match="ids of another tokenizer"):
        make(tmp_path, config)
    config["tokenizer"] = {"kind": "ids", "vocabulary": 256, "end_of_document": 0, "bytes_per_token": 2.0}
    corpus = make(tmp_path, config)
    assert corpus.evaluation("search")["a"].scored_bytes == 2 * corpus.evaluation("search")["a"].scored_tokens


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluation": [{"name": "x", "domain": "b"}]}, r"set 'x' names the unknown domain 'b'; known: \['a'\]"),
        ({"evaluation": [{"name": "x"}]}, "give exactly one"),
        ({"evaluation": [{"name": "x", "domain": "a", "bytes": 3}]}, r"set 'x' has unknown keys \['bytes'\]"),
        ({"domains": []}, "no domains"),
        ({"domains": [{"name": "a/b", "source": {"kind": "files", "paths": "x"}}]}, "name 'a/b'"),
        ({"domains": [{"name": "a"}]}, r"domain 'a' lacks \['source'\]"),
        ({"domains": ["a"]}, r"domains is \['a'\]; give a list of mappings"),
        ({"domains": None}, "domains is None; give a list"),
        ({"domains": [{"name": 3, "source": {}}]}, "domain 3: name is 3; give text"),
        ({"domains": [{"name": "a", "source": "a.txt"}]}, "domain 'a': source is 'a.txt'; give a mapping"),
        ({"domains": [{"name": "a", "source": {}, "held_out": "some"}]}, "held_out is 'some'; give a number"),
        ({"evaluation": [{"name": "x", "domain": "a", "max_bytes": None}]}, "'x': max_bytes is empty; give a whole"),
        ({"tokenizer": "bytes"}, "tokenizer is 'bytes'; give a mapping"),
        ({"tokenizer": {"kind": "file", "path": None}}, "path is empty; give text"),
        ({"seed": "one"}, "seed is 'one'; give a whole number"),
        ({"tokens": 3}, r"corpus has unknown keys \['tokens'\]"),
        ({"tokenizer": {"kind": "file", "path": "none.json"}}, "does not exist"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_domain(tmp_path, "a")
    with pytest.raises(CorpusError, match=message):
        make(tmp_path, {**plain("a"), **change})


def test_a_missing_file_an_empty_domain_and_too_few_documents_are_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"domain 'a': no file matches 'a\.jsonl'"):
        make(tmp_path, plain("a"))
    (tmp_path / "a.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(CorpusError, match="domain 'a' is empty"):
        make(tmp_path, plain("a"))
    (tmp_path / "a.jsonl").write_text('{"text": "some words"}\n')
    with pytest.raises(CorpusError, match=r"evaluation set 'a' has \d held-out documents of domain 'a'"):
        make(tmp_path, plain("a"))


def test_importing_the_corpus_loads_neither_torch_nor_datasets() -> None:
    code = (
        "import sys, proxies.corpus; print([m for m in ('torch', 'datasets', 'pyarrow', 'fsspec') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"


def test_installed_text_makes_a_corpus(tmp_path: Path) -> None:
    source = {"kind": "installed", "section": "docs", "sample": 200}
    config = {
        "domains": [{"name": "docs", "source": source}],
        "evaluation": [{"name": "reference", "source": {"kind": "installed", "section": "reference"}}],
    }
    corpus = make(tmp_path, config)
    assert corpus.domains["docs"].available_tokens > corpus.domains["docs"].tokens_count
    assert corpus.evaluation("proof")["reference"].scored_bytes > 30_000
