"""Why no mixture keeps within some limits, in words: those that cannot hold together, and what would open them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixopt.polytope import FEASIBLE, linear_program


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One reason why a weight cannot be just anything: `row @ w <= bound`.

    words: the number and where it comes from, such as `code 0.22 (max_epochs 4 x 1.1e9 tokens / 2e10)`.
    opening: what to write instead, with `{}` for the value; the value is `scale * (bound + relaxation)`.
    """

    kind: Literal["cap", "floor", "linear"]
    row: NDArray[np.float64]
    bound: float
    words: str
    opening: str
    scale: float = 1.0


def explain(limits: Sequence[Limit], d: int) -> str | None:
    """Return why no mixture of `d` domains keeps within all `limits`, and the smallest changes; None where one does."""
    if _slack(limits, (), d) is not None:
        return None
    conflict = _conflict(limits, d)
    return f"{_what(conflict)}; to open it, {_openings(limits, conflict, d)}"


def _what(conflict: Sequence[Limit]) -> str:
    listed = ", ".join(limit.words for limit in conflict)
    kinds = {limit.kind for limit in conflict}
    if kinds == {"cap"}:
        room = sum(limit.bound for limit in conflict)
        return f"no mixture fits: the caps leave room for at most {room:.4g} of the tokens: {listed}"
    if kinds == {"floor"}:
        need = -sum(limit.bound for limit in conflict)
        return f"no mixture fits: the floors need {need:.4g} of the tokens: {listed}"
    return f"no mixture fits: these cannot hold together: {listed}"


def _openings(limits: Sequence[Limit], conflict: Sequence[Limit], d: int) -> str:
    single = []
    for limit in conflict:
        slack = _slack([other for other in limits if other is not limit], (limit,), d)
        if slack is not None and _sensible(limit, float(slack[0])):
            single.append(_opening(limit, float(slack[0])))
    if single:
        return " or ".join(single)
    slack = _slack((), limits, d)
    assert slack is not None, "with every limit relaxed, some mixture fits"
    changed = [_opening(limit, s) for limit, s in zip(limits, slack.tolist(), strict=True) if s > FEASIBLE]
    return " and ".join(changed)


def _sensible(limit: Limit, slack: float) -> bool:
    """Return whether the relaxed limit is something that one could write: caps at most 1, floors at least 0."""
    return limit.kind != "floor" or limit.bound + slack <= FEASIBLE


def _opening(limit: Limit, slack: float) -> str:
    return limit.opening.format(_rounded(limit.scale * (limit.bound + slack), upwards=limit.scale > 0.0))


def _rounded(value: float, *, upwards: bool) -> str:
    """Return `value` in four digits, never on the side that would leave the space empty."""
    if abs(value) < FEASIBLE:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 3)
    digits = value / unit
    whole = math.ceil(digits - 1e-6) if upwards else math.floor(digits + 1e-6)
    return f"{whole * unit:.4g}"


def _conflict(limits: Sequence[Limit], d: int) -> list[Limit]:
    """Return limits that cannot hold together though any one fewer could (deletion filter)."""
    kept = list(limits)
    for limit in limits:
        fewer = [other for other in kept if other is not limit]
        if _slack(fewer, (), d) is None:
            kept = fewer
    return kept


def _slack(hard: Sequence[Limit], soft: Sequence[Limit], d: int) -> NDArray[np.float64] | None:
    """Return the smallest relaxations of `soft` that a mixture within `hard` needs; None: there is no such mixture."""
    rows = np.array([limit.row for limit in (*hard, *soft)]).reshape(-1, d)
    relax = np.vstack([np.zeros((len(hard), len(soft))), -np.eye(len(soft))])
    solution = linear_program(
        np.concatenate([np.zeros(d), np.ones(len(soft))]),
        A=np.hstack([rows, relax]),
        b=np.array([limit.bound for limit in (*hard, *soft)]),
        E=np.concatenate([np.ones(d), np.zeros(len(soft))])[None, :],
        f=np.ones(1),
    )
    return None if solution is None else solution[d:]
