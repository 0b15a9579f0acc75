"""The commands in this process: what they print, and how they refuse."""

import json
import math
import signal
import socket
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from mixopt.cli import app as module
from mixopt.cli import main
from mixopt.cli.app import app
from mixopt.cli.export import FORMATS, warn_of_repetition
from mixopt.export import EXPORTERS, Export
from mixopt.mixture import Mixture
from mixopt.search.shipping import export_of
from store import Store
from tests.cli.small_search import write_search

CONFIGS = Path(__file__).parents[2] / "configs"
QUICKSTART = CONFIGS / "quickstart.yaml"


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["mixopt", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The small search's file, to be spoiled."""
    return write_search(tmp_path)


@pytest.mark.parametrize(
    "path", sorted(set(CONFIGS.glob("*.yaml")) - set(CONFIGS.glob("*.paths.yaml"))), ids=lambda p: p.name
)
def test_every_shipped_search_is_valid(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("validate", str(path), monkeypatch=monkeypatch) == 0
    assert "valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: small\ndomains", "name: small\nbudgett: 3\ndomains", ["budgett", "small.yaml:2"]),
        ("max_bytes: 2048, excerpt_tokens: 64}\nobjective", "max_bytes: many}\nobjective", ["max_bytes", "many"]),
        ("weights: {letters: 1, numbers: 1}", "weights: {poems: 1}", ["poems", "letters"]),
        ("rung: small", "rung: smal", ["smal", "small"]),
        ("held_out: 0.2}\n  - {name: numbers", "max_weight: 2}\n  - {name: numbers", ["max_weight"]),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_fault(
    changed: Path,
    old: str,
    new: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = changed.read_text(encoding="utf-8")
    assert old in text
    changed.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert call("validate", str(changed), monkeypatch=monkeypatch) == 1
    error = capsys.readouterr().err
    assert error.startswith("mixopt: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words)


def test_caps_that_leave_no_space_say_what_would_open_it(
    changed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = changed.read_text(encoding="utf-8").replace("held_out: 0.2", "held_out: 0.2, max_weight: 0.3")
    changed.write_text(text, encoding="utf-8")
    assert call("validate", str(changed), monkeypatch=monkeypatch) == 1
    assert "0.9" in capsys.readouterr().err


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "nowhere.yaml", monkeypatch=monkeypatch) == 1
    assert "nowhere.yaml" in capsys.readouterr().err


def test_a_source_without_files_is_named(
    changed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed.write_text(changed.read_text(encoding="utf-8").replace("numbers/*.txt", "missing/*.txt"), encoding="utf-8")
    assert call("prepare", str(changed), "--store", str(changed.parent / "s.db"), monkeypatch=monkeypatch) == 1
    assert "missing/*.txt" in capsys.readouterr().err


def test_an_evaluation_set_that_would_empty_a_domain_is_refused_with_both_names(
    changed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = changed.read_text(encoding="utf-8")
    own = "numbers: {source: {kind: files, paths: [animals/*.txt]}, max_bytes: 100000}"
    text = text.replace("numbers: {domain: numbers, max_bytes: 2048, excerpt_tokens: 64}", own)
    changed.write_text(text, encoding="utf-8")
    assert call("prepare", str(changed), "--store", str(changed.parent / "s.db"), monkeypatch=monkeypatch) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "'animals'" in error
    assert "'numbers'" in error


@pytest.mark.parametrize(
    "arguments", [("prepare", "small.yaml", "--store", "blocked/s.db"), ("prepare", "folder.yaml", "--store", "s.db")]
)
def test_a_place_that_the_system_refuses_is_one_line_with_its_path(
    arguments: tuple[str, ...], changed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(changed.parent)
    Path("blocked").touch()
    text = changed.read_text(encoding="utf-8")
    Path("folder.yaml").write_text(f"corpus: {{folder: blocked/here}}\n{text}", encoding="utf-8")
    assert call(*arguments, monkeypatch=monkeypatch) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mixopt: the corpus cannot be written to")
    assert f"{changed.parent}/blocked/" in error
    assert error.endswith("make room there, make the folder writable, or name another one")


def test_a_folder_for_the_text_starts_at_the_file_and_serves_every_search(
    changed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    text = changed.read_text(encoding="utf-8")
    for name in ("one", "two"):
        changed.write_text(
            "corpus: {folder: text}\n" + text.replace("name: small", f"name: {name}", 1), encoding="utf-8"
        )
        assert call("prepare", str(changed), "--store", "s.db", monkeypatch=monkeypatch) == 0
    assert len(list((tmp_path / "text").iterdir())) == 1
    assert list(elsewhere.iterdir()) == []


def test_prepare_prints_what_came_of_the_text(
    changed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        call("prepare", str(changed), "--store", str(changed.parent / "s.db"), "--json", monkeypatch=monkeypatch) == 0
    )
    manifest = json.loads(capsys.readouterr().out)
    assert set(manifest["domains"]) == {"letters", "numbers", "animals"}


def test_show_of_a_store_that_is_not_there_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("show", "x", "--store", str(tmp_path / "none.db"), monkeypatch=monkeypatch) == 1
    assert "none.db" in capsys.readouterr().err


def test_a_simulated_search_runs_lists_shows_and_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "s.db")
    text = (
        (CONFIGS / "simulated.yaml")
        .read_text(encoding="utf-8")
        .replace("budget_flops: 3.0e+14", "budget_flops: 1.6e+14")
    )
    config = tmp_path / "simulated.yaml"
    config.write_text(text, encoding="utf-8")
    assert call("run", str(config), "--store", store, monkeypatch=monkeypatch) == 0
    capsys.readouterr()
    assert call("list", "--store", store, "--json", monkeypatch=monkeypatch) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == ["simulated"]
    assert listed[0]["charged_flops"] <= listed[0]["budget_flops"]
    assert call("show", "simulated", "--trials", "--store", store, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "Proof" in shown
    assert "at the target, as predicted" in shown
    assert "in doubt: the target is" in shown
    assert call("show", "simulated", "--store", store, "--json", monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)["recommendation"]
    assert found["insight"]["target"]["predicted"]["sd"] > found["predicted"]["sd"] > 0.0
    assert found["insight"]["target"]["doubts"]
    assert call("show", "simulated", "--provenance", "--store", store, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "created" in shown
    assert socket.gethostname() in shown
    assert call("show", "simulated", "--provenance", "--json", "--store", store, monkeypatch=monkeypatch) == 0
    origin = json.loads(capsys.readouterr().out)
    assert [row["number"] for row in origin["revisions"]] == [0]
    assert [row["packages"]["torch"] for row in origin["sessions"]] == [version("torch")]
    assert call("show", "simulatd", "--store", store, monkeypatch=monkeypatch) == 1
    assert "simulated" in capsys.readouterr().err
    assert call("export", "simulated", "--store", store, "--json", monkeypatch=monkeypatch) == 0
    files = json.loads(capsys.readouterr().out)
    domains = json.loads(files["simulated.json"])["domains"]
    assert sum(domain["weight"] for domain in domains) == pytest.approx(1.0)
    assert call("export", "simulated", "--store", store, "--to", "megatronn", monkeypatch=monkeypatch) == 1
    assert "megatron" in capsys.readouterr().err
    paths = tmp_path / "paths.yaml"
    paths.write_text("{web: /d/web, code: /d/code, books: /d/books, math: /d/math}\n", encoding="utf-8")
    to = ("--paths", str(paths), "-o", str(tmp_path / "out"), "--store", store)
    assert call("export", "simulated", "--to", "olmo-core", *to, monkeypatch=monkeypatch) == 0
    assert f"wrote {tmp_path / 'out' / 'simulated.olmo-core.yaml'}" in capsys.readouterr().out.replace("\n", "")
    sources = yaml.safe_load((tmp_path / "out" / "simulated.olmo-core.yaml").read_text(encoding="utf-8"))["sources"]
    assert [source["target_ratio"] for source in sources] == [domain["weight"] for domain in domains]
    assert [source["max_repetition_ratio"] for source in sources] == [
        max(1.0, math.ceil(domain["epochs"])) for domain in domains
    ]
    assert call("export", "simulated", "--to", "trl", *to, monkeypatch=monkeypatch) == 1
    assert "tokens_a_row: 812" in capsys.readouterr().err


def test_export_warns_of_domains_that_the_target_reads_too_often(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_repetition(
        Export(
            search="s",
            mixture=Mixture({"web": 0.5, "code": 0.5}),
            available_tokens={"web": 1_000_000, "code": 100_000},
            seed=0,
            config_hash="",
            created="",
            target_tokens=1_000_000,
        )
    )
    warned = capsys.readouterr()
    assert warned.out == ""
    assert warned.err.startswith("warning: the target's 1,000,000 tokens pass over code 5.0 times")
    assert "web" not in warned.err


def test_the_help_of_export_lists_every_format() -> None:
    table = [line.split("|")[1] for line in FORMATS.splitlines() if line.startswith("|")][2:]
    assert sorted(name.strip() for names in table for name in names.split(",")) == sorted(EXPORTERS)


def test_a_search_with_routed_proxies_and_routed_data_experts_runs_to_its_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = yaml.safe_load((CONFIGS / "moe.yaml").read_text(encoding="utf-8"))
    assert all(rung["proxy"]["experts"] > rung["proxy"]["top_k"] for rung in shipped["ladder"])
    config = write_search(tmp_path, routed=", experts: 4, top_k: 2")
    store = tmp_path / "s.db"
    assert call("run", str(config), "--store", str(store), monkeypatch=monkeypatch) == 0
    assert call("show", "small", "--store", str(store), monkeypatch=monkeypatch) == 0
    assert "Proof" in capsys.readouterr().out
    with Store(store, read_only=True) as opened:
        rows = export_of(opened, "small").tokens_a_document
        for name, tokens in rows.items():
            texts = [path.read_text(encoding="utf-8") for path in (tmp_path / name).iterdir()]
            assert tokens == pytest.approx(sum(len(text) + 1 for text in texts) / len(texts), rel=0.02)
        assert sorted(rows) == ["animals", "letters", "numbers"]
        trials = opened.trials(opened.searches()[0].id)
        details = [opened.run(trial.run_hash).details for trial in trials if trial.state == "completed"]
    assert {trial.purpose for trial in trials} >= {"expert", "search", "proof"}
    for usage in (each["expert_usage"] for each in details):
        assert set(usage) == {"letters", "numbers", "animals"}
        assert all(sum(layer) == pytest.approx(1.0) for layers in usage.values() for layer in layers)
    last = str(trials[-1].number)
    assert call("show", "small", "--trial", last, "--store", str(store), "--json", monkeypatch=monkeypatch) == 0
    shown = json.loads(capsys.readouterr().out)["run"]["details"]["expert_usage"]
    assert shown == details[-1]["expert_usage"]
    assert call("show", "small", "--trial", last, "--store", str(store), monkeypatch=monkeypatch) == 0
    assert "Layer 1 of 1" in capsys.readouterr().out


def test_every_command_has_help_and_an_example() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__, command.callback.__name__
        assert command.epilog is not None
        assert "mixopt " in command.epilog, command.callback.__name__


def test_sigterm_ends_a_command_once_in_short_and_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_asked_s", float("-inf"))
    with pytest.raises(KeyboardInterrupt):
        module._terminate(signal.SIGTERM, None)
    module._terminate(signal.SIGTERM, None)  # what ends takes its time
    monkeypatch.setattr(module, "SHORT_S", 0.0)  # it was lost
    with pytest.raises(KeyboardInterrupt):
        module._terminate(signal.SIGTERM, None)
