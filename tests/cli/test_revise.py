"""`mixopt revise` and `mixopt show --file`, as they are typed."""

import json
from pathlib import Path

import pytest

from mixopt.config import load
from store import Store
from tests.cli.test_commands import call

CONFIG = Path(__file__).parents[2] / "configs" / "simulated.yaml"


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    config = load(CONFIG)
    with Store(tmp_path / "mixopt.db") as store:
        store.create_search(
            name=config.name,
            seed=config.seed,
            config=config.resolved(),
            config_hash=config.digest(),
            corpus={"digest": "d", "folder": "", "root": str(CONFIG.parent)},
            domains={section.name: section.available_tokens or 1 for section in config.domains},
        )
    return tmp_path


def test_a_budget_is_extended_and_the_file_printed_is_the_search(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("revise", "simulated", "--budget", "+1e14", "--dry-run", "--json", monkeypatch=monkeypatch) == 0
    rehearsal = json.loads(capsys.readouterr().out)
    assert rehearsal["changes"] == ["budget_flops: 3e+14 -> 4e+14"]
    assert not rehearsal["recorded"]
    assert call("revise", "simulated", "--budget", "+1e14", monkeypatch=monkeypatch) == 0
    assert "budget_flops: 3e+14 -> 4e+14" in capsys.readouterr().out
    assert call("show", "simulated", "--file", monkeypatch=monkeypatch) == 0
    (begun / "now.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    with Store(begun / "mixopt.db") as store:
        assert load(begun / "now.yaml").digest() == store.searches()[0].config_hash
    assert call("show", "simulated", "--provenance", "--json", monkeypatch=monkeypatch) == 0
    revisions = json.loads(capsys.readouterr().out)["revisions"]
    assert [each["number"] for each in revisions] == [0, 1]
    assert "; by " in revisions[1]["note"]


def test_what_cannot_be_is_one_line_and_changes_nothing(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (begun / "other.yaml").write_text(CONFIG.read_text().replace("tokens: 500_000", "tokens: 600_000"))
    assert call("revise", "simulated", "other.yaml", monkeypatch=monkeypatch) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ladder cannot change" in said
    assert "ladder.small.tokens: 500000 -> 600000" in said
    with Store(begun / "mixopt.db") as store:
        assert len(store.revisions(1)) == 1
