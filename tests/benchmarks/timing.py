"""Times of alternatives, taken in turns in one process, and the table that they end in."""

import json
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path("bench.json")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; `met` is None where this machine, or what was run so far, cannot tell."""

    name: str
    value: float | None
    target: float
    met: bool | None
    unit: str


def at_least(name: str, value: float, target: float, unit: str) -> Row:
    return Row(name=name, value=float(value), target=target, met=bool(value >= target), unit=unit)


def at_most(name: str, value: float, target: float, unit: str) -> Row:
    return Row(name=name, value=float(value), target=target, met=bool(value <= target), unit=unit)


def not_run(name: str, target: float, unit: str) -> Row:
    return Row(name=name, value=None, target=target, met=None, unit=unit)


def race(variants: Mapping[str, Callable[[], object]], *, rounds: int, warm: int = 3) -> dict[str, list[float]]:
    """Return the seconds of this process's processor time that each variant took, round by round, in turns.

    Each round has an order of its own: whoever always came after the plain loop would always find its memory cold.
    """
    order, shuffled = list(variants), random.Random(0)
    for run in variants.values():
        for _ in range(warm):
            run()
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            started = time.process_time()
            variants[name]()
            found[name].append(time.process_time() - started)
    return found


def ratio(times: Mapping[str, Sequence[float]], slow: str, fast: str) -> float:
    """Return how many times as fast `fast` is: the median over rounds."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def write(rows: Sequence[Row]) -> None:
    """Put rows into `bench.json`, in place of earlier ones of the same names unless they were not run now."""
    kept = _kept()
    for row in rows:
        if row.value is not None or row.name not in kept:
            kept[row.name] = row
    RESULTS.write_text(json.dumps([asdict(row) for row in kept.values()], indent=1) + "\n", encoding="utf-8")


def print_table() -> None:
    """Print what stands in `bench.json`."""
    print(f"\n{'what':<74} {'value':>10} {'target':>8}  met  unit")
    for row in _kept().values():
        met = "-" if row.met is None else "yes" if row.met else "NO"
        value = "-" if row.value is None else f"{row.value:,.4g}"
        print(f"{row.name:<74} {value:>10} {row.target:>8,.4g}  {met:<3}  {row.unit}")


def _kept() -> dict[str, Row]:
    plain = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    return {each["name"]: Row(**each) for each in plain}
