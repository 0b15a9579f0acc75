"""Workers on Ray: every job is a task, its progress a stream."""

import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from math import ceil, inf

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray
from ray import ObjectRefGenerator

from mixopt.errors import WorkerError
from mixopt.workers import Job, JobProgress, Outcome, Trainer
from proxies.machine import prepare_process

OBJECT_STORE_BYTES = 100 * 2**20  # outcomes are small: token data goes by path
init_quietly = partial(ray.init, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)


class RayWorkers:
    """Tasks on a Ray cluster; a cluster of its own where `address` is "local".

    trainer: what is done with a job. cpus, gpus: what the dearest job occupies. slots: jobs at a time; None is as many
    as the cluster has room for.
    """

    def __init__(self, trainer: Trainer, *, address: str, slots: int | None, cpus: float, gpus: float) -> None:
        self._trainer = trainer
        self._generators: dict[ObjectRefGenerator, Job] = {}
        connect(address, None if slots is None else ceil(slots * cpus))
        self.slots = slots or room(ray.cluster_resources(), cpus=cpus, gpus=gpus)
        self._warm = [_warm.options(num_cpus=1).remote() for _ in range(self.slots)]

    def submit(self, job: Job) -> None:
        """Queue `job` on the cluster.

        Raises:
            WorkerError: no node has the resources that the job's rung asks for (Ray would wait for ever).
        """
        check_resources(job, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        task = _train.options(num_cpus=job.cpus, num_gpus=job.gpus, resources=dict(job.resources))
        self._generators[task.remote(self._trainer, job)] = job

    def cancel(self, key: int) -> None:
        """Stop the task of the job named `key`."""
        for generator in [g for g, job in self._generators.items() if job.key == key]:
            ray.cancel(generator, force=True)
            del self._generators[generator]

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        """Return the next event of every job that has one."""
        if not self._generators:
            return []
        waiting = list(self._generators)
        ready, _ = ray.wait(waiting, num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [event for generator in ready for event in self._next(generator)]

    def _next(self, generator: ObjectRefGenerator) -> Iterator[Outcome | JobProgress]:
        job = self._generators[generator]
        try:
            event: Outcome | JobProgress = ray.get(next(generator))
        except StopIteration:  # the stream ends after its outcome, which was handed on
            del self._generators[generator]
            return
        except ray.exceptions.RayError as error:  # the worker died, not the training
            del self._generators[generator]
            yield Outcome(key=job.key, state="lost", error=f"worker lost: {error}")
            return
        if isinstance(event, Outcome):
            del self._generators[generator]
        yield event

    def clock(self) -> float:
        """Return the wall clock of this process."""
        return time.monotonic()

    def close(self) -> None:
        """Stop the tasks and leave the cluster; one of our own goes down with it."""
        for generator in self._generators:
            ray.cancel(generator, force=True)
        self._generators.clear()
        ray.shutdown()


def room(resources: Mapping[str, float], *, cpus: float, gpus: float) -> int:
    """Return how many jobs of `cpus` and `gpus` fit into `resources`, at least one."""
    by_gpus = resources.get("GPU", 0.0) / gpus if gpus else inf
    return max(1, int(min(resources.get("CPU", 0.0) / cpus, by_gpus)))


def connect(address: str, cpus: int | None) -> None:
    """Join the Ray cluster at `address`, or start one of `cpus` (None: all of them) on this machine for "local".

    Raises:
        WorkerError: no cluster answers at `address`, or none could be started.
    """
    if address != "local":
        try:
            init_quietly(address=address)
        except (ConnectionError, RuntimeError) as error:
            raise WorkerError(
                f"no Ray cluster answers at {address!r} ({error}); start one or use address: local"
            ) from error
        return
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))  # else Ray writes one into the home directory
    try:
        init_quietly(address="local", num_cpus=cpus or os.cpu_count() or 1, object_store_memory=OBJECT_STORE_BYTES)
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        raise WorkerError(f"Ray did not start on this machine ({error}); use workers: {{kind: local}}") from error


def check_resources(job: Job, nodes: list[Mapping[str, float]]) -> None:
    """Refuse a job that fits on none of `nodes` (their resources).

    Raises:
        WorkerError: with what the rung asks for and what the largest nodes have.
    """
    if any(node.get("CPU", 0) >= job.cpus and node.get("GPU", 0) >= job.gpus for node in nodes):
        return
    have = [f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes]
    raise WorkerError(
        f"rung {job.rung!r} asks for {job.cpus:g} CPUs and {job.gpus:g} GPUs, which no node has: {have}; "
        "lower `cpus` or `gpus` of the rung, or give more slots"
    )


@ray.remote(num_returns="streaming", max_retries=0)
def _train(trainer: Trainer, job: Job) -> Iterator[JobProgress | Outcome]:
    """Train `job` in a thread of its own, so that its progress is yielded while it runs; the outcome comes last."""
    events: queue.SimpleQueue[JobProgress | Outcome] = queue.SimpleQueue()

    def work() -> None:
        prepare_process(threads=max(1, int(job.cpus)))
        events.put(trainer(job, events.put))

    threading.Thread(target=work, daemon=True).start()
    while True:
        event = events.get()
        yield event
        if isinstance(event, Outcome):
            return


@ray.remote
def _warm() -> None:
    """Import what a training needs, so that the first trial does not wait for it."""
    prepare_process(threads=1)
