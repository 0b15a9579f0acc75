"""What somebody who trains for a search tells of it: which trial, and what was measured or why nothing was.

A trial of theirs is in training from when it is handed out; its worker is `outside:` and a name that they alone have.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.config import SearchConfig
from mixopt.errors import SearchError
from mixopt.objective import ACCURACY, minimized, shown_set
from store import OUTSIDE, InvalidRecord, NotInStore, Result, Search, Store, Trial

TELL = "tell"  # {"told": one mapping a trial, see `told_of`}
ENDS = ("failed", "diverged")
KEYS = ("trial", "losses", "accuracies", "items", *ENDS)

Told = Mapping[str, Any]


def handed_out(store: Store, search: Search, asker: str | None = None) -> list[Trial]:
    """Return the trials in training outside, those of `asker` (None: of anyone)."""
    return [
        trial
        for trial in store.trials(search.id, states=["running"])
        if _worker(store, trial) == asker or (asker is None and _is_outside(store, trial))
    ]


def record_told(store: Store, search: Search, *, told: Sequence[Told]) -> str:
    """Record what was told of trials that were handed out: of all of them, or where one is refused of none.

    Raises:
        SearchError: names the trial, and what is wrong with what was told of it.
    """
    checked = check_told(store, search, told)
    for trial, outcome in checked:
        if isinstance(outcome, Result):
            store.complete(
                trial.id,
                losses=outcome.losses,
                accuracies=outcome.accuracies,
                items=outcome.items,
                curve=(),
                epochs={},
                spent_flops=outcome.spent_flops,
                elapsed_s=0.0,
                details=outcome.details,
            )
        else:
            state, reason = outcome
            store.fail(trial.id, state=state, error=reason, spent_flops=trial.charged_flops)
    return f"recorded: trial{'s' if len(checked) > 1 else ''} {', '.join(str(trial.number) for trial, _ in checked)}"


def check_told(store: Store, search: Search, told: Sequence[Told]) -> list[tuple[Trial, Result | tuple[str, str]]]:
    """Return every trial with its result, or its state and the reason for it; nothing is written.

    Raises:
        SearchError: names the trial, and what is wrong with what was told of it.
    """
    if not told:
        raise SearchError("nothing was told; give a trial with its losses")
    sets = SearchConfig.from_plain(search.config).sets
    found: list[tuple[Trial, Result | tuple[str, str]]] = []
    for each in told:
        trial = _trial(store, search, each.get("trial"))
        if trial.number in [other.number for other, _ in found]:
            raise SearchError(f"trial {trial.number} is told of twice; keep one")
        try:
            found.append((trial, _outcome(trial, each, sets)))
        except (SearchError, InvalidRecord) as error:
            raise SearchError(f"trial {trial.number}: {error}") from None
    return found


def _trial(store: Store, search: Search, number: object) -> Trial:
    """Return the trial of that number, if somebody outside trains it."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise SearchError(f"a trial is named by its number; got {str(number)[:80]!r}")
    waiting = handed_out(store, search)
    if not any(trial.number == number for trial in waiting):
        known = ", ".join(str(trial.number) for trial in waiting) or f"none; begin with: mixopt ask {search.name}"
        try:
            state = f"it is {store.trial(search.id, number).state}" if 0 <= number < 2**31 else "there is none"
        except NotInStore:
            state = "there is none"
        raise SearchError(f"trial {number} of {search.name!r} waits for nobody's word: {state}; handed out: {known}")
    return next(trial for trial in waiting if trial.number == number)


def _outcome(trial: Trial, told: Told, sets: Sequence[str]) -> Result | tuple[str, str]:
    """Return the result of a trial, or how it ended without one and why."""
    unknown = [str(key) for key in told if key not in KEYS]
    if unknown:
        raise SearchError(f"nobody knows {unknown[0]!r}; known: {', '.join(KEYS)}")
    ends = [end for end in ENDS if told.get(end) is not None]
    if not ends:
        return _result(trial, told, sets)
    reason = str(told[ends[0]]).strip()
    if len(ends) > 1 or told.get("losses") or told.get("accuracies") or not reason:
        raise SearchError("a trial has losses, or failed, or diverged, with a reason in words; give one of them")
    return ends[0], reason


def _result(trial: Trial, told: Told, sets: Sequence[str]) -> Result:
    losses, accuracies, items = (_numbers(told, key) for key in ("losses", "accuracies", "items"))
    for name in [name for name in losses if name.startswith(ACCURACY)]:
        accuracies[name.removeprefix(ACCURACY)] = losses.pop(name)
    measured = minimized(losses, accuracies)
    missing = [shown_set(name) for name in sets if name not in measured]
    strange = [shown_set(name) for name in measured if name not in sets]
    if missing or strange:
        what = f"the losses of {missing} are missing" if missing else f"there are no evaluation sets {strange}"
        raise SearchError(f"{what}; give all of {list(map(shown_set, sets))} and no other")
    return Result(
        losses=losses,
        accuracies=accuracies,
        items={name: int(count) if count.is_integer() else 0 for name, count in items.items()},
        curve=(),
        epochs={},
        spent_flops=trial.charged_flops,
        elapsed_s=0.0,  # nobody said how long it took
        details={"told": True},
    )


def _numbers(told: Told, key: str) -> dict[str, float]:
    values = told.get(key)
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise SearchError(f"{key!r} must map evaluation sets to numbers; got {type(values).__name__}")
    found = {}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SearchError(f"{key!r} of {name!r} must be a number; got {str(value)[:80]!r}")
        try:
            found[str(name)] = float(value)
        except OverflowError:
            found[str(name)] = math.inf
        if not math.isfinite(found[str(name)]):
            raise SearchError(
                f"{key!r} of {name!r} must be finite; got {found[str(name)]}; measure again, or say that it diverged"
            )
    return found


def _worker(store: Store, trial: Trial) -> str:
    attempts = store.attempts(trial.id)
    return attempts[-1].worker if attempts else ""


def _is_outside(store: Store, trial: Trial) -> bool:
    return _worker(store, trial).startswith(OUTSIDE)
