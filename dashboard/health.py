"""What a person who looks at a search should know, in sentences: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pandas as pd

from dashboard import wording
from dashboard.frames import SearchFrames
from dashboard.progress import Best, best, by_mixture, measured, totals

Level = Literal["good", "note", "warning"]

FAILED_SHARE = 0.2  # a guess: more than this and the proxy is at fault, not the weather
WEAK_AGREEMENT = 0.5  # Spearman's rho; a guess: below it a cheap rung says little about the top one
SURE = 0.9  # probability from which "better than natural" is said without a warning
QUIET_S = 600  # a guess: longer than any proxy of a laptop trains
EDGE = 1e-3  # a weight this near to 1 is all of one domain
LEAST_FINISHED = 5  # shares of fewer trials mean nothing
LOW_BUDGET = 0.98  # of the budget: no trial fits in what is left


@dataclass(frozen=True, kw_only=True)
class Hint:
    """One sentence, and how much it should worry."""

    level: Level
    text: str


def hints(view: SearchFrames, *, now: datetime) -> list[Hint]:
    """Return what deserves attention, the gravest first; empty where nothing does."""
    found = [*_driver(view, now=now), *_trials(view), *_recommendation(view)]
    order: dict[Level, int] = {"warning": 0, "note": 1, "good": 2}
    return sorted(found, key=lambda hint: order[hint.level])


def _driver(view: SearchFrames, *, now: datetime) -> list[Hint]:
    found: list[Hint] = []
    quiet_s = (now - last_record(view)).total_seconds()
    if view.state == "running" and quiet_s > QUIET_S:
        text = (
            f"nothing was recorded for {wording.duration(quiet_s)}: the driver may be dead; `mixopt run` again resumes"
        )
        found.append(Hint(level="warning", text=text))
    if view.state == "stopped":
        found.append(Hint(level="note", text="the search was stopped before its end; `mixopt run` again resumes"))
    if view.state == "failed":
        found.append(
            Hint(level="warning", text="the search failed; mend what its last trials say and `mixopt run` again")
        )
    spent = totals(view).spent_flops
    if view.state == "running" and spent >= LOW_BUDGET * view.budget_flops:
        found.append(Hint(level="note", text="the budget is spent: what runs now is the last"))
    return found


def _trials(view: SearchFrames) -> list[Hint]:
    found: list[Hint] = []
    counts = totals(view)
    ended = counts.done + counts.failed
    if counts.failed and ended >= LEAST_FINISHED and counts.failed > FAILED_SHARE * ended:
        text = f"{counts.failed} of {ended} trials failed or diverged: look at their errors before paying for more"
        found.append(Hint(level="warning", text=text))
    elif counts.failed:
        found.append(
            Hint(
                level="note",
                text=f"{counts.failed} of {ended} trials failed or diverged; they count against the budget",
            )
        )
    if best(view) is None and counts.done:
        text = "no finished trial measures every evaluation set of the objective, so nothing can be ranked yet"
        found.append(Hint(level="note", text=text))
    ranked = by_mixture(view, view.top)
    if len(ranked) >= LEAST_FINISHED and ranked["label"].iloc[0].startswith("natural"):
        found.append(Hint(level="note", text=f"no mixture measured at {view.top} beats the natural one yet"))
    noise, spread = _noise_and_spread(view)
    if noise >= spread > 0:
        sizes = f"sd {noise:.4f} against {spread:.4f} bits per byte"
        text = f"at {view.top}, seeds differ as much as mixtures ({sizes}): trust means only"
        found.append(Hint(level="warning", text=text))
    return found


def _noise_and_spread(view: SearchFrames) -> tuple[float, float]:
    rows = measured(view)
    rows = rows[rows["rung"] == view.top]
    if len(rows) < LEAST_FINISHED:
        return math.nan, math.nan
    keys = [str(key) for key in view.weights.loc[rows.index].round(6).to_numpy().tolist()]
    groups = rows["objective"].groupby(pd.Series(keys, index=rows.index))
    freedom = int((groups.size() - 1).sum())
    if not freedom or groups.ngroups < 3:
        return math.nan, math.nan
    within = float(((rows["objective"] - groups.transform("mean")) ** 2).sum())
    return math.sqrt(within / freedom), float(groups.mean().std())


def _recommendation(view: SearchFrames) -> list[Hint]:
    chosen = view.recommended
    if chosen is None:
        return []
    found: list[Hint] = []
    if chosen.fallback:
        found.append(
            Hint(level="warning", text=f"the recommendation does not come from the usual model: {chosen.fallback}")
        )
    if chosen.holds is False:
        found.append(Hint(level="warning", text=chosen.verdict))
    elif chosen.holds:
        found.append(Hint(level="good", text=chosen.verdict))
    elif chosen.beats_natural < SURE:
        sure = wording.percent(chosen.beats_natural)
        text = f"the recommended mixture beats the natural one with a probability of {sure} only"
        found.append(Hint(level="note", text=text))
    for row in chosen.agreement.itertuples():
        if float(str(row.spearman)) < WEAK_AGREEMENT:
            interval = f"rho {row.spearman:.2f}, {row.low:.2f} to {row.high:.2f}"
            text = f"rung {row.rung} hardly ranks the best mixtures as rung {view.top} does ({interval})"
            found.append(Hint(level="note", text=text))
    whole = [name for name, weight in chosen.mixture.items() if weight > 1 - EDGE]
    if whole:
        found.append(
            Hint(
                level="note",
                text=f"the recommendation is all {whole[0]}: ask whether the objective covers what you want",
            )
        )
    return found


def last_record(view: SearchFrames) -> datetime:
    """Return when the search last wrote something about itself or a trial."""
    moments: list[datetime] = [view.updated_at]
    for column in ("started_at", "finished_at"):
        moments += view.trials[column].dropna().tolist()
    return max(moments)


def best_line(found: Best | None) -> str:
    """Return where the best observed objective was seen."""
    return "no trial measured yet" if found is None else f"trial {found.number} at {found.rung}"
