"""Multiple choice: read as written, marked by the loss a byte of the choices alone, refused where it is none."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxies.config import ProxyConfig, trial_flops
from proxies.corpus import Corpus, CorpusConfig, prepare
from proxies.documents import Question
from proxies.errors import CorpusError, SourceError
from proxies.evaluate import bits_per_byte, evaluation_tokens
from proxies.excerpts import Excerpts
from proxies.measuring import measure
from proxies.questions import Choices
from proxies.sources import open_source
from proxies.train import build, train

TINY = ProxyConfig(layers=1, width=16, heads=1, sequence_tokens=32, batch_sequences=4, lags=3, learning_rate=0.02)
LETTERS, CHOICES = "abcdefghijkl", 4
KEYS = {"prompt": "q", "choices": "options", "answer": "right"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A domain that says of every letter which digit belongs to it, and questions on that."""
    root, rng = tmp_path_factory.mktemp("letters"), np.random.default_rng(0)
    digits = {letter: int(rng.integers(10)) for letter in LETTERS}
    for number in range(60):
        order = rng.choice(list(LETTERS), 60)
        (root / f"{number}.txt").write_text("".join(f"{letter}={digits[letter]};" for letter in order))
    rows = []
    for letter, digit in digits.items():
        wrong = rng.permutation([d for d in range(10) if d != digit])[: CHOICES - 1].tolist()
        right = int(rng.integers(CHOICES))
        texts = [f"{d};" for d in [*wrong[:right], digit, *wrong[right:]]]
        rows.append({"q": f"{letter}=", "options": texts, "right": right})
    (root / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = {
        "domains": [{"name": "facts", "source": {"kind": "files", "paths": "*.txt"}}],
        "evaluation": [
            {"name": "facts", "domain": "facts", "max_bytes": 512},
            {"name": "quiz", "source": {"kind": "files", "paths": "quiz.jsonl", **KEYS}},
        ],
    }
    return prepare(CorpusConfig.from_plain(plain, root=root), root / "corpora")


def test_a_model_that_has_memorised_answers_all_and_is_charged_for_every_choice(corpus: Corpus, tmp_path: Path) -> None:
    found = train(TINY, corpus, [(1.0, {"facts": 1.0})], tokens=20_000, seed=0, gold=tmp_path)
    quiz = corpus.evaluation("search")["quiz"]
    assert quiz.choices is not None
    assert (found.accuracies, found.items) == ({"quiz": 1.0}, {"quiz": quiz.choices.items})
    assert found.losses["quiz"] < 0.5
    read = sum(evaluation_tokens(each, sequence_tokens=32) for each in corpus.evaluation("search").values())
    assert found.flops == trial_flops(TINY, tokens=found.tokens, vocabulary=256, evaluation_tokens=read)
    gold = np.load(tmp_path / "quiz.npy")
    assert len(gold) == 2 * quiz.choices.items  # the right choices alone: a digit and a semicolon each
    assert bits_per_byte(gold, quiz.scored_bytes) == found.losses["quiz"]


def test_an_untrained_model_that_finds_all_alike_is_at_chance(corpus: Corpus) -> None:
    model = build(TINY, vocabulary=256, end_of_document=corpus.end_of_document, seed=0)
    found = measure(model, corpus, part="proof", gold=None)
    assert found.accuracies["quiz"] == pytest.approx(1 / CHOICES)
    assert found.losses["quiz"] == pytest.approx(8.0)


def test_both_parts_have_questions_of_their_own_and_come_back_from_their_files(corpus: Corpus) -> None:
    prompts: list[bytes] = []
    for part in ("search", "proof"):
        quiz = corpus.evaluation("search" if part == "search" else "proof")["quiz"]
        assert quiz.choices is not None
        record = corpus.manifest.evaluation["quiz"][part]
        assert record.items == quiz.choices.items == len(quiz) / CHOICES
        prompts += {bytes(quiz.tokens[start : start + 2]) for start in quiz.offsets[:-1]}
    assert sorted(prompts) == [f"{letter}=".encode() for letter in LETTERS]


def test_the_lowest_loss_a_byte_wins_and_a_tie_is_shared() -> None:
    choices = Choices(
        bytes=np.array([1, 2, 1, 1, 3, 3, 3]),
        questions=np.array([4, 4, 6, 6, 9, 9, 9]),
        right=np.array([False, True, True, False, False, True, False]),
    )
    # Right by bytes though not by sum; wrong; one of two that are lowest.
    assert choices.accuracy(np.array([2.0, 3.0, 5.0, 4.0, 6.0, 6.0, 9.0])) == pytest.approx((1 + 0 + 0.5) / 3)


def test_only_choices_are_scored_and_all_follow_the_same_end_of_a_long_prompt(corpus: Corpus, tmp_path: Path) -> None:
    row = {"q": "?" * 50 + "!", "options": ["a" * 4, "b" * 10], "right": 1}
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row | {"q": f"{i}{row['q']}"}) + "\n" for i in range(2)))
    plain = dict(corpus.manifest.config) | {
        "domains": [{"name": "facts", "source": {"kind": "files", "paths": "facts.txt"}, "held_out": 0.0}],
        "evaluation": [{"name": "long", "excerpt_tokens": 24, "source": source(tmp_path, "long.jsonl")}],
    }
    (tmp_path / "facts.txt").write_text("some other text. " * 400)
    each = prepare(CorpusConfig.from_plain(plain, root=tmp_path), tmp_path / "corpora").evaluation("search")["long"]
    found = [bytes(each.tokens[a:b]) for a, b in zip(each.offsets[:-1], each.offsets[1:], strict=True)]
    assert found == [b"?" * 13 + b"!" + b"a" * 4, b"?" * 13 + b"!" + b"b" * 10]
    assert each.scored_from.tolist() == [14, 14]
    assert (each.scored_bytes, each.scored_tokens, int(each.counted.sum())) == (10, 14, 10)


def source(root: Path, name: str) -> dict[str, object]:
    return {"kind": "files", "paths": str(root / name), **KEYS}


def questions(root: Path, *rows: object) -> list[Question]:
    (root / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(open_source(source(root, "quiz.jsonl"), root=root, where="evaluation set 'quiz'").documents())
    assert all(isinstance(each, Question) for each in found)
    return [each for each in found if isinstance(each, Question)]


@pytest.mark.parametrize(
    ("options", "right", "place"),
    [
        (["x", "y", "z"], 2, 2),
        (["x", "y", "z"], "1", 1),
        (["x", "y", "z"], "z", 2),
        (["x", "y", "z"], "B", 1),
        (["3", "1", "2"], "1", 1),
        ({"text": ["x", "y"], "label": ["1", "2"]}, "1", 0),
    ],
)
def test_the_answer_is_a_place_a_text_a_label_or_a_letter(
    tmp_path: Path, options: object, right: object, place: int
) -> None:
    assert questions(tmp_path, {"q": "?", "options": options, "right": right})[0].right == place


GOOD = {"q": "?", "options": ["x", "y"], "right": 0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD | {"options": ["x"]}, "has 1 choices in 'options'; give two or more"),
        (GOOD | {"right": 2}, "has the answer 2 to 2 choices; give the place of the right one, 0 to 1"),
        (GOOD | {"right": -1}, "has the answer -1"),
        (GOOD | {"right": "w"}, "has the answer 'w'"),
        (GOOD | {"right": True}, "has the answer True"),
        ({"q": "?", "options": ["x", "y"]}, r"has nothing in 'right'; its fields: \['options', 'q'\]"),
        (GOOD | {"options": ["x", " "]}, "has an empty choice in 'options', number 1"),
        (GOOD | {"options": "xy"}, "has 'xy' in 'options'; give a list of texts"),
        (GOOD | {"q": 3}, "has 3 in 'q'; give text"),
    ],
)
def test_a_bad_item_is_refused_with_file_and_line(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(SourceError, match=rf"quiz\.jsonl:2 {message}"):
        questions(tmp_path, GOOD, row)


def test_questions_from_parquet_and_from_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"q": ["?"], "options": [["x", "y"]], "right": [1]}), tmp_path / "set" / "train.parquet")
    plains = [source(tmp_path, "set/train.parquet"), {"kind": "huggingface", "path": "set", **KEYS}]
    for plain in plains:
        (found,) = open_source(plain, root=tmp_path, where="evaluation set 'q'").documents()
        assert isinstance(found, Question)
        assert (found.prompt, found.choices, found.right) == ("?", ("x", "y"), 1)


def test_a_domain_of_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="domain 'quiz' is of questions of multiple choice"):
        CorpusConfig.from_plain({"domains": [{"name": "quiz", "source": source(tmp_path, "quiz.jsonl")}]})


def test_training_text_that_holds_a_question_is_dropped(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(400)]
    leak = " ".join(words[:14])
    (tmp_path / "a.txt").write_text(" ".join(words[20:]) * 3)
    (tmp_path / "b.txt").write_text(" ".join(words[100:]) + leak + " and so on")
    rows = [{"q": " ".join(words[:10]), "options": [" " + " ".join(words[10:14]), " no"], "right": 0}, GOOD]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = {
        "domains": [{"name": "d", "source": {"kind": "files", "paths": "*.txt"}, "held_out": 0.0}],
        "evaluation": [{"name": "quiz", "source": source(tmp_path, "quiz.jsonl")}],
    }
    corpus = prepare(CorpusConfig.from_plain(plain, root=tmp_path), tmp_path / "corpora")
    assert corpus.manifest.domains["d"].overlap_by_set == {"quiz": 1}
    assert isinstance(corpus.evaluation("search")["quiz"], Excerpts)
