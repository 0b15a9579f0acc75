"""The program as its user starts it: a search on Ray, killed without warning, resumed, shown, exported."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store import Store, StoreUnavailable, Trial
from tests.cli.small_search import write_search

TIMEOUT_S = 300.0


def mixopt(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mixopt", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def trials(path: Path) -> dict[int, Trial]:
    try:
        with Store(path, read_only=True) as store:
            searches = store.searches()
            return {trial.number: trial for trial in store.trials(searches[0].id)} if searches else {}
    except StoreUnavailable:  # the search has only just begun to make it
        return {}


def wait_for(path: Path, completed: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the search ended before it could be killed"
        if sum(t.state == "completed" for t in trials(path).values()) >= completed:
            return
        time.sleep(0.1)
    raise AssertionError("the search did not come far enough in time")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Trial]]:
    """A search on Ray that was killed after four trials and then run to its end; with what was in the store between."""
    folder = tmp_path_factory.mktemp("search")
    config = write_search(folder, workers="ray")
    command = [sys.executable, "-m", "mixopt", "run", str(config)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(folder / "mixopt.db", 4, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = trials(folder / "mixopt.db")
    done = mixopt("run", str(config), folder=folder)
    assert done.returncode == 0, done.stderr
    assert "resumed" in done.stderr
    return folder, before


def test_a_killed_search_resumes_and_trains_nothing_twice(killed: tuple[Path, dict[int, Trial]]) -> None:
    folder, before = killed
    after = trials(folder / "mixopt.db")
    finished = {number: trial for number, trial in before.items() if trial.state == "completed"}
    assert finished
    assert all(after[number] == trial for number, trial in finished.items())
    assert all(trial.state == "completed" for trial in after.values())
    assert len({trial.run_hash for trial in after.values()}) == len(after)


def test_the_end_of_a_search_shows_the_recommendation_and_its_proof(killed: tuple[Path, dict[int, Trial]]) -> None:
    shown = mixopt("show", "small", folder=killed[0])
    assert shown.returncode == 0
    assert "Recommended mixture" in shown.stdout
    assert "natural" in shown.stdout
    assert "Proof" in shown.stdout


def test_show_for_machines_is_json_with_the_proof(killed: tuple[Path, dict[int, Trial]]) -> None:
    shown = json.loads(mixopt("show", "small", "--json", "--trials", folder=killed[0]).stdout)
    proof = shown["recommendation"]["proof"]
    assert isinstance(proof["holds"], bool)
    assert sum(shown["recommendation"]["mixture"].values()) == pytest.approx(1.0)
    assert len(shown["trials"]) == shown["trials"][-1]["number"] + 1
    assert {row["seeds"] for row in proof["rows"]} == {2}
    experts = shown["recommendation"]["experts"]
    assert "small" in [row["rung"] for row in experts]
    assert all(-1.0 <= row[known] <= 1.0 for row in experts for known in ("ensemble", "merged"))


def test_the_experts_are_observations_of_their_rung_with_gold_files(killed: tuple[Path, dict[int, Trial]]) -> None:
    folder, _ = killed
    experts = [trial for trial in trials(folder / "mixopt.db").values() if trial.purpose == "expert"]
    assert {trial.fidelity for trial in experts} == {"small"}
    with Store(folder / "mixopt.db", read_only=True) as store:
        names = [[artifact.name for artifact in store.artifacts(trial.run_hash)] for trial in experts]
    assert names == [["letters", "numbers", "weights.pt"]] * 3


def test_the_recommendation_is_exported_for_megatron(killed: tuple[Path, dict[int, Trial]]) -> None:
    folder, _ = killed
    (folder / "paths.yaml").write_text(
        "letters: /d/letters\nnumbers: /d/numbers\nanimals: /d/animals\n", encoding="utf-8"
    )
    done = mixopt("export", "small", "--to", "megatron", "--paths", "paths.yaml", "-o", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    words = (folder / "out" / "small.megatron.args").read_text(encoding="utf-8").split()
    assert sum(float(weight) for weight in words[::2]) == pytest.approx(1.0, abs=1e-9)


def test_a_second_run_of_a_finished_search_trains_nothing_and_measures_nothing(
    killed: tuple[Path, dict[int, Trial]],
) -> None:
    folder, _ = killed
    before = trials(folder / "mixopt.db")
    assert mixopt("run", str(folder / "small.yaml"), folder=folder).returncode == 0
    assert trials(folder / "mixopt.db") == before
    with Store(folder / "mixopt.db", read_only=True) as store:
        found = store.find_search("small")
        assert found is not None
        *earlier, last = (session.provenance["together"] for session in store.sessions(found.id))
    assert last == {}
    assert all(set(each) == {"small", "large"} for each in earlier)


@pytest.mark.parametrize(("workers", "number"), [("local", signal.SIGINT), ("ray", signal.SIGTERM)])
def test_who_stops_a_search_finds_all_in_the_store_at_once_and_is_told_how_to_go_on(
    tmp_path: Path, workers: str, number: signal.Signals
) -> None:
    config = write_search(tmp_path, workers=workers)
    command = [sys.executable, "-m", "mixopt", "run", str(config)]
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored would be inherited
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, ours)
    wait_for(tmp_path / "mixopt.db", 2, process)
    os.kill(process.pid, number)
    deadline = time.monotonic() + 3.0
    while states(tmp_path / "mixopt.db") - {"stopped", "completed", "queued"}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "the same command goes on" in stderr.decode()
    assert "Traceback" not in stderr.decode()
    with Store(tmp_path / "mixopt.db", read_only=True) as store:
        assert store.lease(store.searches()[0].id) is None


def states(path: Path) -> set[str]:
    """Return the states of the search and of its trials."""
    with Store(path, read_only=True) as store:
        search = store.searches()[0]
        return {search.state} | {trial.state for trial in store.trials(search.id)}
