"""The README against the program: its commands exist, its example is a search, its options are real."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from mixopt.cli import main
from mixopt.cli.app import _load, app
from store import Store

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def command_tree() -> typer.core.TyperGroup:
    _load()
    command = get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return command


def test_every_command_is_in_the_readme() -> None:
    missing = [name for name in command_tree().commands if f"`mixopt {name}" not in README]
    assert not missing


def test_every_command_and_option_that_the_readme_uses_exists() -> None:
    tree = command_tree()
    for line in re.findall(r"mixopt ([a-z]+[^\n`]*)", "\n".join(blocks("bash"))):
        name, *words = line.split()
        assert name in tree.commands, line
        command = tree.commands[name]
        if isinstance(command, typer.core.TyperGroup) and words[0] in command.commands:
            command = command.commands[words[0]]
        known = {flag for option in command.params for flag in option.opts}
        assert {word for word in words if word.startswith("-")} <= known, line


def test_the_readmes_search_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = blocks("yaml")
    assert examples
    for text in examples:
        path = tmp_path / "search.yaml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["mixopt", "validate", str(path)])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code, capsys.readouterr().err


def test_the_readmes_example_for_tune_runs_and_its_trials_lie_in_the_store(tmp_path: Path) -> None:
    search = next(text for text in blocks("yaml") if "name: mine-by-hand" in text)
    (tmp_path / "mine-by-hand.yaml").write_text(search, encoding="utf-8")
    (example,) = blocks("python")
    ray = "import ray\nray.init(address='local', num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", ray + example],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=600.0,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Store(tmp_path / "mixopt.db", read_only=True) as store:
        trials = store.trials(store.searches()[0].id)
    assert [trial.state for trial in trials] == ["completed"] * 4
    assert all(trial.losses["web"] == 1.2 - 0.3 * trial.weights["web"] ** 0.5 for trial in trials)


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets
