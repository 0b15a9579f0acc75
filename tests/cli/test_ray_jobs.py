"""A search as a job of a Ray head that the test starts: followed to its end, found again, its result in the store."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from store import Store
from tests.ray_cluster import ROOT, TIMEOUT_S

CONFIG = ROOT / "configs" / "simulated.yaml"


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of a head's dashboard, on ports that the system chooses."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # a socket's path has at most 107 characters
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
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
                "temp_dir": folder,
            },
        )
        yield f"http://{cluster.webui_url}"
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


def test_a_search_is_submitted_followed_to_its_end_and_lies_in_the_store(head: str, tmp_path: Path) -> None:
    store = tmp_path / "kept" / "mixopt.db"
    store.parent.mkdir()
    plain = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    small = {"budget_flops": 1.2e14, "strategy": {"name": "random"}, "proof": {"seeds": 2}}
    (tmp_path / "simulated.yaml").write_text(yaml.safe_dump(plain | small), encoding="utf-8")
    asked = ("--address", head)
    done = mixopt(
        *("submit", "simulated.yaml", "--store", str(store), "--store-outlasts", "--follow", *asked), folder=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"mixopt-simulated-1: search simulated, store {store}, {head}/#/jobs/mixopt-")
    assert "simulated is finished" in done.stdout
    with Store(store, read_only=True) as ledger:
        search = ledger.searches()[0]
        assert search.state == "finished"
        assert ledger.recommendation(search.id) is not None
        job = ledger.sessions(search.id)[0].provenance["ray_job"]
    listed = json.loads(mixopt("jobs", "--json", *asked, folder=tmp_path).stdout)
    assert [(each["id"], each["search"], each["state"]) for each in listed] == [
        ("mixopt-simulated-1", "simulated", "SUCCEEDED")
    ]
    assert job == {"id": listed[0]["id"], "page": listed[0]["page"]}
    assert "simulated is finished" in mixopt("logs", "simulated", *asked, folder=tmp_path).stdout
    refused = mixopt("stop", "simulated", *asked, folder=tmp_path)
    assert refused.returncode == 1
    assert "SUCCEEDED already" in refused.stderr
