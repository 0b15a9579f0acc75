"""The learning rate of one proxy: a search over powers of two until the best has worse ones on both sides."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MOST_RATES = 9  # a start that is wrong by a factor of 16 is still found


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The rates tried with their losses (infinite where a training diverged), and the best of them.

    bracketed: rates on both sides of the best were tried and are worse.
    """

    losses: Mapping[float, float]
    best: float
    bracketed: bool


def tune(loss: Callable[[float], float], start: float) -> Tuned:
    """Return the best of `start` times powers of two, by as few trainings as a valley with one bottom needs."""
    losses: dict[int, float] = {}

    def tried(power: int) -> float:
        if power not in losses:
            losses[power] = loss(start * 2.0**power)
        return losses[power]

    best = 0
    while True:
        missing = [power for power in (best, best - 1, best + 1) if power not in losses]
        if not missing or len(losses) >= MOST_RATES:
            break
        tried(missing[0])
        best = min(losses, key=lambda power: (losses[power], power))
    return Tuned(
        losses={start * 2.0**power: losses[power] for power in sorted(losses)},
        best=start * 2.0**best,
        bracketed=not missing and math.isfinite(losses[best]),
    )
