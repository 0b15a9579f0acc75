"""Workers on Ray: every program of one job or several is a task, its progress a stream."""

import atexit
import logging
import os
import queue
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of processes that were ended on purpose

import ray
from ray import ObjectRef, ObjectRefGenerator
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from mixopt.errors import ClusterGone, WorkerError
from mixopt.ray_head import Head, patience_s
from mixopt.ray_room import Demand, check_demands, room
from mixopt.workers import Job, JobProgress, Outcome, Sample, Trainer, pace_of, run_jobs, too_long
from proxies.machine import prepare_process
from proxies.pace import ALONE, Pace
from proxies.parallel import Ranks, open_port

OBJECT_STORE_BYTES = 100 * 2**20  # outcomes are small: token data goes by path
OVERTIME_S = 15.0  # beyond its time limit, for a job to end itself and say so
LAST_WORDS_S = 10.0  # for Ray to notice that a process has died whose peers have noticed already
PACE_S = 60.0  # for a place on the cluster and the measurement there
init_quietly = partial(ray.init, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)


class RayWorkers:
    """Tasks on a Ray cluster; a cluster of its own where `address` is "local".

    trainer: what is done with a job. demands: what a job of each rung occupies, dearest last. slots: jobs at a time;
    None is as many as the cluster has room for.

    Raises:
        WorkerError: there is no cluster, or none of its nodes has what a rung asks for (Ray would wait for ever).
    """

    def __init__(self, trainer: Trainer, *, address: str, slots: int | None, demands: Mapping[str, Demand]) -> None:
        self._trainer = trainer
        self._running: dict[ObjectRefGenerator, _Running] = {}
        self._seeing: set[tuple[str, str]] = set()
        dearest = list(demands.values())[-1]
        cpus = max(each.resources.get("CPU", 0.0) * each.processes for each in demands.values())
        connect(address, None if slots is None else ceil(slots * cpus))
        self._head = Head(ray.get_runtime_context().gcs_address)
        nodes = [node["Resources"] for node in _nodes()]
        check_demands(demands, nodes)
        self._demands = demands
        self.slots = slots or room(nodes, dearest)
        self._warm = [_warm.options(num_cpus=1).remote() for _ in range(self.slots)]

    def submit(self, *jobs: Job) -> None:
        """Queue `jobs` on the cluster as one task, that occupies what one of them does.

        Raises:
            WorkerError: a node does not see the jobs' text. ClusterGone.
        """
        self._check_head()
        job = jobs[0]
        self._check_sight(job)
        if job.processes == 1:
            self._running[_placed(_train, job).remote(self._trainer, jobs)] = _Running(jobs)
            return
        assert len(jobs) == 1, "a training of several processes has no company"
        bundle = {"CPU": job.cpus, "GPU": job.gpus, **job.resources}
        group = placement_group([{k: v for k, v in bundle.items() if v}] * job.processes, strategy="PACK")
        first = _placed(_train, job, group=group, bundle=0).remote(self._trainer, jobs)
        self._running[first] = _Running(jobs, group=group)

    def pace(self, sample: Sample) -> Pace:
        """Return the pace of trainings where the cluster places one; that of one alone where it does not, or dies."""
        occupied = dict(self._demands[sample.rung].resources)
        cpus, gpus = occupied.pop("CPU", 0.0), occupied.pop("GPU", 0.0)
        task = _pace.options(num_cpus=cpus, num_gpus=gpus, resources=occupied).remote(sample)
        try:
            found: Pace = ray.get(task, timeout=PACE_S)
        except ray.exceptions.GetTimeoutError:
            ray.cancel(task, force=True)  # nothing but this: Ray aborts this process if a task has just ended
            return ALONE
        except ray.exceptions.RayError:
            return ALONE
        return found

    def cancel(self, key: int) -> None:
        """Hear no more of the job named `key`; its task is stopped once nobody waits for any of its jobs."""
        for generator, running in list(self._running.items()):
            if key in running.waiting:
                running.waiting.remove(key)
                if not running.waiting:
                    self._stop(generator)

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        """Return the next event of every task that has one.

        Raises:
            ClusterGone: the head does not answer.
        """
        self._check_head()
        late: list[Outcome | JobProgress] = [
            event for generator in list(self._running) for event in self._overdue(generator)
        ]
        if late or not self._running:
            return late
        waiting = list(self._running)
        ready, _ = ray.wait(waiting, num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [event for generator in ready for event in self._next(generator)]

    def finished(self) -> list[Outcome]:
        """Return every outcome that is there already."""
        found: list[Outcome] = []
        while self._running and self._head.is_there():
            ready, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            if not ready:
                break
            events = [event for generator in ready for event in self._next(generator)]
            found += [event for event in events if isinstance(event, Outcome) and event.state != "lost"]
        return found

    def _overdue(self, generator: ObjectRefGenerator) -> Iterator[Outcome]:
        """Yield the outcomes of jobs that did not end themselves when their time was over."""
        running = self._running[generator]
        limit_s = running.job.timeout_s
        if limit_s is None or running.since_s is None:
            return
        elapsed_s = time.monotonic() - running.since_s
        if elapsed_s < limit_s * len(running.jobs) + OVERTIME_S:
            return
        self._stop(generator)
        for key in running.waiting:
            took_s = elapsed_s / len(running.jobs)
            yield Outcome(key=key, state="failed", elapsed_s=took_s, error=too_long(running.job), node=running.node)

    def _next(self, generator: ObjectRefGenerator) -> Iterator[Outcome | JobProgress]:
        running = self._running[generator]
        try:
            event: Outcome | JobProgress | _Begun = ray.get(next(generator))
        except StopIteration:  # the stream ends after its outcome, which was handed on
            self._forget(generator)
            return
        except ray.exceptions.RayError as error:  # the worker died, not the training
            self._forget(generator)
            told = f"worker lost{running.where}: {_first_line(error)}{_advice(error, running.job)}"
            for key in running.waiting:
                yield Outcome(key=key, state="lost", error=told, node=running.node)
            return
        if isinstance(event, _Begun):
            running.node, running.since_s = event.node, time.monotonic()
            running.others = self._others(running, event.address)
            return
        if event.key not in running.waiting:
            return
        if isinstance(event, Outcome):
            lost = running.lost_other() if event.state == "failed" else None
            running.waiting.remove(event.key)
            if not running.waiting:
                self._forget(generator)
            if lost is not None:
                event = Outcome(key=event.key, state="lost", error=f"worker lost: {lost}")
            event = replace(event, node=running.node)
        yield event

    def _others(self, running: "_Running", address: str) -> list[ObjectRef[None]]:
        """Start the processes that train together with the first, which listens at `address`."""
        job, count = running.job, running.job.processes
        return [
            _placed(_follow, job, group=running.group, bundle=rank).remote(
                self._trainer, replace(job, ranks=Ranks(rank=rank, count=count, address=address))
            )
            for rank in range(1, count)
        ]

    def _stop(self, generator: ObjectRefGenerator) -> None:
        """End a task that may be training."""
        if self._running[generator].group is None:
            ray.cancel(generator, force=True)  # never one that has ended: Ray would abort this process
        self._forget(generator)

    def _forget(self, generator: ObjectRefGenerator) -> None:
        """Let go of a task, with the places that it had: Ray ends whatever is left in them."""
        group = self._running.pop(generator).group
        if group is not None:
            remove_placement_group(group)

    def _check_head(self) -> None:
        """Refuse to call Ray where nobody would answer: it would wait, and then end this process without a word."""
        if not self._head.is_there():
            raise ClusterGone(
                f"the head of the Ray cluster at {self._head.address} has not answered for {patience_s():.0f} s; what "
                "has ended is in the store: start the cluster again, and then run the same command"
            )

    def _check_sight(self, job: Job) -> None:
        """Refuse a cluster of which a node, also one that has come lately, does not see the text of `job`."""
        if not job.corpus:
            return
        nodes = [node for node in _nodes() if (node["NodeID"], job.corpus) not in self._seeing]
        blind = [
            node["NodeManagerHostname"] for node, sees in zip(nodes, _look(nodes, job.corpus), strict=True) if not sees
        ]
        if blind:
            raise WorkerError(
                f"nodes {sorted(set(blind))} do not see the prepared text in {job.corpus}, or see another there; put "
                "the store, or `corpus: {folder: ...}`, on a file system that all nodes share"
            )
        self._seeing.update((node["NodeID"], job.corpus) for node in nodes)

    def clock(self) -> float:
        """Return the wall clock of this process."""
        return time.monotonic()

    def close(self) -> None:
        """Stop the tasks and leave the cluster; one of our own goes down with it."""
        self._head.close()
        if not self._head.is_there():
            atexit.unregister(ray.shutdown)  # it would wait for the head, and be killed for that
            return
        for generator in list(self._running):
            self._stop(generator)
        ray.shutdown()


@dataclass(frozen=True)
class _Begun:
    """What the first process of a job says before anything else: its node, and where others may join it."""

    node: str
    address: str


@dataclass
class _Running:
    """Jobs of one task on the cluster; once it has begun, its node and since when, and its other processes.

    waiting: the keys of the jobs whose outcomes somebody waits for.
    """

    jobs: tuple[Job, ...]
    group: PlacementGroup | None = None
    node: str | None = None
    since_s: float | None = None
    others: list[ObjectRef[None]] = field(default_factory=list)
    waiting: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = [job.key for job in self.jobs]

    @property
    def job(self) -> Job:
        return self.jobs[0]

    @property
    def where(self) -> str:
        return "" if self.node is None else f" on {self.node}"

    def lost_other(self) -> str | None:
        """Return how another process of the job died, if one did: then it is no fault of the training's."""
        try:
            ray.get(self.others, timeout=LAST_WORDS_S)
        except ray.exceptions.GetTimeoutError:
            return None
        except ray.exceptions.RayError as error:
            return _first_line(error)
        return None


def _placed(task: Any, job: Job, *, group: PlacementGroup | None = None, bundle: int = 0) -> Any:  # noqa: ANN401
    """Return a task of Ray's with what a process of `job` occupies, in its place of `group` where there is one."""
    options: dict[str, Any] = {"num_cpus": job.cpus, "num_gpus": job.gpus, "resources": dict(job.resources)}
    if group is not None:
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
    return task.options(**options)


def _first_line(error: BaseException) -> str:
    """Return what Ray says of a lost worker, without its advice on Ray."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


def _advice(error: BaseException, job: Job) -> str:
    """Return what to do about a worker that Ray ended before the node's memory did; nothing of any other."""
    if not isinstance(error, ray.exceptions.OutOfMemoryError):
        return ""
    return f"; let rung {job.rung!r} occupy more (`cpus`, `resources`), so that fewer of its trainings share a node"


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _look(nodes: Sequence[Mapping[str, Any]], corpus: str) -> list[bool]:
    """Return for every node whether it finds there the text that this process does."""
    manifest = Path(corpus) / "manifest.json"
    mine = manifest.read_bytes()
    asked = [
        _read.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(manifest))
        for node in nodes
    ]
    return [seen == mine for seen in ray.get(asked)]


@ray.remote
def _read(path: str) -> bytes | None:
    """Return what stands in a file, None where there is none."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


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


@ray.remote(num_returns="streaming", max_retries=0)
def _train(trainer: Trainer, jobs: tuple[Job, ...]) -> Iterator[JobProgress | Outcome | _Begun]:
    """Train `jobs` in a thread of its own, so that their progress is yielded while they run.

    The name of the node comes first, the outcomes last.
    """
    job = jobs[0]
    events: queue.SimpleQueue[JobProgress | Outcome] = queue.SimpleQueue()
    address = f"{ray.util.get_node_ip_address()}:{open_port()}"
    if job.processes > 1:
        jobs = (replace(job, ranks=Ranks(rank=0, count=job.processes, address=address)),)

    def work() -> None:
        prepare_process(threads=max(1, int(job.cpus)))
        for outcome in run_jobs(jobs, events.put, trainer=trainer):
            events.put(outcome)

    threading.Thread(target=work, daemon=True).start()
    yield _Begun(socket.gethostname(), address)
    left = len(jobs)
    while left:
        event = events.get()
        left -= isinstance(event, Outcome)
        yield event


@ray.remote(max_retries=0)
def _follow(trainer: Trainer, job: Job) -> None:
    """Train one more part of every batch; what goes wrong is the first process's to tell."""
    prepare_process(threads=max(1, int(job.cpus)))
    trainer(job, lambda _: None)


@ray.remote(max_retries=0)
def _pace(sample: Sample) -> Pace:
    """Measure in a process that is set up as for a training."""
    prepare_process(threads=max(1, int(sample.cpus)))
    return pace_of(sample)


@ray.remote(max_retries=0)  # Ray repeats what runs out of memory for ever, and says so every time
def _warm() -> None:
    """Import what a training needs, so that the first trial does not wait for it."""
    prepare_process(threads=1)
