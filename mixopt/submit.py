"""A search as a Ray job on somebody's cluster: submitted, listed, followed, stopped."""

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from mixopt.errors import SearchError, WorkerError
from mixopt.submission import DASHBOARD, SEARCH, Submission, packages

TALKATIVE = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env")
PREFIX = "mixopt"
OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # which Ray's client takes for more than what it is told
STARTING = "No available agent"  # what a head says that has only just begun
STARTING_S = 60.0
SILENT_S = 60.0  # a head that has not answered for so long is given up
POLL_S = 1.0
LEFT_OUT = ["__pycache__", ".git"]  # of the folders that are sent


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """A search as a job: its `id` on the cluster, its `page` on the dashboard; moments in seconds since 1970."""

    id: str
    search: str
    state: str
    store: str
    page: str
    started_s: float | None
    ended_s: float | None
    message: str

    def plain(self) -> dict[str, object]:
        """Return the job as JSON holds it."""
        return asdict(self)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, however."""
        return self.state in ("SUCCEEDED", "FAILED", "STOPPED")


class Jobs:
    """The searches that run, or have run, as jobs of the Ray cluster whose dashboard is at `address`.

    Raises:
        WorkerError: nothing answers there, or it wants a token; from every method.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._told(), _taken_at_its_word():
            self._client = JobSubmissionClient(address)

    def submit(self, submission: Submission, *, with_package: bool) -> RayJob:
        """Start the search of `submission`; its packages are sent along unless the cluster has them.

        Raises:
            SearchError: it runs there already.
        """
        name = submission.config.name
        mine = [job for job in self.all() if job.search == name]
        if alive := [job for job in mine if not job.is_over]:
            raise SearchError(f"search {name!r} runs there as job {alive[-1].id}; see: mixopt logs {alive[-1].id}")
        with self._told(), _sent(submission) as folder:
            runtime_env = {"working_dir": str(folder), "excludes": LEFT_OUT}
            job_id = self._start(
                entrypoint=submission.entrypoint,
                submission_id=f"{PREFIX}-{name}-{1 + max((_number(job.id) for job in mine), default=0)}",
                metadata=dict(submission.metadata(dashboard=self._dashboard)),
                runtime_env=runtime_env | ({"py_modules": packages()} if with_package else {}),
            )
        return self.get(job_id)

    def all(self) -> list[RayJob]:
        """Return every search that is or was a job there, oldest first."""
        with self._told():
            details = self._client.list_jobs()
        found = [self._job(each) for each in details if SEARCH in (each.metadata or {})]
        return sorted(found, key=lambda job: (job.started_s or 0.0, _number(job.id)))

    def get(self, name: str) -> RayJob:
        """Return the job of that id, or the last one of the search of that name.

        Raises:
            SearchError: there is none.
        """
        found = self.all()
        named = [job for job in found if name == job.id] or [job for job in found if name == job.search]
        if not named:
            known = ", ".join(job.id for job in found) or "none; begin with: mixopt submit"
            raise SearchError(f"there is no job or search {name!r} at {self._dashboard}; known: {known}")
        return named[-1]

    def log(self, job: RayJob) -> str:
        """Return what `job` has printed so far."""
        with self._told():
            return str(self._client.get_job_logs(job.id))

    def follow(self, job: RayJob) -> Iterator[str]:
        """Yield what `job` prints, from its start to its end, also where the connection breaks off meanwhile.

        Raises:
            WorkerError: the cluster has not answered for a minute.
        """
        seen, heard_s = 0, time.monotonic()
        while True:
            try:
                for chunk in _pieces(self._client.tail_job_logs(job.id), seen):
                    seen += len(chunk)
                    heard_s = time.monotonic()
                    yield chunk
                if self.get(job.id).is_over:
                    return
            except (ClientError, ConnectionError, RuntimeError, WorkerError) as error:
                if time.monotonic() - heard_s > SILENT_S:
                    raise WorkerError(
                        f"the cluster at {self._dashboard} has not answered for {SILENT_S:.0f} s ({error}); what has "
                        "ended is in the store, and submitting the search again goes on with it"
                    ) from None
            time.sleep(POLL_S)

    def stop(self, job: RayJob) -> None:
        """Ask `job` to end; it has a few seconds to record what it knows."""
        with self._told():
            self._client.stop_job(job.id)

    def _start(self, **job: Any) -> str:  # noqa: ANN401  # as Ray's client takes it
        """Submit a job, and return its id; a head that has only just begun is waited for."""
        until_s = time.monotonic() + STARTING_S
        while True:
            try:
                return str(self._client.submit_job(**job))
            except RuntimeError as error:
                if STARTING not in str(error) or time.monotonic() > until_s:
                    raise
            time.sleep(POLL_S)

    @property
    def _dashboard(self) -> str:
        """The address without a user's name or password."""
        url = urlsplit(self._address if "://" in self._address else f"http://{self._address}")
        port = "" if url.port is None else f":{url.port}"
        return f"{url.scheme}://{url.hostname}{port}"

    def _job(self, details: JobDetails) -> RayJob:
        told = details.metadata or {}
        job_id = details.submission_id or details.job_id or ""
        return RayJob(
            id=job_id,
            search=told[SEARCH],
            state=str(details.status.value),
            store=told.get("mixopt_store", "unknown"),
            page=f"{told.get(DASHBOARD, self._dashboard)}/#/jobs/{job_id}",
            started_s=None if details.start_time is None else details.start_time / 1e3,
            ended_s=None if not details.end_time else details.end_time / 1e3,
            message=details.message or "",
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what Ray's client finds wrong."""
        try:
            yield
        except AuthenticationError:
            raise WorkerError(
                f"the Ray cluster at {self._dashboard} wants a token; put the one of the cluster into RAY_AUTH_TOKEN"
            ) from None
        except ConnectionError:
            raise WorkerError(
                f"no Ray cluster answers at {self._dashboard}; give the address of its dashboard: --address "
                "http://head:8265"
            ) from None
        except RuntimeError as error:
            said = " ".join(str(error).split())[:300]
            raise WorkerError(f"the Ray cluster at {self._dashboard} did not do it: {said}") from None


def _number(job_id: str) -> int:
    """Return the last number of an id, 0 where it has none."""
    tail = job_id.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


@contextmanager
def _sent(submission: Submission) -> Iterator[Path]:
    """Give the folder to send: the user's, or one with the search's file alone."""
    if submission.working_dir is not None:
        yield submission.working_dir
        return
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(submission.path, folder)
        yield Path(folder)


@contextmanager
def _taken_at_its_word() -> Iterator[None]:
    """Keep from Ray's client the variables that it would take for the address, whatever it is told."""
    kept = {name: os.environ.pop(name) for name in OVERRIDES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _pieces(chunks: AsyncIterator[str], skip: int) -> Iterator[str]:
    """Yield what an asynchronous iterator gives, less the first `skip` characters, which were seen before."""
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                chunk = loop.run_until_complete(anext(chunks))
            except StopAsyncIteration:
                return
            rest = chunk[skip:]
            skip = max(0, skip - len(chunk))
            if rest:
                yield rest
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
