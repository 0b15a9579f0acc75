"""`mixopt replay` in this process: what it prints, and how it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mixopt.runs_table import write_runs
from tests.cli.test_commands import call
from tests.mixopt.replay.small_tables import changed, small_table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("replay") / "runs.csv"
    write_runs(small_table(counts=False), path)
    return str(path)


def test_fit_prints_a_list_of_scores(
    table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--train", "small:train", "--test", "small:test", "--n", "8,16", "--draws", "2", "--surrogates", "stack"]
    assert call("replay", "fit", table, *rows, "--json", monkeypatch=monkeypatch) == 0
    scores = json.loads(capsys.readouterr().out)
    assert [(score["surrogate"], score["n"], score["default"]) for score in scores] == [
        ("stack", 8, True),
        ("stack", 16, True),
    ]
    assert all(-1.0 <= score["rho"] <= 1.0 and 0.0 <= score["coverage"] <= 1.0 for score in scores)
    assert call("replay", "fit", table, *rows, monkeypatch=monkeypatch) == 0
    assert "rho" in capsys.readouterr().out


def test_search_prints_a_list_of_scores_and_draws_a_picture(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "regret.html"
    asked = ["--top", "large", "--costs", ".3,2", "--draws", "2", "--pool", "8"]
    names = ["--strategies", "bayesian,random,natural", "-o", str(picture)]
    assert call("replay", "search", table, *asked, *names, "--json", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    scores = json.loads(said.out)
    assert [(score["strategy"], score["cost"]) for score in scores] == [
        ("bayesian", 0.3), ("bayesian", 2.0), ("random", 0.3), ("random", 2.0),
    ]  # fmt: skip
    assert "natural is left out" in said.err
    assert "<svg" in picture.read_text(encoding="utf-8")
    assert call("replay", "search", table, *asked, "--strategies", "random", monkeypatch=monkeypatch) == 0
    assert "regret" in capsys.readouterr().out


def test_rows_that_lack_a_set_of_the_objective_are_counted_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    poor = {"small-0": ("x", "y"), "small-1": ("x",), "large-2": ("x", "y")}
    whole = small_table(counts=False)
    runs = changed(whole, lambda run: replace(run, losses={n: run.losses[n] for n in poor.get(run.run_id, run.losses)}))
    path = tmp_path / "runs.csv"
    write_runs(runs, path)
    rows = ["--train", "small:train", "--test", "small:test", "--draws", "1", "--surrogates", "stack", "--json"]
    assert call("replay", "fit", str(path), *rows, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().err
    assert "small:train: 2 of 20 rows are left out" in told
    assert "y is missing in 1, z is missing in 2" in told
    assert "small:test" not in told
    asked = ["--top", "large", "--costs", "2", "--draws", "1", "--strategies", "random", "--json"]
    assert call("replay", "search", str(path), *asked, "--objective", "set:z", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().err
    assert "small: 2 of 40 rows are left out" in told
    assert "large: 1 of 16 rows are left out" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "TABLE", "--train", "smal", "--test", "large"], "small"),
        (["fit", "TABLE", "--train", "small", "--test", "large", "--n", "few"], "few"),
        (["fit", "TABLE", "--train", "small", "--test", "large", "--surrogates", "oracle"], "stack"),
        (["fit", "TABLE", "--train", "small", "--test", "large", "--objective", "set:w"], "w"),
        (["search", "TABLE", "--top", "huge", "--costs", "1"], "huge"),
        (["search", "TABLE", "--top", "large", "--costs", "much"], "much"),
        (["search", "TABLE", "--top", "large", "--costs", "1", "--strategies", "luck"], "bayesian"),
        (["search", "TABLE", "--top", "large", "--costs", "1", "--strategies", "mde"], "no strategy is left"),
        (["search", "nowhere.csv", "--top", "large", "--costs", "1"], "nowhere.csv"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_words(
    table: str,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [table if word == "TABLE" else word for word in arguments]
    assert call("replay", *given, monkeypatch=monkeypatch) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mixopt: ")
    assert words in error


def test_simulated_prints_what_recommendations_lose(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--d", "3", "--seeds", "2", "--budget", "1.5", "--strategies", "uniform,random"]
    assert call("replay", "simulated", *asked, "--json", monkeypatch=monkeypatch) == 0
    scores = json.loads(capsys.readouterr().out)
    assert [(score["strategy"], score["d"]) for score in scores] == [("uniform", 3), ("random", 3)]
    assert all(score["regret"] >= 0.0 for score in scores)
    assert call("replay", "simulated", *asked, monkeypatch=monkeypatch) == 0
    assert "regret" in capsys.readouterr().out
