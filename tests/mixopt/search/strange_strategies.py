"""Strategies that take long, fail or die, importable by a process of their own."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixopt.evidence import Evidence, Proposal
from mixopt.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Mixtures drawn at random at the cheapest rung, after `pause_s`; where `fatal` is no file yet, it is made first.

    last: how it ends then, as an exit code; 0: with an exception. always: also where the file is there.
    """

    problem: Problem
    pause_s: float = 0.0
    fatal: str | None = None
    last: int = 9
    always: bool = False

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return mixtures drawn from the whole space."""
        del evidence
        if self.fatal is not None and (self.always or not Path(self.fatal).exists()):
            with Path(self.fatal).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")
            if self.last:
                os._exit(self.last)
            raise ValueError("no thought came")
        time.sleep(self.pause_s)
        rung = self.problem.ladder.cheapest.name
        drawn = self.problem.space.sample(n, np.random.default_rng(seed))
        return [Proposal(mixture=m, fidelity=rung, seed=0, purpose="search", reason="drawn") for m in drawn]
