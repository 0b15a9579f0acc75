"""A search over the nodes of a cluster, of which one is killed, or the head: nothing is lost, nothing is done twice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from store import Attempt, Store, Trial
from tests.cli.small_search import write_search
from tests.ray_cluster import AWAY, TIMEOUT_S, ray_nodes, start_search, trials, wait_for

PATIENCE_S = 12  # of Ray with its head, one minute in life


def short_search(folder: Path) -> Path:
    """Write a search of some twenty trainings, each of a moment, without a brain that takes longer than they do."""
    path = write_search(folder, workers="ray", slots=3, budget=1.4e10)
    replace(path, "name: bayesian", "name: random")
    replace(path, "experts: {rung: small}\n", "")
    replace(path, "slots: 3", "slots: 3, together: 1")
    return path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def attempts(store: Path, found: Sequence[Trial]) -> dict[int, list[Attempt]]:
    with Store(store, read_only=True) as ledger:
        return {trial.number: ledger.attempts(trial.id) for trial in found}


def check_nothing_lost_nothing_twice(store: Path, before: Sequence[Trial]) -> dict[int, list[Attempt]]:
    """Hold the store against what stood there before the blow; return the attempts at every trial."""
    after = trials(store)
    assert {trial.state for trial in after} == {"completed"}
    kept = {trial.number: trial for trial in after}
    assert all(kept[trial.number] == trial for trial in before if trial.state == "completed")
    assert len({trial.run_hash for trial in after}) == len(after)
    found = attempts(store, after)
    assert all([each.state for each in of].count("completed") == 1 for of in found.values())
    assert all({each.state for each in of} <= {"lost", "completed"} for of in found.values())
    return found


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with ray_nodes(3, patch=monkeypatch) as made:
        yield made


def test_a_node_that_is_killed_takes_its_attempts_with_it_and_nothing_else(tmp_path: Path, cluster: Cluster) -> None:
    """The proof trains on the two nodes beside the head alone, so that the one to be killed has something to lose."""
    store, config = tmp_path / "mixopt.db", short_search(tmp_path)
    replace(config, "tokens: 8_192", f"tokens: 262_144\n    resources: {{{AWAY}: 1}}")
    replace(config, "budget_flops: 14000000000.0", "budget_flops: 3.7e+11")
    search = start_search(config, "--address", cluster.address)
    before = wait_for(store, search, in_training=2, purpose="proof")
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    _, errors = search.communicate(timeout=TIMEOUT_S)
    assert search.returncode == 0, errors
    assert "Traceback" not in errors
    found = check_nothing_lost_nothing_twice(store, before)
    lost = [each for of in found.values() for each in of if each.state == "lost"]
    assert lost
    assert all("worker lost" in (each.error or "") for each in lost)
    with Store(store, read_only=True) as ledger:
        assert ledger.searches()[0].state == "finished"


@pytest.mark.cluster
def test_a_driver_whose_head_is_killed_says_so_and_the_search_goes_on_elsewhere(
    tmp_path: Path, cluster: Cluster
) -> None:
    store, config = tmp_path / "mixopt.db", short_search(tmp_path)
    patience = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(PATIENCE_S)}
    search = start_search(config, "--address", cluster.address, **patience)
    before = wait_for(store, search, completed=2)
    cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    _, errors = search.communicate(timeout=TIMEOUT_S)
    assert search.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("mixopt: the head of the Ray cluster at")
    assert "start the cluster again, and then run the same command" in last
    with Store(store, read_only=True) as ledger:
        assert ledger.searches()[0].state == "stopped"
        assert ledger.lease(ledger.searches()[0].id) is None
    assert {trial.state for trial in trials(store)} == {"completed", "queued"}
    again = start_search(config, "--address", "local")
    _, errors = again.communicate(timeout=TIMEOUT_S)
    assert again.returncode == 0, errors
    check_nothing_lost_nothing_twice(store, before)
