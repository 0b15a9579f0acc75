"""`mixopt domains`, as it is typed."""

import json
import re
from pathlib import Path

import pytest

from mixopt.config import load
from mixopt.search.launch import find_or_create, prepare_text
from mixopt.search.setting import Setting
from mixopt.text import Folders
from store import Store
from tests.cli.test_commands import call
from tests.mixopt.search.small_search import changed, setting_of

CONFIG = Path(__file__).parents[2] / "configs" / "simulated.yaml"


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    config = load(CONFIG)
    text = prepare_text(config, Folders.beside("mixopt.db"), report=lambda _: None)
    with Store(tmp_path / "mixopt.db") as store:
        find_or_create(store, Setting.of(config, text, artifacts="artifacts"))
    return tmp_path


def test_a_change_is_proposed_with_its_cost_and_recorded_when_it_is_meant(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("domains", "simulated", "add", "poems", "--tokens", "poems=3e9", "--json")
    assert call(*words, "--dry-run", monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["recorded"]
    assert found["domains"]["poems"] == 3_000_000_000
    assert min(found["experts"].values()) > 0.0
    with Store(begun / "mixopt.db") as store:
        assert "poems" not in store.searches()[0].domains
        store.acquire_lease(1, owner="driver", host="h", pid=7, ttl_s=600.0)
        assert call(*words, "--dry-run", monkeypatch=monkeypatch) == 0
        capsys.readouterr()
        store.release_lease(1, owner="driver")
    assert call(*words, monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["recorded"]
    assert call("domains", "simulated", "rename", "poems", "verse", monkeypatch=monkeypatch) == 0
    assert "poems is called verse" in capsys.readouterr().out
    assert call("domains", "simulated", "list", monkeypatch=monkeypatch) == 0
    assert "verse: 3,000,000,000 tokens" in capsys.readouterr().out
    assert call("show", "simulated", "--provenance", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "poems is added" in shown
    assert "poems is called verse" in shown


def test_a_change_of_a_driven_search_waits_for_the_one_who_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(changed().file_text(), encoding="utf-8")
    with Store("mixopt.db") as store:
        find_or_create(store, setting_of(changed()))
        store.acquire_lease(1, owner="driver", host="h", pid=7, ttl_s=600.0)
        assert call("domains", "simulated", "rename", "web", "crawl", "--json", monkeypatch=monkeypatch) == 0
        found = json.loads(capsys.readouterr().out)
        assert not found["recorded"]
        assert re.search(r"process 7 on h\); left in its inbox.*given up, uncharged", found["done"])
        assert "crawl" not in store.searches()[0].domains
        store.release_lease(1, owner="driver")
        assert call("run", "small.yaml", monkeypatch=monkeypatch) == 0
        assert "web is called crawl" in capsys.readouterr().err
        assert next(iter(store.searches()[0].domains)) == "crawl"
        assert store.searches()[0].state == "finished"
        assert {trial.state for trial in store.trials(1)} == {"completed"}


def test_a_wrong_change_is_one_line(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("remove", "wed"), ("add", "x", "--source", "x=nothing"), ("add", "x", "--tokens", "x"), ("grow",)):
        assert call("domains", "simulated", *words, monkeypatch=monkeypatch) == 1
        assert capsys.readouterr().err.count("\n") == 1
    with Store(begun / "mixopt.db") as store:
        assert len(store.revisions(1)) == 1
