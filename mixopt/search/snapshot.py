"""A running search at one moment, for whoever watches."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mixopt.search.allowance import Allowance
from mixopt.search.ledger import WAITING, read_history
from mixopt.search.setting import Setting
from store import FAILED, Trial

Phase = Literal["experts", "search", "proof", "finished"]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial in flight, and the fraction of its tokens that is trained."""

    number: int
    purpose: str
    fidelity: str
    fraction: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The search at one moment; `news` is what happened since the last one, a line each.

    counts: trials by state; best: trial number, rung and objective of the best observation at the highest rung seen.
    """

    phase: Phase
    counts: Mapping[str, int]
    running: tuple[Running, ...]
    best: tuple[int, str, float] | None
    allowance: Allowance
    news: tuple[str, ...]


def count_states(trials: Sequence[Trial]) -> Mapping[str, int]:
    """Return how many trials are in which state."""
    return Counter(trial.state for trial in trials)


def phase_of(trials: Sequence[Trial]) -> Phase:
    """Return what the search is about while it runs."""
    if any(trial.purpose == "proof" for trial in trials):
        return "proof"
    waiting = [trial for trial in trials if trial.state in WAITING]
    return "experts" if waiting and all(trial.purpose == "expert" for trial in waiting) else "search"


def best_of(trials: Sequence[Trial], setting: Setting) -> tuple[int, str, float] | None:
    """Return the best observation, on the text as it is, of the highest rung that has one: number, rung, objective."""
    history, objective = read_history(trials, setting), setting.problem.objective
    for rung in reversed(setting.problem.ladder.rungs):
        values = [(objective.value(o.losses), o.trial) for o in history.at(rung.name) if not o.stale]
        if values:
            value, number = min(values)
            return number, rung.name, value
    return None


def title(trial: Trial) -> str:
    """Return what a trial is called."""
    return f"trial {trial.number} ({trial.reason}, {trial.fidelity})"


def result(trial: Trial, setting: Setting) -> str:
    """Return how a trial ended, in words."""
    if trial.state != "completed":
        return f"{trial.state}: {(trial.error or 'no reason given').splitlines()[0]}"
    took = f", {trial.elapsed_s:.1f} s" if trial.elapsed_s is not None else ""
    return f"objective {setting.problem.objective.of(trial.losses, trial.accuracies):.4f}{took}"


def hopeless(name: str, trials: Sequence[Trial], setting: Setting) -> str:
    """Return why the search `name`, none of whose trials succeeded, cannot go on, and what to do."""
    errors = [trial.error for trial in trials if trial.error]
    if not errors and setting.config.trained_outside:
        return f"nothing was told yet to {name!r}; begin with: mixopt ask {name}"
    last = errors[-1].splitlines()[0] if errors else "no trial was run: the budget pays for none"
    failed = sum(trial.state in FAILED for trial in trials)
    advice = "mend it and run again, with another --name where the file changes"
    return f"no trial succeeded and {failed} failed, the last one with: {last}; {advice}"
