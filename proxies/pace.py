"""How many models of one shape to train as one program: as many as is fastest here, by measuring."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from proxies.config import ProxyConfig
from proxies.fitting import step
from proxies.optimizers import OPTIMIZERS
from proxies.train import build

COUNTS = (1, 4, 8)  # sixteen gained nothing more where it was measured
MEASURE_S = 3.0  # of steps in all, to find out; what does not fit twice has long steps, which gain little
ROUNDS = 4  # at most, the first of them to warm up
LEAST_GAIN = 1.05  # below it the company is not worth its trouble: its trials wait for each other
NEAR = 0.97  # fewer models at nearly the best pace leave more slots busy and hold fewer trials up


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of a model's step in programs of so many models; `count` models to train as one, `gain` times as fast."""

    step_s: Mapping[int, float]

    @property
    def count(self) -> int:
        """The fewest models at nearly the best pace; one, where company gains next to nothing."""
        best = min(self.step_s.values())
        if self.step_s[1] < LEAST_GAIN * best:
            return 1
        return min(count for count, seconds in self.step_s.items() if seconds * NEAR <= best)

    @property
    def gain(self) -> float:
        """How many times as fast a program of `count` is as training one after another."""
        return self.step_s[1] / self.step_s[self.count]

    def to_plain(self) -> dict[str, object]:
        """Return what was measured and chosen, to be recorded."""
        seconds = {str(count): round(each, 6) for count, each in self.step_s.items()}
        return {"together": self.count, "gain": round(self.gain, 3), "step_s": seconds}


ALONE = Pace(step_s={1: 1.0})  # where nothing was measured: no company


def measure_pace(config: ProxyConfig, *, vocabulary: int) -> Pace:
    """Return the pace of untrained models of `config` on random tokens, programs of every size in turns.

    On a processor by the time that this thread computes, so that other load on the machine matters little.
    """
    place = build(config, vocabulary=vocabulary, end_of_document=0, seed=0).table.device
    clock = _waited if place.type == "cuda" or torch.get_num_threads() > 1 else time.thread_time
    steps: dict[int, Callable[[], None]] = {1: _step_of(config, 1, vocabulary=vocabulary)}
    alone_s = min(_timed(steps[1], clock) for _ in range(3))
    rounds = min(ROUNDS, int(MEASURE_S / (alone_s * sum(COUNTS))))
    if rounds < 2:
        return Pace(step_s={1: alone_s})
    steps |= {count: _step_of(config, count, vocabulary=vocabulary) for count in COUNTS[1:]}
    found = [{count: _timed(take, clock) / count for count, take in steps.items()} for _ in range(rounds)]
    return Pace(step_s={count: median(each[count] for each in found[1:]) for count in steps})


def _step_of(config: ProxyConfig, count: int, *, vocabulary: int) -> Callable[[], None]:
    """Return a function that takes a step with `count` models."""
    models = [build(config, vocabulary=vocabulary, end_of_document=0, seed=seed) for seed in range(count)]
    optimizers = OPTIMIZERS[config.optimizer](models)
    shape = (count, config.batch_sequences, config.sequence_tokens + 1)
    rows = np.random.default_rng(0).integers(0, vocabulary, shape)

    def take() -> None:
        step(models, rows, optimizers)

    return take


def _timed(take: Callable[[], None], clock: Callable[[], float]) -> float:
    started = clock()
    take()
    return clock() - started


def _waited() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
