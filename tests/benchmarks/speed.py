"""Every speed that mixopt promises, as a ratio to a plain loop in the same process; `make bench`.

$ python -m tests.benchmarks.speed

On two idle cores about five minutes, and two more where nothing was compiled before. Times are processor time of one
core but where two processes run; values are medians of paired rounds. Rows go into bench.json as they come.
"""

import sys
import time
import traceback
from collections.abc import Callable
from functools import partial

from proxies import machine
from tests.benchmarks.programs import ONE, TENTH, dense
from tests.benchmarks.rows_of_mde import mde
from tests.benchmarks.rows_of_models import one_million, side_by_side, tenth_of_a_million
from tests.benchmarks.rows_of_ray import start_of_a_trial
from tests.benchmarks.timing import Row, not_run, print_table, write
from tests.benchmarks.two_processes import two_processes

GPU = (
    not_run("GPU: 8 models of 1M in one program, against one after another", 10, "x"),
    not_run("GPU: 8 models of 20M in one program, against one after another", 3, "x"),
    not_run("GPU: dense 60M in bf16, share of the card's measured rate", 40, "%"),
)


def batches(*, compiled: bool) -> list[Row]:
    """Several models in one program, eager and compiled alike."""
    how = "compiled" if compiled else "eager"
    tenth = dense(TENTH, batch_sequences=8, compiled=compiled)
    found = [side_by_side(tenth, models=8, target=1.5, rounds=25, name=f"8 models of 0.1M in one program, both {how}")]
    if not compiled:
        one = dense(ONE, batch_sequences=4)
        found.append(side_by_side(one, models=4, target=1.0, rounds=12, name="4 models of 1.3M in one program, eager"))
    return found


SECTIONS: tuple[Callable[[], list[Row]], ...] = (
    lambda: list(GPU),
    partial(mde, rounds=7),
    lambda: [start_of_a_trial()],
    partial(batches, compiled=False),
    partial(one_million, rounds=40),
    partial(tenth_of_a_million, rounds=60),
    partial(batches, compiled=True),
    lambda: [two_processes(rounds=5)],
)


def main() -> int:
    """Measure section after section, each into bench.json at once; say at the end whether all could be measured."""
    started = time.monotonic()
    machine.prepare_process()
    broken = 0
    for section in SECTIONS:
        try:
            write(section())
        except Exception:  # noqa: BLE001  # the other sections are worth having, and this one is told of
            broken += 1
            traceback.print_exc()
    print_table()
    print(f"took {time.monotonic() - started:.0f} s" + (f"; {broken} sections broke" if broken else ""))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
