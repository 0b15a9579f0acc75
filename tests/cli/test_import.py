"""`mixopt import` and `mixopt export-runs` in this process: what they write, say and refuse."""

import json
from pathlib import Path

import pytest

from mixopt.runs_table import read_runs
from tests.cli.test_commands import call
from tests.mixopt.small_tables import rows, write


def test_a_table_goes_into_a_search_and_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, store, out = write(tmp_path / "a.csv", rows()), str(tmp_path / "s.db"), tmp_path / "out.csv"
    for added in (12, 0):
        assert call("import", str(table), "--search", "mine", "--store", store, "--json", monkeypatch=monkeypatch) == 0
        assert json.loads(capsys.readouterr().out)["added"] == added
    assert call("export-runs", "mine", "-o", str(out), "--store", store, monkeypatch=monkeypatch) == 0
    assert read_runs(out) == read_runs(table)
    assert call("show", "mine", "--trials", "--store", store, monkeypatch=monkeypatch) == 0
    assert "mine is finished" in capsys.readouterr().out
    assert call("list", "--store", store, monkeypatch=monkeypatch) == 0


def test_what_was_mended_is_said_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "a.csv", [row | {"colour": "red"} for row in rows()])
    assert call("import", str(table), "-o", str(tmp_path / "b.csv"), monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert "12 runs" in said.out
    assert "colour" in said.err
    assert not read_runs(tmp_path / "b.csv").warnings


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["a.csv"], "--search"),
        (["a.csv", "--search", "x", "-o", "b.csv"], "--search"),
        (["a.csv", "-o", "b.csv", "--format", "excel"], "regmix"),
        (["nowhere.csv", "-o", "b.csv"], "nowhere.csv"),
        ([".", "--format", "regmix", "-o", "b.csv"], "train_mixture_1m.csv"),
        (["bad.csv", "--search", "x"], "accuracy/quiz"),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    arguments: list[str],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "a.csv", rows())
    write(tmp_path / "bad.csv", [row | {"accuracy/quiz": 63.2} for row in rows()])
    monkeypatch.chdir(tmp_path)
    assert call("import", *arguments, monkeypatch=monkeypatch) == 1
    error = capsys.readouterr().err
    assert error.startswith("mixopt: ")
    assert error.count("\n") == 1
    assert word in error
    assert not (tmp_path / "mixopt.db").exists()
