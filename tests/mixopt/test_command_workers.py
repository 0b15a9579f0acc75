"""Training with a command: what it is told, and how each way to end becomes an outcome."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from mixopt import reaper
from mixopt.cli.session import run_search
from mixopt.command_workers import CommandTrainer
from mixopt.config import SearchConfig, load
from mixopt.errors import SearchError
from mixopt.search.launch import driving, prepare_text, start_workers
from mixopt.search.setting import Setting
from mixopt.text import Folders
from mixopt.workers import Job, JobProgress, Outcome
from store import Store

EXAMPLE = Path(__file__).parents[2] / "configs" / "command.yaml"
ROWS = {"network": 30, "testing": 10, "data": 20, "loops": 20}
GOOD = {"losses": {"tools": 1.5, "prose": 2.5}}


def changed(**sections: object) -> SearchConfig:
    config = load(EXAMPLE)
    return SearchConfig.from_plain(config.resolved() | sections, root=config.root)


def shell(script: str, **workers: object) -> SearchConfig:
    paths = load(EXAMPLE).workers.paths
    command = f"{script} # {{megatron}} {{output}} {{seed}} {{tokens}}"
    return changed(workers={"command": command, "shell": True, "paths": paths} | workers)


def job(folder: Path, *, gold: bool = False, timeout_s: float | None = None) -> Job:
    return Job(
        key=7,
        recipe=[(1.0, {"network": 0.25, "testing": 0.75, "data": 0.0, "loops": 0.0})],
        proxy=None,
        tokens=10_000,
        seed=3,
        corpus="",
        part="search",
        rung="small",
        slice_tokens=20_000,
        folder=str(folder / "attempt-0"),
        checkpoint=str(folder / "checkpoint"),
        gold=str(folder / "gold") if gold else None,
        timeout_s=timeout_s,
    )


def train(config: SearchConfig, folder: Path, *, gold: bool = False, timeout_s: float | None = None) -> Outcome:
    return CommandTrainer.of(config)(job(folder, gold=gold, timeout_s=timeout_s), lambda _: None)


def answering(text: str) -> str:
    return f"printf '%s' '{text.replace('{', '{{').replace('}', '}}')}' > {{output}}"


def test_the_command_reads_the_mixture_in_the_words_of_any_trainer(tmp_path: Path) -> None:
    script = "cp {olmo-core} tokens; cp {llama-factory.yaml} rows; cp {hf-interleave.py} loader; "
    config = shell(
        f"cd {tmp_path}; {script}{answering(json.dumps(GOOD))}",
        paths={name: {"path": f"/d/{name}", "tokens_a_row": count} for name, count in ROWS.items()},
    )
    outcome = train(config, tmp_path)
    assert outcome.state == "completed", outcome.error
    sources = yaml.safe_load((tmp_path / "tokens").read_text(encoding="utf-8"))["sources"]
    assert {source["source_name"]: source["target_ratio"] for source in sources} == {"network": 0.25, "testing": 0.75}
    rows = yaml.safe_load((tmp_path / "rows").read_text(encoding="utf-8"))
    assert rows["interleave_probs"] == "0.100000000,0.900000000"  # .25 / 30 against .75 / 10
    assert "def mixture(" in (tmp_path / "loader").read_text(encoding="utf-8")


def test_the_command_reads_the_mixture_and_its_numbers_and_hands_back_losses(tmp_path: Path) -> None:
    script = "cp {megatron} mixture; echo {seed} {tokens} {fidelity} {part} {weights} > told; " + answering(
        json.dumps(GOOD)
    )
    outcome = train(shell(f"cd {tmp_path}; {script}"), tmp_path)
    assert outcome.state == "completed", outcome.error
    assert outcome.losses == GOOD["losses"]
    assert outcome.spent_flops == 6 * 65_536 * 10_000
    assert (tmp_path / "told").read_text().split()[:4] == ["3", "10000", "small", "search"]
    assert "testing=0.750000000" in (tmp_path / "told").read_text()
    words = (tmp_path / "mixture").read_text().split()
    assert dict(zip(words[1::2], map(float, words[::2]), strict=True))["unittest"] == 0.75


def test_accuracies_come_with_their_items_and_what_nobody_asked_for_is_left(tmp_path: Path) -> None:
    answer = json.dumps(
        {"losses": {"tools": 1.0, "other": 9}, "accuracies": {"quiz": 0.75}, "items": {"quiz": 60}, "curve": [[5, 2.0]]}
    )
    plain = shell(answering(answer)).resolved()
    config = SearchConfig.from_plain(
        plain | {"evaluation": {"tools": {}, "accuracy/quiz": {}}, "objective": {"weights": {"accuracy/quiz": 1}}},
        root=tmp_path,
    )
    outcome = train(config, tmp_path)
    assert (outcome.losses, outcome.accuracies, outcome.items) == ({"tools": 1.0}, {"quiz": 0.75}, {"quiz": 60})
    assert outcome.curve == ((5, 2.0),)


@pytest.mark.parametrize(
    ("script", "state", "word"),
    [
        ("echo no such file; exit 3", "failed", "exit code 3; its last words: 'no such file'"),
        ("kill -9 $$", "lost", "exit code 137: it was killed"),
        ("true", "failed", "it wrote no file"),
        (answering("{"), "failed", "is no JSON"),
        (answering("[1]"), "failed", "must hold a mapping"),
        (answering('{"losses": {"tools": 1}}'), "failed", "did not measure 'prose'; it measured: tools"),
        (answering('{"losses": {"tools": "1", "prose": 1}}'), "failed", "must be numbers; got {'tools': '1'}"),
        (answering('{"losses": 3}'), "failed", "must map names to numbers"),
        (answering('{"accuracies": {"quiz": 63}}'), "failed", "between 0 and 1"),
        (answering('{"accuracies": {"quiz": 0.5}, "items": {"quiz": 1.5}}'), "failed", "whole numbers above 0"),
        (answering('{"losses": {"tools": NaN, "prose": 1}}'), "diverged", "no finite value of 'tools'"),
        (answering('{"losses": {"tools": null, "prose": 1}}'), "diverged", "no finite value of 'tools'"),
        (answering('{"losses": {"tools": 1, "prose": 1}, "curve": [1]}'), "failed", "list of pairs"),
        (answering("[" * 5000), "failed", "is no JSON"),
    ],
)
def test_every_way_to_fail_is_an_outcome_with_its_reason(tmp_path: Path, script: str, state: str, word: str) -> None:
    outcome = train(shell(script), tmp_path)
    assert outcome.state == state
    assert word in (outcome.error or "")
    assert not outcome.losses


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    words = ["no-such-trainer", "{output}", "{seed}", "{weights}", "{tokens}"]
    outcome = train(changed(workers={"command": words}), tmp_path)
    assert outcome.state == "failed"
    assert "no-such-trainer: no such file or directory" in (outcome.error or "")


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    script = f"(echo $$ > {tmp_path}/child; exec sleep 100) & setsid sh -c 'echo $$ > {tmp_path}/escaped; sleep 100'"
    outcome = train(shell(script), tmp_path, timeout_s=0.6)
    assert outcome.state == "failed"
    assert "longer than the 0.6 s" in (outcome.error or "")
    assert all(is_gone(tmp_path / name) for name in ("child", "escaped"))


def is_gone(path: Path) -> bool:
    try:
        os.kill(int(path.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_nothing_is_left_of_a_command_whose_worker_was_killed(tmp_path: Path) -> None:
    words = ["sh", "-c", f"echo $$ > {tmp_path}/pid; trap '' TERM; while true; do sleep 0.05; done"]
    starter = "import subprocess, sys, time; p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); time.sleep(60)"
    watched = [sys.executable, "-I", "-S", reaper.__file__, "0.1", *words]
    worker = subprocess.Popen([sys.executable, "-c", starter, *watched], start_new_session=True)
    wait_until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
    os.killpg(worker.pid, signal.SIGKILL)  # the worker and the child that Ray would kill with it
    worker.wait()
    wait_until(lambda: is_gone(tmp_path / "pid"))


def wait_until(condition: Callable[[], bool], *, limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_progress_is_handed_on_while_the_command_runs(tmp_path: Path) -> None:
    script = "for i in 1 2 3; do echo ${{i}}000 $i.5 >> {progress}; sleep 0.25; done; echo x >> {progress};"
    seen: list[JobProgress] = []
    outcome = CommandTrainer.of(shell(script + answering(json.dumps(GOOD))))(job(tmp_path), seen.append)
    assert outcome.state == "completed"
    assert [(event.tokens, event.loss) for event in seen[:2]] == [(1000, 1.5), (2000, 2.5)]


def test_a_checkpoint_outlives_a_lost_attempt(tmp_path: Path) -> None:
    script = (
        "if [ -e {checkpoint}/half ]; then "
        + answering(json.dumps(GOOD))
        + "; else touch {checkpoint}/half; kill -9 $$; fi"
    )
    assert train(shell(script), tmp_path).state == "lost"
    assert (tmp_path / "checkpoint" / "half").exists()
    assert train(shell(script), tmp_path).state == "completed"


def test_named_variables_reach_the_command_and_their_values_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_TOKEN", "very-secret")
    config = shell(
        'test "$TRAINER_TOKEN" = very-"secret"; ' + answering(json.dumps(GOOD)), environment=["TRAINER_TOKEN"]
    )
    assert train(config, tmp_path).state == "completed"
    assert "very-secret" not in json.dumps(config.resolved())
    assert not any("very-secret" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "array", [np.array([0.5]), np.zeros((2, 2)), np.array([1, 2]), np.array([]), np.array([np.nan])]
)
def test_gold_tokens_that_are_no_log_probabilities_are_refused(tmp_path: Path, array: NDArray[np.float64]) -> None:
    (tmp_path / "gold").mkdir()
    np.save(tmp_path / "gold" / "tools.npy", array)
    outcome = train(shell(answering(json.dumps(GOOD))), tmp_path, gold=True)
    assert outcome.state == "failed"
    assert "natural log-probabilities" in (outcome.error or "")


def test_the_shipped_example_searches_with_its_own_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    plain = load(EXAMPLE).resolved()
    workers, (small, _) = plain["workers"], plain["ladder"]  # type: ignore[misc]
    assert isinstance(workers, dict)
    config = changed(
        workers=workers | {"kind": "local"}, ladder=[small], proof=False, budget_flops=8e10, strategy={"name": "mde"}
    )
    store = str(tmp_path / "m.db")
    run_search(config, store=store, started_s=time.monotonic())
    with Store(store, read_only=True) as ledger:
        search = ledger.searches()[0]
        trials = ledger.trials(search.id)
    assert {trial.state for trial in trials} == {"completed"}
    assert any("the optimum of the experts' ensemble" in trial.reason for trial in trials)
    best = min(trials, key=lambda trial: config.objective.value(trial.losses))
    natural = next(trial for trial in trials if trial.reason.startswith("natural"))
    assert config.objective.value(best.losses) < config.objective.value(natural.losses)


def test_a_command_that_always_fails_ends_the_search_with_what_it_said(tmp_path: Path) -> None:
    paths = load(EXAMPLE).workers.paths
    command = "echo broken trainer; exit 1 # {megatron} {output} {seed} {tokens}"
    config = changed(workers={"kind": "local", "command": command, "shell": True, "paths": paths}, experts=None)
    with pytest.raises(SearchError, match=r"4 failed, .* exit code 1; its last words: 'broken trainer'"):
        run_search(config, store=str(tmp_path / "m.db"), started_s=time.monotonic())


def test_what_waits_for_another_command_is_taken_back_and_what_it_trained_counts(tmp_path: Path) -> None:
    store = str(tmp_path / "m.db")
    first, second = ("echo one; " + answering(json.dumps(GOOD)), "echo two; " + answering(json.dumps(GOOD)))
    plain = shell(first, kind="local").resolved()
    rest = {"experts": None, "proof": False, "strategy": {"name": "random"}, "budget_flops": 5e10}
    rest["ladder"] = plain["ladder"][:1]  # type: ignore[index]
    before = SearchConfig.from_plain(plain | rest, root=tmp_path)
    with Store(store) as ledger:
        text = prepare_text(before, Folders.beside(store), report=lambda _: None)
        setting = Setting.of(before, text, artifacts=str(tmp_path))
        with driving(setting, store=ledger, workers=start_workers(before), elapsed_s=0.0) as driver:
            for _ in driver.drive():
                break  # one has ended, one waits
    after = SearchConfig.from_plain(plain | rest | {"workers": shell(second, kind="local").resolved()["workers"]})
    run_search(after, store=store, started_s=time.monotonic())
    with Store(store, read_only=True) as ledger:
        trials = ledger.trials(ledger.searches()[0].id)
        commands = [str(ledger.run(trial.run_hash).content["proxy"]["command"])[:8] for trial in trials]
    states = [trial.state for trial in trials]
    assert (states[0], commands[0]) == ("completed", "echo one")
    assert {state for state, command in zip(states[1:], commands[1:], strict=True) if command == "echo one"} == {
        "cancelled"
    }
    assert ("completed", "echo two") in zip(states, commands, strict=True)
