"""Workers on a virtual clock: every job's end is known when it starts, and waiting takes no time."""

import hashlib
import json
from pathlib import Path

from mixopt.config import SearchConfig
from mixopt.text import PARTS, Text
from mixopt.workers import Job, JobProgress, Outcome, Sample, outcome_of
from proxies.config import ProxyConfig
from proxies.pace import ALONE, Pace
from proxies.simulated import GOLD_TOKENS, VOCABULARY, SimulatedLaw

DEFAULT_SLOTS = 2


def simulated_law(config: SearchConfig) -> SimulatedLaw:
    """Return the law that stands for the trainings of `config`."""
    assert config.simulated is not None
    return SimulatedLaw(
        domains=tuple(section.name for section in config.domains),
        pools={section.name: section.available_tokens or 1 for section in config.domains},
        revisions={section.name: section.revision for section in config.domains if section.revision},
        target_tokens=None if config.target is None else config.target.tokens,
        **config.simulated.model_dump(),
    )


def simulated_text(config: SearchConfig) -> Text:
    """Return the text that a simulated search stands on: as much as its domains state, and none to read.

    Its digest is the law's, so that no other law's runs are taken for its own.
    """
    law = json.dumps(config.simulated_plain(), sort_keys=True, allow_nan=False)
    available = {section.name: section.available_tokens or 0 for section in config.domains}
    scored = dict.fromkeys(config.sets, GOLD_TOKENS)
    return Text(
        folder="simulated",
        digest=f"simulated-{hashlib.sha256(law.encode()).hexdigest()}",
        vocabulary=VOCABULARY,
        available_tokens=available,
        slice_tokens={rung.name: _slices(config, rung.tokens) for rung in config.rungs},
        evaluation_tokens=dict.fromkeys(PARTS, GOLD_TOKENS * len(config.sets)),
        scored_bytes=dict.fromkeys(PARTS, scored),
    )


def _slices(config: SearchConfig, tokens: int) -> dict[str, int]:
    """Return what simulated epoching would leave of every domain to a proxy trained on `tokens`."""
    share = 1.0 if config.target is None else tokens / config.target.tokens
    return {section.name: int((section.available_tokens or 0) * share) for section in config.domains}


class SimulatedWorkers:
    """Slots on a virtual clock; jobs start as they were submitted and end as the law's durations have it."""

    def __init__(self, config: SearchConfig) -> None:
        self.slots = config.workers.slots or DEFAULT_SLOTS
        self._law = simulated_law(config)
        self._now_s = 0.0
        self._queue: list[Job] = []
        self._ends: dict[float, Outcome] = {}

    def submit(self, *jobs: Job) -> None:
        """Start `jobs`, each on the first slot that is free."""
        self._queue += jobs
        self._start()

    def pace(self, sample: Sample) -> Pace:
        """Return that company gains nothing: a law takes no steps."""
        del sample
        return ALONE

    def cancel(self, key: int) -> None:
        """Forget the job named `key`."""
        self._queue = [job for job in self._queue if job.key != key]
        self._ends = {end: outcome for end, outcome in self._ends.items() if outcome.key != key}
        self._start()

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        """Move the clock to the next end of a job and return its outcome; nothing when no job is left."""
        if not self._ends:
            return []
        self._now_s = min(self._ends)
        outcome = self._ends.pop(self._now_s)
        self._start()
        return [outcome]

    def finished(self) -> list[Outcome]:
        """Return nothing: on a virtual clock, what has ended is what was waited for."""
        return []

    def clock(self) -> float:
        """Return the virtual seconds since the start."""
        return self._now_s

    def close(self) -> None:
        """Forget everything."""
        self._queue.clear()
        self._ends.clear()

    def _start(self) -> None:
        while self._queue and len(self._ends) < self.slots:
            job = self._queue.pop(0)
            assert job.proxy is not None
            training = self._law.train(
                ProxyConfig.from_plain(job.proxy),
                job.recipe,
                tokens=job.tokens,
                seed=job.seed,
                part=job.part,
                gold=None if job.gold is None else Path(job.gold),
            )
            outcome = outcome_of(job, training)
            began_s = self._now_s if job.began_s is None else job.began_s  # a simulated training survives its driver
            end_s = began_s + outcome.elapsed_s
            while end_s in self._ends:  # two ends at the same instant still have an order
                end_s += 1e-9
            self._ends[end_s] = outcome
