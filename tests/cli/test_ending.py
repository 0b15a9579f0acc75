"""A command that is asked to end does so, wherever it is when it is asked."""

import signal
import subprocess
import sys

import pytest

ASKED_WHILE_AN_OBJECT_IS_TAKEN_DOWN = """
import os, signal, sys, time
from mixopt.cli.app import end_on_sigterm

class Leaving:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        sum(range(1_000))

signal.signal(signal.SIGINT, signal.default_int_handler)
end_on_sigterm()
try:
    Leaving()
    print("lost", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print("ends")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_asked_while_an_object_is_taken_down_ends_all_the_same(number: signal.Signals) -> None:
    command = [sys.executable, "-c", ASKED_WHILE_AN_OBJECT_IS_TAKEN_DOWN, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.split() == ["lost", "ends"]  # Python loses it there, and it comes again
    assert not done.stderr


def test_what_else_is_lost_there_is_told_as_python_does() -> None:
    script = "from mixopt.cli.app import end_on_sigterm\nend_on_sigterm()\nclass A:\n def __del__(self): 1 / 0\nA()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert "ZeroDivisionError" in done.stderr
