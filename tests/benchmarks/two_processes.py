"""Two processes, one a core: compiled programs of several models against plain loops, tokens a second in all.

By the wall clock. As a module of its own it is one such process: it waits for a number of seconds on its input, trains
for so long, and answers with its tokens a second.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from proxies import machine
from tests.benchmarks.plain import PlainLoop
from tests.benchmarks.programs import TENTH, dense, program, text
from tests.benchmarks.timing import Row, at_least

MODELS, BATCH = 4, 8  # of a process: eight models in all
SECONDS = 4.0


def two_processes(rounds: int) -> Row:
    pairs = {kind: [_start(kind) for _ in range(2)] for kind in ("plain", "batched")}
    try:
        for pair in pairs.values():
            for process in pair:
                _read(process)
        rates = [{kind: _rate(pair) for kind, pair in pairs.items()} for _ in range(rounds)]
    finally:
        for pair in pairs.values():
            for process in pair:
                process.kill()
                process.communicate()
    for kind in pairs:
        print(f"two processes, {kind}: {statistics.median(r[kind] for r in rates):,.0f} tokens/s", flush=True)
    found = statistics.median(rate["batched"] / rate["plain"] for rate in rates)
    return at_least("two processes, each 4 models of 0.1M in a compiled program, against plain", found, 3.0, "x")


def _start(kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.benchmarks.two_processes", kind]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "a process of the benchmark died; its error stands above"
    return line


def _rate(pair: list[subprocess.Popen[str]]) -> float:
    for process in pair:
        assert process.stdin is not None
        process.stdin.write(f"{SECONDS}\n")
        process.stdin.flush()
    return sum(float(_read(process)) for process in pair)


def _work(kind: str) -> tuple[Callable[[], object], int]:
    """Return a step, and its tokens; a plain loop trains one model after another."""
    if kind == "plain":
        shape = replace(TENTH, batch_sequences=BATCH)
        return PlainLoop(shape, text()).step, shape.batch_tokens
    return program(dense(TENTH, batch_sequences=BATCH, compiled=True), MODELS), MODELS * BATCH * TENTH.sequence_tokens


def main() -> None:
    machine.prepare_process()
    run, tokens = _work(sys.argv[1])
    for _ in range(3):
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        started, steps = time.perf_counter(), 0
        while time.perf_counter() - started < float(line):
            run()
            steps += 1
        print(steps * tokens / (time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main()
