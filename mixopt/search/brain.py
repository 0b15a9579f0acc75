"""Where proposals are thought of: in the driver's process, or ahead of need in one of their own.

Thinking here costs the workers little while it is short. Once it has held the driver up for as long as it takes to
start a process, one is started and does all that is left: at worst, a search has then lost twice what it had to.
What is thought there is the same, bit for bit: a strategy is a pure function of what it is asked.
"""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Pipe

from mixopt.errors import BrainError, MixoptError
from mixopt.evidence import Evidence, Experts, Proposal, Strategy

START_S = 5.0  # of thinking here before a process is started, which takes about as long
CHILD = "mixopt.search.brain_process"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a strategy is asked: `n` trials to run next, for what was seen."""

    strategy: Strategy
    evidence: Evidence
    n: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Thought:
    """What came of a question, and the seconds that it took."""

    proposals: list[Proposal]
    took_s: float


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What went wrong in place of a thought: in a line, and all that is known of it."""

    line: str
    details: str


Answer = Thought | Fault | MixoptError  # the last: what the user can mend, and what asking again would not


@dataclass(frozen=True)
class Ready:
    """What a process says once it has loaded what it thinks with."""


def answered(question: Question, clock: Callable[[], float] = time.monotonic) -> Answer:
    """Return what the strategy proposes, or what went wrong."""
    began_s = clock()
    try:
        proposals = question.strategy.propose(question.evidence, n=question.n, seed=question.seed)
    except MixoptError as error:
        return error
    except Exception as error:  # noqa: BLE001  # the edge of the brain, like a worker's
        return Fault(line=f"{type(error).__name__}: {error}".splitlines()[0], details=traceback.format_exc())
    return Thought(proposals=proposals, took_s=clock() - began_s)


class Brain:
    """Answers one question at a time, while the driver goes on.

    clock: seconds as the search counts them, so that on a virtual clock nothing is ever thought elsewhere.
    patience_s: of thinking here, before a process is started (infinite: never). told: is called with every fault, and
    with other news in words; the driver's.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = float("inf"),
    ) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._process: _Process | None = None
        self._question: Question | None = None
        self._faults = 0
        self.thought_s = 0.0  # what the last question took
        self.told: Callable[[Fault | str], None] = lambda _: None

    @property
    def is_apart(self) -> bool:
        """Whether what is asked next is thought of by a process of its own."""
        return self._process is not None and self._process.is_ready

    def ask(self, question: Question) -> None:
        """Take a question; `answer` says what came of it."""
        assert self._question is None, "one question at a time"
        self._question = question
        if self._process is None and self._patience_s <= 0.0:
            self._process = _Process(question.strategy)
            self.told("proposals are thought of in a process of their own from now on, ahead of need")
        if self._process is not None and self.is_apart:
            self._process.ask(question)

    def answer(self, wait_s: float) -> list[Proposal] | None:
        """Return what was proposed; None where that takes more than `wait_s`. What is thought here takes what it takes.

        Raises:
            BrainError: it failed, or its process died, twice on the same question.
        """
        assert self._question is not None, "nothing was asked"
        if self._process is not None and self._process.is_asked:
            found = self._process.answer(wait_s)
        else:
            found = answered(self._question, self._clock)
        if isinstance(found, MixoptError):
            raise found
        if isinstance(found, Fault):
            self._retry(self._question, found)
        if not isinstance(found, Thought):
            return None
        if not self.is_apart:
            self._patience_s -= found.took_s
        self._question, self._faults, self.thought_s = None, 0, found.took_s
        return found.proposals

    def close(self) -> None:
        """Stop at once, whatever it thinks about."""
        if self._process is not None:
            self._process.close()
        self._process = self._question = None

    def _retry(self, question: Question, fault: Fault) -> None:
        """Ask once more; of another process, where there was one: what killed that must not kill the driver."""
        self.told(fault)
        self._faults += 1
        if self._faults > 1:
            raise BrainError(
                f"the strategy failed twice on the same question, with: {fault.line}; what ended is recorded, and "
                "`mixopt show --provenance --json` has all that is known of it; mend it or choose another strategy, "
                "then run again"
            )
        if self._process is not None:
            self._process.close()
            self._process = _Process(question.strategy)
            self._process.ask(question)


class _Process:
    """A process that thinks; not `multiprocessing`'s, which would run the user's own script once more."""

    def __init__(self, strategy: Strategy) -> None:
        self._connection, theirs = Pipe()
        self._experts: Experts | None = None
        self._is_ready = False
        self.is_asked = False
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", CHILD, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the driver, which ends this one
            )
        self._send(strategy)  # whose modules it loads, to be ready

    @property
    def is_ready(self) -> bool:
        """Whether it has loaded what it needs; a dead one is ready to say that it is dead."""
        if not self._is_ready and not self.is_asked and self._connection.poll(0.0):
            self._is_ready = True
            self._receive()
        return self._is_ready

    def ask(self, question: Question) -> None:
        """Send what is asked; what the experts tell, which is large, only where it is another than before."""
        evidence = question.evidence
        if evidence.experts is not self._experts:
            self._experts = evidence.experts
            self._send(evidence.experts)
        self._send(replace(question, evidence=replace(evidence, experts=None)))
        self.is_asked = True

    def answer(self, wait_s: float) -> Answer | None:
        """Return the answer if it comes within `wait_s`."""
        if not self._connection.poll(wait_s):
            return None
        found = self._receive()
        if isinstance(found, Ready):  # it was asked before it was
            self._is_ready = True
            return None
        self.is_asked = False
        return found

    def close(self) -> None:
        """Kill it: it keeps nothing."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError:  # it is dead, as receiving will say
            return

    def _receive(self) -> Answer | Ready:
        try:
            found: Answer | Ready = self._connection.recv()
        except (EOFError, OSError):
            self._process.kill()
            line = f"its process died, exit code {self._process.wait()}"
            return Fault(line=line, details=line)
        return found
