"""Domains of real text that change: what stays the same is seen in the tokens themselves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mixopt.config import load
from mixopt.errors import MixoptError
from mixopt.search.domain_edits import edit_of
from mixopt.search.domains import Plan, carry_out, plan
from mixopt.search.launch import find_or_create, prepare_text
from mixopt.search.leavings import leavings
from mixopt.search.revising import standing
from mixopt.search.setting import Setting
from mixopt.text import Folders
from store import Search, Store
from tests.cli.small_search import write_search


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_search(tmp_path)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder / "mixopt.db") as opened:
        config = load(folder / "small.yaml")
        text = prepare_text(config, Folders.beside(str(folder / "mixopt.db")), report=lambda _: None)
        find_or_create(opened, Setting.of(config, text, artifacts=str(folder / "artifacts")))
        yield opened


def only(store: Store) -> Search:
    return store.searches()[0]


def planned(store: Store, folder: Path, *words: str, sources: tuple[str, ...] = ()) -> Plan:
    edit = edit_of(words[0], words[1:], tokens=(), sources=sources)
    folders = Folders.beside(str(folder / "mixopt.db"))
    return plan(store, only(store), edit, folders, report=lambda _: None)


def test_a_renamed_domain_is_evaluated_on_the_same_text(store: Store, folder: Path) -> None:
    before = only(store)
    carry_out(store, planned(store, folder, "rename", "letters", "abc"))
    now = only(store)
    assert now.config["evaluation"]["letters"]["domain"] == "abc"
    assert next(iter(now.domains.items())) == ("abc", before.domains["letters"])
    assert now.corpus["earlier"] == [before.corpus["folder"]]
    taken, _ = standing(store, load(folder / "small.yaml"))
    text = prepare_text(taken, Folders.beside(str(folder / "mixopt.db")), report=lambda _: None)
    assert text.digest == now.corpus["digest"]
    assert leavings([store], Folders.beside(str(folder / "mixopt.db")), now_s=4e9) == []  # both texts are kept


def test_what_is_another_of_a_revised_text_is_counted(store: Store, folder: Path) -> None:
    with pytest.raises(MixoptError, match="the text of 'animals' is what it was"):
        planned(store, folder, "revise", "animals")
    for document in range(20):
        (folder / "animals" / f"{document}.txt").write_text("heron whale " * 60 + str(document), encoding="utf-8")
    found = planned(store, folder, "revise", "animals")
    assert found.change.revised == {"animals": pytest.approx(0.6, abs=0.15)}  # half of the documents, and longer ones
    assert "stay as they are" in "\n".join(found.lines)


def test_the_parts_of_a_split_domain_share_its_weight_by_their_tokens(store: Store, folder: Path) -> None:
    sources = ("low={kind: files, paths: ['animals/[0-9].txt']}", "high={kind: files, paths: ['animals/[1-3]?.txt']}")
    found = planned(store, folder, "split", "animals", "low", "high", sources=sources)
    assert found.change.parts["animals"]["low"] == pytest.approx(0.25, abs=0.1)
    assert found.change.revised == {}
    assert set(found.experts) == {"letters", "numbers", "low", "high"}  # none was trained yet
    (folder / "animals" / "40.txt").write_text("unicorn " * 300, encoding="utf-8")
    sources = (sources[0], "high={kind: files, paths: ['animals/[1-4]?.txt']}")
    strange = planned(store, folder, "split", "animals", "low", "high", sources=sources).change.revised
    assert set(strange) == {"high"}
    assert 0.05 < strange["high"] < 0.3


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("remove", "letters"), "the objective needs evaluation set 'letters', the held-out part of domain 'letters'"),
        (("add", "poems"), "has no source"),
    ],
)
def test_what_evaluation_needs_stays(store: Store, folder: Path, words: tuple[str, ...], refusal: str) -> None:
    before = only(store)
    with pytest.raises(MixoptError, match=refusal):
        planned(store, folder, *words)
    assert only(store) == before


def excerpts(search: Search) -> list[bytes]:
    """What is measured on: every file of excerpts, in order."""
    return [path.read_bytes() for path in sorted(Path(search.corpus["folder"]).glob("evaluation/*/*.npz"))]


def test_what_is_measured_stays_the_same_where_its_domain_is_split_or_revised(store: Store, folder: Path) -> None:
    before = only(store)
    sources = ("low={kind: files, paths: ['letters/[0-9].txt']}", "high={kind: files, paths: ['letters/[1-3]?.txt']}")
    carry_out(store, planned(store, folder, "split", "letters", "low", "high", sources=sources))
    for document in range(40):
        (folder / "numbers" / f"{document}.txt").write_text(f"nine eight {document} " * 40, encoding="utf-8")
    carry_out(store, planned(store, folder, "revise", "numbers"))
    now = only(store)
    assert list(now.domains) == ["low", "high", "numbers", "animals"]
    assert now.corpus["digest"] != before.corpus["digest"]
    assert excerpts(now) == excerpts(before)
    tokens = {name: each["tokens"] for name, each in now.corpus["manifest"]["domains"].items()}
    whole = before.corpus["manifest"]["domains"]["letters"]["tokens"]
    assert tokens["low"] + tokens["high"] <= whole  # what is evaluated is in neither part
    assert now.config["evaluation"]["numbers"]["kept"] == now.corpus["earlier"][-1]
    assert standing(store, load(folder / "small.yaml"))[0].digest() == now.config_hash
