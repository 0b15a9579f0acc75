"""With what a search was run: software, machine, configuration and text, recorded whenever a driver begins."""

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mixopt.search.setting import Setting
from mixopt.workers import Workers
from proxies.pace import Pace

PACKAGES = (
    "mixopt",
    "torch",
    "numpy",
    "scipy",
    "botorch",
    "gpytorch",
    "scikit-learn",
    "ray",
    "tokenizers",
    "sqlalchemy",
)
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # which Ray gives the processes of a job
JOB_DASHBOARD = "mixopt_dashboard"  # in the metadata of a job that `mixopt submit` made: where its page is
GIT_S = 10.0  # git that has not answered by then is given up


def provenance(setting: Setting, workers: Workers, paces: Mapping[str, Pace]) -> dict[str, object]:
    """Return what drives the search of `setting` now, plain; devices and precisions stand with every run.

    paces: the paces of its rungs, alone and in company, as measured.
    """
    return {
        "packages": {name: release for name in PACKAGES if (release := _version(name)) is not None},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "git": git_revision(Path(__file__).parent),
        "workers": {"kind": type(workers).__name__, "slots": workers.slots},
        "together": {name: pace.to_plain() for name, pace in paces.items()},
        "config_hash": setting.config.digest(),
        "text": setting.text.digest,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:2]],
        "ray_job": ray_job(os.environ),
    }


def ray_job(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the `id` of the Ray job that a process of that environment is of, and its `page` if known; None: none."""
    told = json.loads(environment.get(JOB_CONFIG, "{}")).get("metadata", {})
    if "job_submission_id" not in told:
        return None
    found = {"id": str(told["job_submission_id"])}
    return found | ({"page": f"{told[JOB_DASHBOARD]}/#/jobs/{found['id']}"} if JOB_DASHBOARD in told else {})


def git_revision(folder: Path) -> str | None:
    """Return the commit that the code in `folder` is at, with `+` where files differ; None where it is no checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=True)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
