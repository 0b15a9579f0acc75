"""Records of the store to data frames: the only file of the dashboard that calls the store.

One row a trial in `trials`, `weights` and `epochs` (index: its number); the objective is computed here, on reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from mixopt.objective import Objective, minimized
from store import Attempt, NotInStore, Recommendation, Search, Store, Trial
from store import StoreError as StoreError

FINISHED = ("completed", "failed", "diverged", "retracted")
SEARCH_COLUMNS = ("name", "state", "seed", "trials", "created", "updated")
TRIAL_COLUMNS = {
    "purpose": "object",
    "rung": "object",
    "part": "object",
    "seed": "int64",
    "state": "object",
    "objective": "float64",
    "predicted_mean": "float64",
    "predicted_sd": "float64",
    "charged_flops": "float64",
    "elapsed_s": "float64",
    "attempts": "int64",
    "finished_at": "object",
    "started_at": "object",
    "reason": "object",
    "error": "object",
}
RUNG_COLUMNS = ("rung", "spearman", "low", "high", "mixtures")
PROOF_COLUMNS = (
    "name",
    "mixture",
    "predicted_mean",
    "predicted_sd",
    "measured",
    "standard_error",
    "difference",
    "difference_low",
    "difference_high",
    "beats_natural",
    "seeds",
)


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """The latest recommendation of a search, and its proof where there is one.

    agreement: one row a cheap rung, how it ranks mixtures: `rung`, `spearman`, `low`, `high`, `mixtures`.
    proof: one row a mixture trained for the proof (`PROOF_COLUMNS`), empty before the proof; losses in bits per byte.
    holds: whether the proof holds; None before the proof.
    """

    mixture: Mapping[str, float]
    mean: float
    sd: float
    beats_natural: float
    natural_mean: float
    natural_sd: float
    agreement: pd.DataFrame
    fallback: str | None
    proof: pd.DataFrame
    holds: bool | None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class SearchFrames:
    """One search as the screens see it.

    rungs: cheap to expensive, then fidelities outside of the ladder that trials used; top: the ladder's last.
    trials: `TRIAL_COLUMNS`; weights and epochs: one column a domain; losses: one an evaluation set, bits per
    byte, or the share of wrong answers (`error/<set>`).
    budget_flops, time_limit_s, target_tokens: nan where the search has none.
    """

    name: str
    state: str
    seed: int
    created_at: datetime
    updated_at: datetime
    objective: Objective
    budget_flops: float
    time_limit_s: float
    target_tokens: float
    rungs: tuple[str, ...]
    top: str
    domains: tuple[str, ...]
    available_tokens: Mapping[str, float]
    trials: pd.DataFrame
    weights: pd.DataFrame
    epochs: pd.DataFrame
    losses: pd.DataFrame
    recommended: Recommended | None


@dataclass(frozen=True, kw_only=True)
class TrialFrames:
    """What the store knows of one trial besides its row: its training loss over tokens, and its attempts."""

    number: int
    curve: pd.DataFrame
    predicted: Mapping[str, tuple[float, float]]
    seen: tuple[int, ...]
    attempts: pd.DataFrame


def searches(location: str) -> pd.DataFrame:
    """Return one row a search of the store at `location` (`SEARCH_COLUMNS`), the newest first."""
    with Store(location, read_only=True) as store:
        found = sorted(store.searches(), key=lambda search: search.created_at, reverse=True)
        totals = store.totals()
        rows = [
            (
                each.name,
                each.state,
                each.seed,
                totals[each.id].trials if each.id in totals else 0,
                each.created_at,
                each.updated_at,
            )
            for each in found
        ]
    return pd.DataFrame(rows, columns=list(SEARCH_COLUMNS))


def load(location: str, name: str) -> SearchFrames:
    """Return the frames of the search `name`; StoreError where the store has no such search."""
    with Store(location, read_only=True) as store:
        search = _found(store, name)
        trials = store.trials(search.id)
        latest = store.recommendation(search.id)
    return search_frames(search, trials, None if latest is None else _flagged(latest))


def load_trial(location: str, name: str, number: int) -> TrialFrames:
    """Return the details of one trial of the search `name`; StoreError where there is none."""
    with Store(location, read_only=True) as store:
        trial = store.trial(_found(store, name).id, number)
        curve = store.curve(trial.run_hash)
        attempts = store.attempts(trial.id)
    return TrialFrames(
        number=number,
        curve=pd.DataFrame(curve, columns=["tokens", "loss"]),
        predicted={key: _mean_and_sd(value) for key, value in trial.predicted.items()},
        seen=tuple(trial.seen),
        attempts=_attempts(attempts),
    )


def _found(store: Store, name: str) -> Search:
    search = store.find_search(name)
    if search is None:
        known = sorted(each.name for each in store.searches())
        raise NotInStore(f"no search is called {name!r}; the store has {known}")
    return search


def _flagged(latest: Recommendation) -> Mapping[str, Any]:
    """Return what was recommended, with a word on trials that it rests on and that were retracted since."""
    if not latest.undermined:
        return latest.payload
    numbers = ", ".join(map(str, latest.undermined))
    said = f"it rests on trials that were retracted since ({numbers}); decide anew with `mixopt run`"
    return {**latest.payload, "fallback": "; ".join(filter(None, [latest.payload["fallback"], said]))}


def _attempts(attempts: Sequence[Attempt]) -> pd.DataFrame:
    rows = [(each.worker, each.state, each.started_at, _number(each.elapsed_s), each.error or "") for each in attempts]
    return pd.DataFrame(rows, columns=["worker", "state", "started_at", "elapsed_s", "error"])


def search_frames(search: Search, trials: Sequence[Trial], payload: Mapping[str, Any] | None) -> SearchFrames:
    """Return the frames of records: `payload` is that of the latest recommendation, None where there is none."""
    config = search.config
    objective = Objective.from_plain(config["objective"])
    measured = [minimized(trial.losses, trial.accuracies) for trial in trials]
    ladder = tuple(str(rung["name"]) for rung in config["ladder"])
    domains = tuple(search.domains)
    numbers = pd.Index([trial.number for trial in trials], dtype="int64", name="number")
    return SearchFrames(
        name=search.name,
        state=search.state,
        seed=search.seed,
        created_at=search.created_at,
        updated_at=search.updated_at,
        objective=objective,
        budget_flops=_number(config.get("budget_flops")),
        time_limit_s=_number(config.get("time_limit_s")),
        target_tokens=_number((config.get("target") or {}).get("tokens")),
        rungs=tuple(dict.fromkeys([*ladder, *(trial.fidelity for trial in trials)])),
        top=ladder[-1],
        domains=domains,
        available_tokens=dict(search.domains),
        trials=_trials(trials, objective, numbers),
        weights=_table([trial.weights for trial in trials], domains, numbers).fillna(0.0),
        epochs=_table([trial.epochs for trial in trials], domains, numbers),
        losses=_table(measured, tuple(dict.fromkeys(name for row in measured for name in row)), numbers),
        recommended=None if payload is None else recommended(payload),
    )


def recommended(payload: Mapping[str, Any]) -> Recommended:
    """Return a recommendation from what the search recorded of it."""
    proof = payload.get("proof")
    rows = [] if proof is None else [{c: row.get(c) for c in PROOF_COLUMNS} for row in proof["rows"]]
    frame = pd.DataFrame(rows, columns=list(PROOF_COLUMNS))
    measures = [column for column in PROOF_COLUMNS if column not in ("name", "mixture", "seeds")]
    frame[measures] = frame[measures].astype("float64")
    frame["seeds"] = [str(seeds if isinstance(seeds, int) else len(seeds or ())) for seeds in frame["seeds"]]
    return Recommended(
        mixture=dict(payload["mixture"]),
        mean=_number(payload["predicted"]["mean"]),
        sd=_number(payload["predicted"]["sd"]),
        beats_natural=_number(payload["beats_natural"]),
        natural_mean=_number(payload["natural"]["mean"]),
        natural_sd=_number(payload["natural"]["sd"]),
        agreement=pd.DataFrame(list(payload["agreement"]), columns=list(RUNG_COLUMNS)),
        fallback=payload["fallback"],
        proof=frame,
        holds=None if proof is None else bool(proof["holds"]),
        verdict="" if proof is None else str(proof["verdict"]),
    )


def _trials(trials: Sequence[Trial], objective: Objective, numbers: pd.Index[int]) -> pd.DataFrame:
    rows = [
        {
            "purpose": trial.purpose,
            "rung": trial.fidelity,
            "part": trial.part,
            "seed": trial.seed,
            "state": trial.state,
            "objective": _value(objective, minimized(trial.losses, trial.accuracies)),
            "predicted_mean": _mean_and_sd(trial.predicted.get("objective"))[0],
            "predicted_sd": _mean_and_sd(trial.predicted.get("objective"))[1],
            "charged_flops": trial.charged_flops,
            "elapsed_s": _number(trial.elapsed_s),
            "attempts": trial.attempts,
            "finished_at": trial.finished_at,
            "started_at": trial.started_at,
            "reason": trial.reason,
            "error": trial.error or "",
        }
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS), index=numbers).astype(TRIAL_COLUMNS)


def _table(rows: Sequence[Mapping[str, float]], columns: Sequence[str], numbers: pd.Index[int]) -> pd.DataFrame:
    return pd.DataFrame(
        [[row.get(name, math.nan) for name in columns] for row in rows],
        index=numbers,
        columns=list(columns),
        dtype="float64",
    )


def _value(objective: Objective, losses: Mapping[str, float]) -> float:
    # A set may have joined the objective after this trial was measured; failed trials have no losses at all.
    return objective.value(losses) if set(objective.sets) <= set(losses) else math.nan


def _mean_and_sd(prediction: Mapping[str, float] | None) -> tuple[float, float]:
    return (math.nan, math.nan) if prediction is None else (prediction["mean"], prediction["sd"])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
