"""Every speed that mixopt promises, as a ratio to a plain loop in the same process; `make bench`.

$ python -m tests.benchmarks.speed          (about five minutes on two idle cores; writes bench.json)

Times are processor time of one core but where two processes run; values are medians of paired rounds.
"""

import time

from proxies import machine
from tests.benchmarks.programs import ONE, TENTH
from tests.benchmarks.rows_of_mde import mde
from tests.benchmarks.rows_of_models import one_million, side_by_side, tenth_of_a_million
from tests.benchmarks.rows_of_ray import start_of_a_trial
from tests.benchmarks.timing import not_run, write
from tests.benchmarks.two_processes import two_processes

GPU = (
    not_run("GPU: 8 models of 1M in one program, against one after another", 10, "x"),
    not_run("GPU: 8 models of 20M in one program, against one after another", 3, "x"),
    not_run("GPU: dense 60M in bf16, share of the card's measured rate", 40, "%"),
)


def main() -> None:
    """Measure row after row; print the table and write it."""
    started = time.monotonic()
    machine.prepare_process()
    rows = one_million(rounds=15)
    rows += tenth_of_a_million(rounds=60)
    name = "8 models of 0.1M in one program, against one after another"
    rows.append(side_by_side(TENTH, models=8, batch=8, target=1.5, rounds=25, name=name))
    name = "4 models of 1.3M in one program, against one after another"
    rows.append(side_by_side(ONE, models=4, batch=4, target=1.0, rounds=12, name=name))
    rows.append(two_processes(rounds=5))
    rows += mde(rounds=7)
    rows.append(start_of_a_trial())
    write([*rows, *GPU])
    print(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
