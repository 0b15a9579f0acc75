"""How far a search has come: frames of a search to the numbers of its cards, pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from dashboard.frames import FINISHED, SearchFrames


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Trials by what became of them, and what they were charged."""

    done: int
    running: int
    queued: int
    failed: int
    spent_flops: float
    proof_flops: float


@dataclass(frozen=True, kw_only=True)
class Best:
    """The lowest objective measured at one rung, in the part of the text that the search looks at."""

    number: int
    rung: str
    objective: float


def totals(view: SearchFrames) -> Totals:
    """Return the counts of trials and the FLOPs charged so far (trials with an end)."""
    states = view.trials["state"]
    charged = view.trials["charged_flops"]
    finished = states.isin(FINISHED)
    return Totals(
        done=int((states == "completed").sum()),
        running=int((states == "running").sum()),
        queued=int((states == "queued").sum()),
        failed=int(states.isin(["failed", "diverged"]).sum()),
        spent_flops=float(charged[finished].sum()),
        proof_flops=float(charged[finished & (view.trials["purpose"] == "proof")].sum()),
    )


def measured(view: SearchFrames) -> pd.DataFrame:
    """Return the trials with an objective on the search's part of the text, in the order in which they finished.

    Adds `spent_flops`, all that the search had been charged when the trial finished, and `best`, the lowest objective
    so far at its rung of those on the text as it is now. A proof is measured on other text, so its objective belongs
    in no such list.
    """
    finished = view.trials[view.trials["state"].isin(FINISHED)].copy()
    finished = finished.sort_values("finished_at", kind="stable")
    finished["spent_flops"] = finished["charged_flops"].cumsum()
    rows = finished[(finished["part"] != "proof") & finished["objective"].notna()].copy()
    fresh = rows["objective"].where(rows["stale"] == 0.0)
    rows["best"] = fresh.groupby(rows["rung"]).cummin().groupby(rows["rung"]).ffill()
    return rows


def best(view: SearchFrames) -> Best | None:
    """Return the best trial of the most expensive rung that has one; None before the first."""
    rows = measured(view)
    for rung in reversed(ladder(view)):
        here = rows[(rows["rung"] == rung) & (rows["stale"] == 0.0)]
        if len(here):
            first = here.sort_values("objective", kind="stable").reset_index().iloc[0]
            return Best(number=int(first["number"]), rung=rung, objective=float(first["objective"]))
    return None


def ladder(view: SearchFrames) -> tuple[str, ...]:
    """Return the rungs that trials may run at, fidelities outside of the ladder first, the top rung last."""
    cut = view.rungs.index(view.top) + 1
    return (*view.rungs[cut:], *view.rungs[:cut])


def by_rung(view: SearchFrames) -> pd.DataFrame:
    """Return one row a rung: trials by state, FLOPs charged and their share, mean seconds a trial, best objective."""
    spent = totals(view).spent_flops
    best_at = measured(view).groupby("rung")["best"].min()
    rows = []
    for rung in ladder(view):
        here = view.trials[view.trials["rung"] == rung]
        charged = float(here.loc[here["state"].isin(FINISHED), "charged_flops"].sum())
        rows.append(
            {
                "rung": rung,
                "done": int((here["state"] == "completed").sum()),
                "running": int(here["state"].isin(["running", "queued"]).sum()),
                "failed": int(here["state"].isin(["failed", "diverged"]).sum()),
                "charged_flops": charged,
                "share": charged / spent if spent > 0 else 0.0,
                "mean_s": float(here["elapsed_s"].mean()) if here["elapsed_s"].notna().any() else math.nan,
                "best": float(best_at.get(rung, math.nan)),
            }
        )
    return pd.DataFrame(rows)


def by_mixture(view: SearchFrames, rung: str) -> pd.DataFrame:
    """Return one row a mixture measured at `rung`, the lowest objective first.

    Replicates of one mixture are one row: `objective` is their mean, `seeds` their number, `label` their trials (after
    its name where it has one); then one column a domain.
    """
    rows = measured(view)
    rows = rows[rows["rung"] == rung]
    weights = view.weights.loc[rows.index]
    groups: dict[tuple[float, ...], list[int]] = {}
    for number, values in zip(rows.index, weights.round(6).to_numpy().tolist(), strict=True):
        groups.setdefault(tuple(values), []).append(int(number))
    names = _plain_mixtures(view)
    found = []
    for key, numbers in groups.items():
        label = " ".join(
            [*names.get(key, ()), *(f"#{number}" for number in numbers[:3]), *([".."] if numbers[3:] else [])]
        )
        mean = float(rows.loc[numbers, "objective"].mean())
        plain = {"number": numbers[0], "label": label, "objective": mean, "seeds": len(numbers)}
        found.append({**plain, **dict(zip(view.domains, key, strict=True))})
    frame = pd.DataFrame(found, columns=["number", "label", "objective", "seeds", *view.domains])
    return frame.sort_values("objective", kind="stable").reset_index(drop=True)


def _plain_mixtures(view: SearchFrames) -> dict[tuple[float, ...], list[str]]:
    total = math.fsum(view.available_tokens.values())
    natural = tuple(round(view.available_tokens[name] / total, 6) for name in view.domains)
    uniform = tuple(round(1 / len(view.domains), 6) for _ in view.domains)
    return {uniform: ["uniform"]} | {natural: ["natural"]}


def epochs_at_target(view: SearchFrames, weight: float, domain: str) -> float:
    """Return how often the target run would read `domain`; nan where target or available tokens are unknown."""
    return weight * view.target_tokens / view.available_tokens.get(domain, math.nan)
