"""Where proxies are trained: what a worker receives and returns, and workers in this process."""

import errno
import platform
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from proxies.checkpoint import Checkpoint
from proxies.config import ProxyConfig
from proxies.corpus import Part, open_corpus
from proxies.pace import Pace, measure_pace
from proxies.parallel import Ranks
from proxies.train import DataExperts, Plan, train_together
from proxies.training import Progress, Report, Training

PlainRecipe = Sequence[tuple[float, Mapping[str, float]]]


@dataclass(frozen=True, kw_only=True)
class ExpertFolders:
    """Data experts that a training starts from: their `proxy`, and for every domain a folder (None: it has none)."""

    proxy: Mapping[str, object]
    folders: Sequence[str | None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial to train, in plain values: token data and artifacts go by path.

    `key` names the trial; `gold` is the folder for gold-token log-probabilities, None where nobody needs them.
    `target_tokens` cuts every domain to the share that `slice_tokens` (the rung's) are of them; None leaves it whole.
    proxy: None where the user's own command trains. folder: for what this attempt leaves behind, logs for one.
    checkpoint: a folder or URL that all attempts at the training share, written every `checkpoint_s`.
    cpus, gpus, resources (of Ray's other names): of each of `processes`; ranks: which one of them this is, if many.
    timeout_s: a training that takes longer fails.
    begin, stable: folders of what a shorter training was before its rate fell, and where this one leaves the same.
    experts: of the search, where the proxy starts from them.
    began_s: on the workers' clock, when the first attempt at it began (below 0: under an earlier driver); None: now.
    """

    key: int
    recipe: PlainRecipe
    proxy: Mapping[str, object] | None
    tokens: int
    seed: int
    corpus: str
    part: Part
    rung: str
    slice_tokens: int
    folder: str
    checkpoint: str
    target_tokens: int | None = None
    gold: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    timeout_s: float | None = None
    checkpoint_s: float = 60.0
    processes: int = 1
    ranks: Ranks | None = None
    began_s: float | None = None
    begin: str | None = None
    stable: str | None = None
    experts: ExpertFolders | None = None


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """How far a running job is: `tokens` trained, the training `loss` in nats per token."""

    key: int
    tokens: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended; `lost` means that its worker died, so that the trial may be trained again.

    `halted`: the disk was full where it ran, so that nothing can be trained there until somebody makes room.

    node: the machine that it ran on, None where nobody said.
    """

    key: int
    state: Literal["completed", "failed", "diverged", "lost", "halted"]
    losses: Mapping[str, float] = field(default_factory=dict)
    accuracies: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, int] = field(default_factory=dict)
    curve: Sequence[tuple[int, float]] = ()
    epochs: Mapping[str, float] = field(default_factory=dict)
    spent_flops: float = 0.0
    elapsed_s: float = 0.0
    details: Mapping[str, object] = field(default_factory=dict)
    error: str | None = None
    node: str | None = None


Trainer = Callable[[Job, Callable[[JobProgress], None]], Outcome]  # reports on its way; never raises an Exception


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What stands for the trainings of a rung where their pace is measured: what trains, on tokens of a vocabulary."""

    rung: str
    proxy: Mapping[str, object]
    vocabulary: int
    cpus: float = 1.0


class Workers(Protocol):
    """A place to train proxies; it never opens the store."""

    @property
    def slots(self) -> int:
        """How many jobs run at once."""
        ...

    def submit(self, *jobs: Job) -> None:
        """Queue `jobs`; several train as one program, in one slot, and end each by itself; returns at once."""
        ...

    def pace(self, sample: Sample) -> Pace:
        """Return how fast trainings as `sample` are alone and in company, measured where they would run."""
        ...

    def cancel(self, key: int) -> None:
        """Stop the job named `key`; nothing more is heard of it."""
        ...

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        """Return what happened, as soon as anything did, at the latest after `timeout_s`."""
        ...

    def finished(self) -> list[Outcome]:
        """Return the outcomes that are there already, without training or waiting for any."""
        ...

    def clock(self) -> float:
        """Return the time in seconds that budgets of time are held against."""
        ...

    def close(self) -> None:
        """Stop everything that still runs."""
        ...


def run_job(job: Job, report: Callable[[JobProgress], None]) -> Outcome:
    """Train the proxy of `job`; one that fails is an outcome, not a crash of the search."""
    start = time.perf_counter()

    def forward(progress: Progress) -> None:
        report(JobProgress(key=job.key, tokens=progress.tokens, loss=progress.loss))
        if job.timeout_s is not None and time.perf_counter() - start > job.timeout_s:
            raise TimeoutError(too_long(job))

    try:
        plan = replace(plan_of(job), report=forward)
        (training,) = train_together([plan], open_corpus(Path(job.corpus)), ranks=job.ranks)
    except Exception as error:  # noqa: BLE001  # the edge of a worker: whatever went wrong belongs to the trial
        text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        return Outcome(key=job.key, state=end_of(error), elapsed_s=time.perf_counter() - start, error=text)
    return outcome_of(job, training)


def end_of(error: BaseException) -> Literal["failed", "halted"]:
    """Return how a job ends on `error`: a full disk, here or behind it, is no fault of its mixture."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            return "halted"
        found = found.__cause__ or found.__context__
    return "failed"


def run_jobs(jobs: Sequence[Job], report: Callable[[JobProgress], None], *, trainer: Trainer) -> list[Outcome]:
    """Train the proxies of `jobs` as one program, and return how each ended.

    Should the program break, they train one after another by `trainer`, so that only those fail that fail alone.
    """
    if len(jobs) == 1:
        return [trainer(jobs[0], report)]
    start = time.perf_counter()
    limits = [job.timeout_s for job in jobs if job.timeout_s is not None]

    def watch(job: Job) -> Report:
        def forward(progress: Progress) -> None:
            report(JobProgress(key=job.key, tokens=progress.tokens, loss=progress.loss))
            if limits and time.perf_counter() - start > sum(limits):
                raise TimeoutError

        return forward

    try:
        plans = [replace(plan_of(job), report=watch(job)) for job in jobs]
        trainings = train_together(plans, open_corpus(Path(jobs[0].corpus)))
    except TimeoutError:
        elapsed_s = (time.perf_counter() - start) / len(jobs)
        return [Outcome(key=job.key, state="failed", elapsed_s=elapsed_s, error=too_long(job)) for job in jobs]
    except Exception:  # noqa: BLE001  # whose fault it was is found out apart
        return [trainer(job, report) for job in jobs]
    return [outcome_of(job, training) for job, training in zip(jobs, trainings, strict=True)]


def plan_of(job: Job) -> Plan:
    """Return the training that `job` asks for."""
    assert job.proxy is not None, "only a command trains without a proxy"
    return Plan(
        config=ProxyConfig.from_plain(job.proxy),
        recipe=job.recipe,
        tokens=job.tokens,
        seed=job.seed,
        part=job.part,
        target_tokens=job.target_tokens,
        slice_tokens=job.slice_tokens,
        gold=None if job.gold is None else Path(job.gold),
        checkpoint=Checkpoint(folder=job.checkpoint, every_s=job.checkpoint_s),
        begin=None if job.begin is None else Checkpoint(folder=job.begin, every_s=job.checkpoint_s),
        stable=None if job.stable is None else Checkpoint(folder=job.stable, every_s=job.checkpoint_s),
        experts=None if job.experts is None else _experts_of(job.experts),
    )


def _experts_of(experts: ExpertFolders) -> DataExperts:
    folders = [None if folder is None else Path(folder) for folder in experts.folders]
    return DataExperts(config=ProxyConfig.from_plain(experts.proxy), folders=folders)


def pace_of(sample: Sample) -> Pace:
    """Return the pace of `sample` in this process."""
    return measure_pace(ProxyConfig.from_plain(sample.proxy), vocabulary=sample.vocabulary)


def too_long(job: Job) -> str:
    """Return in words that a training was ended for the time that it took."""
    return f"the training took longer than the {job.timeout_s:g} s that `timeout_s` of rung {job.rung!r} allows"


def outcome_of(job: Job, training: Training) -> Outcome:
    """Return the outcome of a job whose training came to an end."""
    return Outcome(
        key=job.key,
        state="diverged" if training.diverged else "completed",
        losses=dict(training.losses),
        accuracies=dict(training.accuracies),
        items=dict(training.items),
        curve=tuple(training.curve),
        epochs=dict(training.epochs),
        spent_flops=training.flops,
        elapsed_s=training.elapsed_s,
        details=dict(training.details),
        error="the training loss became NaN or stayed above blind guessing" if training.diverged else None,
    )


class LocalWorkers:
    """Workers in this process: one program at a time, trained inside `wait`."""

    slots = 1

    def __init__(self, trainer: Trainer = run_job) -> None:
        self._trainer = trainer
        self._queue: deque[tuple[Job, ...]] = deque()

    def submit(self, *jobs: Job) -> None:
        """Queue `jobs`, which train as one program."""
        self._queue.append(jobs)

    def pace(self, sample: Sample) -> Pace:
        """Return the pace of trainings in this process."""
        return pace_of(sample)

    def cancel(self, key: int) -> None:
        """Forget the queued job named `key`."""
        left = (tuple(job for job in jobs if job.key != key) for jobs in self._queue)
        self._queue = deque(jobs for jobs in left if jobs)

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        """Train the oldest jobs to their end, however long that takes."""
        if not self._queue:
            return []
        return list(self._train(self._queue.popleft()))

    def _train(self, jobs: Sequence[Job]) -> Iterator[Outcome | JobProgress]:
        events: list[JobProgress] = []
        outcomes = run_jobs(jobs, events.append, trainer=self._trainer)
        yield from events
        for outcome in outcomes:
            yield replace(outcome, node=platform.node())

    def finished(self) -> list[Outcome]:
        """Return nothing: what ends here ends inside of `wait`."""
        return []

    def clock(self) -> float:
        """Return the wall clock of this process."""
        return time.monotonic()

    def close(self) -> None:
        """Forget what is queued."""
        self._queue.clear()
