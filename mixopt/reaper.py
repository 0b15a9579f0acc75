"""Run a command, and leave nothing of it behind once it has ended or whoever asked for it is gone.

    python reaper.py GRACE_S WORD...

Standard input is a pipe that is never written to: when it closes, however its other end died, everything that the
command has started is told to end, and killed GRACE_S seconds later. The exit code is the command's, 128 + n where
signal n ended it, as shells have it. Needs nothing but Python, so that starting it takes no time.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h: orphans among the descendants become our children
NOT_FOUND = 127  # what shells exit with where there is no such command


def main(grace_s: float, words: list[str]) -> int:
    """Run `words` to their end and return their exit code."""
    watcher = os.fork()
    if watcher:  # Ray kills the children of a worker that it ends, a terminal those in front: this one, no watcher
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return os.waitstatus_to_exitcode(os.waitpid(watcher, 0)[1])
    os.setsid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        command = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {(error.strerror or str(error)).lower()}\n")
        return NOT_FOUND
    threading.Thread(target=_end_with_parent, args=(command.pid, grace_s), daemon=True).start()
    code = command.wait()
    _kill_all(command.pid)
    return code if code >= 0 else 128 - code


def _end_with_parent(leader: int, grace_s: float) -> None:
    os.read(0, 1)
    _signal_group(leader, signal.SIGTERM)
    time.sleep(grace_s)
    _kill_all(leader)


def _kill_all(leader: int) -> None:
    """Kill the command's group, and the descendants that left it, which are our children once theirs are dead."""
    _signal_group(leader, signal.SIGKILL)
    while orphans := _children():
        for child in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                if child != leader:  # the leader's exit code is for who waits for it
                    os.waitpid(child, 0)
        if orphans == [leader]:
            return


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _children() -> list[int]:
    """Return our children; none where the system does not tell."""
    found = []
    for listing in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in listing.read_text().split()]
    return found


if __name__ == "__main__":
    code = main(float(sys.argv[1]), sys.argv[2:])
    sys.stderr.flush()
    os._exit(code)
