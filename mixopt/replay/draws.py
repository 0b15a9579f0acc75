"""Draws of a replay, one after another or over processes: the same results in the same order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from threadpoolctl import threadpool_limits

from mixopt.errors import ReplayError

Plan = TypeVar("Plan")
Draw = TypeVar("Draw")
Result = TypeVar("Result")


def replayed(one: Callable[[Plan, Draw], Result], plan: Plan, draws: Sequence[Draw], *, jobs: int) -> Iterator[Result]:
    """Yield `one(plan, draw)` of every draw, in order, as they end; with `jobs` above 1, all of them must be picklable.

    Every process has one thread, so that scores are the same however many there are. They are spawned: the threads of
    a forked BLAS may hang.
    """
    if jobs < 1:
        raise ReplayError(f"draws are played by at least 1 process; got {jobs} jobs")
    if jobs == 1 or len(draws) < 2:
        with threadpool_limits(1):
            yield from map(partial(one, plan), draws)
        return
    with ProcessPoolExecutor(
        min(jobs, len(draws)), mp_context=get_context("spawn"), initializer=_with_one_thread
    ) as pool:
        yield from pool.map(partial(one, plan), draws)


def _with_one_thread() -> None:
    threadpool_limits(1)
