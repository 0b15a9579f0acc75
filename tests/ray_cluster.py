"""A Ray cluster of several nodes on this machine, each a set of processes that can be killed; gone with the test."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from store import Store, StoreUnavailable, Trial

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300.0  # for what takes seconds where nothing else runs
AWAY = "away"  # a resource of every node but the head, one a node
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@contextmanager
def ray_nodes(count: int, *, patch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Give a cluster of `count` nodes with one CPU each, the head the first; the system chooses its ports."""
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.delenv("RAY_ADDRESS", raising=False)
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # a socket's path has at most 107 characters
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False, "temp_dir": folder})
    try:
        for _ in range(count - 1):
            cluster.add_node(**NODE, temp_dir=folder, resources={AWAY: 1.0})
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def start_search(config: Path, *options: str, **environment: str) -> "subprocess.Popen[str]":
    """Start `mixopt run` in the folder of `config`, its errors at hand."""
    return subprocess.Popen(
        [sys.executable, "-m", "mixopt", "run", str(config), *options],
        cwd=config.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


def trials(store: Path) -> list[Trial]:
    """Return the trials of the only search of a store; none where it has not begun."""
    try:
        with Store(store, read_only=True) as ledger:
            searches = ledger.searches()
            return ledger.trials(searches[0].id) if searches else []
    except StoreUnavailable:
        return []


def wait_for(
    store: Path, process: "subprocess.Popen[str]", *, completed: int = 0, in_training: int = 1, purpose: str = ""
) -> list[Trial]:
    """Return the trials once so many (of that purpose) have completed, and so many tell of their training."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        found = trials(store)
        asked = [trial for trial in found if purpose in ("", trial.purpose)]
        done = [trial for trial in asked if trial.state == "completed"]
        if len(done) >= completed and sum(_tells(store, trial) for trial in asked) >= in_training:
            return found
        time.sleep(0.05)
    raise AssertionError("the search did not come far enough in time")


def _tells(store: Path, trial: Trial) -> bool:
    """Say whether something was heard of a training that runs."""
    if trial.state != "running":
        return False
    with Store(store, read_only=True) as ledger:
        return ledger.attempts(trial.id)[-1].spent_flops > 0.0
