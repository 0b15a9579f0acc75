"""`mixopt show --trial`, as it is typed: one trial, its run, and which routed experts its domains use."""

import json
import sys
from pathlib import Path

import pytest

from mixopt.cli import main
from store import Store
from tests.dashboard.filled_stores import ROUTED, create, fill, finish_routed, losses_of

USAGE = {
    "python": [[0.75, 0.25, *[0.0] * 8], [0.1] * 10],
    "docs": [[0.0] * 9 + [1.0], [0.0] * 10],
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that commands take for theirs, with one trial of a routed proxy."""
    with Store(tmp_path / "s.db") as opened:
        finish_routed(opened, create(opened), USAGE)
    monkeypatch.setenv("MIXOPT_STORE", str(tmp_path / "s.db"))
    return tmp_path / "s.db"


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["mixopt", "show", "quickstart", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def cells(text: str) -> list[list[str]]:
    """Return the rows of all tables in `text`."""
    return [[cell.strip() for cell in line.split("\u2502")[1:-1]] for line in text.splitlines() if "\u2502" in line]


def test_a_trial_of_a_routed_proxy_has_its_losses_and_a_table_of_experts_a_layer(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--trial", "0", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    rows = cells(shown)
    losses = losses_of(ROUTED, rung="large", seed=0)
    assert "trial 0 of quickstart is completed: rung large, seed 0" in shown
    assert ["topics", f"{losses['topics']:.4f}", "1.6500 (0.0300)"] in rows
    assert ["tests", "0.2500", "1.25"] in rows
    assert [row[1:] for row in rows if row[0] == "python"][1:] == [
        ["75", "25", "0", "0", "0", "0", "0", "0"],
        ["0", "0"],
        ["10"] * 8,
        ["10"] * 2,
    ]


def test_a_trial_for_machines_is_whole(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--trial", "0", "--json", monkeypatch=monkeypatch) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["run"]["details"] == {"device": "cpu", "expert_usage": USAGE}
    assert shown["run"]["curve"] == [[100_000, 5.5]]
    assert (shown["state"], shown["weights"], shown["epochs"]["docs"]) == ("completed", ROUTED, 1.25)
    assert [each["state"] for each in shown["each_attempt"]] == ["completed"]
    assert call("--trials", "--json", monkeypatch=monkeypatch) == 0
    [row] = json.loads(capsys.readouterr().out)["trials"]
    assert row == {key: shown[key] for key in row}


def test_a_trial_of_a_dense_proxy_says_nothing_of_routed_experts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "dense.db")
    there = ("--store", str(tmp_path / "dense.db"))
    for number, state in (("8", "completed"), ("42", "failed"), ("43", "diverged"), ("44", "running")):
        assert call("--trial", number, *there, monkeypatch=monkeypatch) == 0
        shown = capsys.readouterr().out
        assert f"trial {number} of quickstart is {state}" in shown
        assert "expert" not in shown
        assert call("--trial", number, "--json", *there, monkeypatch=monkeypatch) == 0
        assert "expert_usage" not in capsys.readouterr().out


def test_a_number_that_no_trial_has_is_one_line_with_those_there_are(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--trial", "7", monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().err == "mixopt: the search has no trial 7; give one from 0 to 0\n"
