"""A run of Ray Tune that is killed and restored: the search loses none of its trials, and trains none twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store import Store
from tests.mixopt.search.test_asking import OUTSIDE
from tests.ray_cluster import ROOT, TIMEOUT_S, trials

SAMPLES = 8
SCRIPT = f"""
import os
import sys
import time

import ray
from ray import tune

from mixopt.tune import MixtureSearcher


def train(config):
    time.sleep(1.0)
    with open(os.environ["TRAINED"], "a") as file:
        file.write(f"{{config['trial']}}\\n")
    tune.report({{"losses": {{"web": 1.0 + config["weights"]["code"], "accuracy/quiz": 0.5}}}})


ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
place = os.environ["RESULTS"]
if tune.Tuner.can_restore(place):
    tuner = tune.Tuner.restore(place, train)
else:
    tuner = tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            search_alg=MixtureSearcher("outside.yaml"),
            num_samples={SAMPLES},
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=os.path.dirname(place), name=os.path.basename(place)),
    )
tuner.fit()
"""


def start(folder: Path) -> "subprocess.Popen[str]":
    environment = {
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "RESULTS": str(folder / "results" / "run"),
        "TRAINED": str(folder / "trained"),
        "TUNE_GLOBAL_CHECKPOINT_S": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.cluster
def test_a_run_of_tune_that_was_killed_is_restored_with_every_trial_once(tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text(OUTSIDE, encoding="utf-8")
    store = tmp_path / "mixopt.db"
    run = start(tmp_path)
    deadline = time.monotonic() + TIMEOUT_S
    while sum(trial.state == "completed" for trial in trials(store)) < 3:
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    before = {trial.number: trial for trial in trials(store) if trial.state == "completed"}
    again = start(tmp_path)
    _, errors = again.communicate(timeout=TIMEOUT_S)
    assert again.returncode == 0, errors
    after = {trial.number: trial for trial in trials(store)}
    assert [trial.state for trial in after.values()] == ["completed"] * SAMPLES
    assert all(after[number] == trial for number, trial in before.items())
    assert len({trial.run_hash for trial in after.values()}) == SAMPLES
    with Store(store, read_only=True) as ledger:
        assert all([each.state for each in ledger.attempts(trial.id)] == ["completed"] for trial in after.values())
    assert set(map(int, (tmp_path / "trained").read_text().split())) == set(after)
