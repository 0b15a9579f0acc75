"""What lies beside a store: what some search needs stays, the rest can go."""

from pathlib import Path

from mixopt.search.leavings import leavings, remove, siblings
from mixopt.text import Folders
from store import Store
from tests.store.store_cases import completed, new_trial

LATER_S = 1e11


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_only_what_no_search_needs_can_go(tmp_path: Path) -> None:
    folders = Folders.beside(str(tmp_path / "a.db"))
    for corpus in ("mine", "theirs", "nobodys"):
        write(folders.corpora / corpus / "manifest.json", 10)
    write(folders.corpora / "nobodys" / "tokens.bin", 1_000)
    write(folders.corpora / ".preparing-x" / "tokens.bin", 5)
    for run in ("done", "waiting", "unknown"):
        write(folders.artifacts / run / "gold.npy", 100)
        write(folders.artifacts / run / "checkpoint" / "training.pt", 300)
    with Store(tmp_path / "a.db") as mine, Store(tmp_path / "b.db") as theirs:
        for store, corpus in ((mine, "mine"), (theirs, "theirs")):
            search = store.create_search(
                name="s",
                seed=0,
                config={},
                config_hash="h",
                corpus={"folder": str(folders.corpora / corpus)},
                domains={"web": 1, "code": 1, "math": 1},
            )
            done, _ = store.add_trials(search.id, [new_trial("done"), new_trial("waiting")])
            completed(store, done)
        assert siblings(str(tmp_path / "a.db")) == [str(tmp_path / "a.db"), str(tmp_path / "b.db")]
        assert leavings([mine, theirs], folders) == []  # too new to be sure
        found = leavings([mine, theirs], folders, now_s=LATER_S)
        for leaving in found:
            remove(leaving)
        assert leavings([mine, theirs], folders, now_s=LATER_S) == []
    assert {(str(each.path.relative_to(tmp_path)), each.size_bytes) for each in found} == {
        ("corpora/nobodys", 1_010),
        ("artifacts/unknown", 400),
        ("artifacts/done/checkpoint", 300),
    }
    assert (folders.artifacts / "waiting" / "checkpoint" / "training.pt").exists()
    assert (folders.artifacts / "done" / "gold.npy").exists()
