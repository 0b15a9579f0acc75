"""A search as a job of a Ray head that the test starts: followed to its end, found again, its result in the store."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from mixopt.errors import SearchError
from mixopt.submit import Jobs
from store import Store, StoreUnavailable, check
from tests.cli.test_ray_nodes import check_nothing_lost_nothing_twice, short_search
from tests.postgres import OWNER, private_cluster
from tests.ray_cluster import ROOT, TIMEOUT_S, trials

PASSWORD = "hunter2"  # of a server, which the head has in its environment, and nobody else
CONFIG = ROOT / "configs" / "simulated.yaml"


@dataclass(frozen=True)
class Head:
    """A head: where its dashboard is, and the store that its variable MIXOPT_STORE names."""

    address: str
    store: Path


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head on ports that the system chooses."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # a socket's path has at most 107 characters
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("MIXOPT_STORE", f"{folder}/s3cret.db")  # which only the head knows
        patch.setenv("PGPASSWORD", PASSWORD)
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # whose `python` a job calls
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.delenv("PYTHONPATH", raising=False)  # the job has our code from what is sent, and nothing else
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2,
                "object_store_memory": 80 * 2**20,
                "include_dashboard": True,
                "dashboard_port": 0,
                "dashboard_agent_listen_port": 0,  # jobs go through it; its usual port may be another head's
                "temp_dir": folder,
            },
        )
        # As `ray start` does: without it, a job may find another cluster on this machine.
        (Path(folder) / "ray_current_cluster").write_text(cluster.gcs_address, encoding="utf-8")
        patch.delenv("MIXOPT_STORE")
        patch.delenv("PGPASSWORD")
        yield Head(f"http://{cluster.webui_url}", Path(folder) / "s3cret.db")
        cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def mixopt(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mixopt", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")  # which Ray still hands to aiohttp
def test_a_search_is_submitted_followed_to_its_end_and_lies_in_the_store(head: Head, tmp_path: Path) -> None:
    plain = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    small = {"budget_flops": 1.2e14, "strategy": {"name": "random"}, "proof": {"seeds": 2}}
    (tmp_path / "simulated.yaml").write_text(yaml.safe_dump(plain | small), encoding="utf-8")
    done = mixopt(
        *("submit", "simulated.yaml", "--store-there", "--address", head.address, "--follow"), folder=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = f"{head.address}/#/jobs/mixopt-simulated-1"
    assert done.stdout.startswith(f"mixopt-simulated-1: search simulated, store $MIXOPT_STORE, {page}\n")
    assert "simulated is finished" in done.stdout
    with Store(head.store, read_only=True) as ledger:
        search = ledger.searches()[0]
        assert search.state == "finished"
        assert ledger.recommendation(search.id) is not None
        assert ledger.sessions(search.id)[0].provenance["ray_job"] == {"id": "mixopt-simulated-1", "page": page}
    jobs = Jobs(head.address)
    (job,) = jobs.all()
    assert (job.id, job.search, job.state, job.page) == ("mixopt-simulated-1", "simulated", "SUCCEEDED", page)
    assert "s3cret" not in str(jobs._client.list_jobs())
    assert "".join(jobs.follow(jobs.get("simulated"))) == jobs.log(job)
    with pytest.raises(SearchError, match="known: mixopt-simulated-1"):
        jobs.get("other")


@pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")
def test_a_job_has_the_password_of_its_store_from_the_head_and_shows_it_nowhere(head: Head, tmp_path: Path) -> None:
    plain = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    small = {"name": "served", "budget_flops": 1.2e14, "strategy": {"name": "random"}, "proof": {"seeds": 2}}
    (tmp_path / "served.yaml").write_text(yaml.safe_dump(plain | small), encoding="utf-8")
    asked = ("--address", head.address, "--store-outlasts", "--follow")
    with private_cluster() as server:
        url = server.guarded_database("searcher", PASSWORD)
        with pytest.raises(StoreUnavailable, match="password"):
            Store(url)
        told = mixopt("submit", "served.yaml", "--store", url.replace("@", f":{PASSWORD}@"), *asked, folder=tmp_path)
        assert told.returncode == 1
        assert "PGPASSWORD" in told.stderr
        assert PASSWORD not in told.stdout + told.stderr
        done = mixopt("submit", "served.yaml", "--store", url, *asked, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        with Store(url.replace("searcher", OWNER), read_only=True) as ledger:
            search = ledger.searches()[0]
            assert (search.name, search.state) == ("served", "finished")
            assert ledger.recommendation(search.id) is not None
            assert PASSWORD not in str((ledger.sessions(search.id), search))
        assert check(url.replace("searcher", OWNER)) == []
    jobs = Jobs(head.address)
    assert jobs.get("served").state == "SUCCEEDED"
    assert PASSWORD not in str(jobs._client.list_jobs()) + done.stdout + done.stderr + jobs.log(jobs.get("served"))


@pytest.mark.cluster
def test_a_real_search_is_stopped_as_a_job_and_goes_on_as_the_next(head: Head, tmp_path: Path) -> None:
    sent, kept = tmp_path / "sent", tmp_path / "kept"
    sent.mkdir()
    kept.mkdir()
    short_search(sent)
    store, asked = kept / "mixopt.db", ("--address", head.address)
    submit = ("submit", "sent/small.yaml", "--working-dir", "sent", "--store", str(store), "--store-outlasts", *asked)
    done = mixopt(*submit, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)["id"]
    second = mixopt(*submit, folder=tmp_path)
    assert second.returncode == 1
    assert f"search 'small' runs there as job {job}" in second.stderr
    deadline = time.monotonic() + TIMEOUT_S
    while sum(trial.state == "completed" for trial in trials(store)) < 2:
        assert time.monotonic() < deadline, mixopt("logs", job, *asked, folder=tmp_path).stdout
        time.sleep(0.1)
    stopped = mixopt("stop", "small", *asked, folder=tmp_path)
    assert stopped.stdout == f"{job}: STOPPED\n", stopped.stderr
    before = trials(store)
    assert {trial.state for trial in before} <= {"completed", "queued"}
    with Store(store, read_only=True) as ledger:
        assert ledger.searches()[0].state == "stopped"
    again = mixopt(*submit, "--follow", folder=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.startswith("mixopt-small-2: ")
    check_nothing_lost_nothing_twice(store, before)
