"""Records of the store to data frames: the only file of the dashboard that calls the store.

One row a trial in `trials` and `weights` (index: its number); the objective is computed here, on reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixopt.objective import ERROR, Objective
from store import (
    Attempt,
    DriverSession,
    NotInStore,
    Recommendation,
    Revision,
    Search,
    Store,
    Table,
    without_password,
)
from store import StoreError as StoreError

FINISHED = ("completed", "failed", "diverged", "retracted", "outdated")
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
    "stale": "float64",
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


REVISION_COLUMNS = ("revision", "since", "file", "note", "changed")
SESSION_COLUMNS = ("since", "host", "workers", "code", "python", "platform", "text", "file", "packages")
ATTEMPT_COLUMNS = (
    *("attempt", "state", "worker", "node", "started_at", "ended_at"),
    *("elapsed_s", "spent", "error", "driver"),
)


@dataclass(frozen=True, kw_only=True)
class AtTarget:
    """What is predicted at the user's own target, in bits per byte; `doubts` say what of it is guessed."""

    mean: float
    sd: float
    natural_mean: float
    natural_sd: float
    beats_natural: float
    doubts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Around:
    """What is known around a recommendation.

    effects: one row a domain: `domain`, `change` and `sd` of the objective (bits per byte) for a percentage point more
    of it, `low` and `high`, the weights between which a mixture does as well, and `on <set>` for every evaluation set.
    examples: mixtures that do as well. to_gain: bits per byte still expected to be had; rung, gain_for_top_cost: of the
    trial that would help most, for what one at the top costs (None: none promises a gain).
    """

    effects: pd.DataFrame
    examples: tuple[Mapping[str, float], ...]
    to_gain: float
    rung: str | None
    gain_for_top_cost: float
    advice: str
    target: AtTarget | None


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """The latest recommendation of a search, and its proof where there is one.

    agreement: one row a cheap rung, how it ranks mixtures: `rung`, `spearman`, `low`, `high`, `mixtures`.
    proof: one row a mixture trained for the proof (`PROOF_COLUMNS`), empty before the proof; losses in bits per byte.
    holds: whether the proof holds; None before the proof. around: None where nothing was measured.
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
    around: Around | None


@dataclass(frozen=True, kw_only=True)
class SearchFrames:
    """One search as the screens see it.

    rungs: cheap to expensive, then fidelities outside of the ladder that trials used; top: the ladder's last.
    trials: `TRIAL_COLUMNS`, `stale` being the fraction of tokens from text that is another by now; weights: one column
    a domain; losses: one an evaluation set, bits per byte, or the share of wrong answers (`error/<set>`).
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
    losses: pd.DataFrame
    recommended: Recommended | None


@dataclass(frozen=True, kw_only=True)
class TrialFrames:
    """What the store knows of one trial besides its row: epochs, its training loss over tokens, and its attempts.

    attempts: one row each (`ATTEMPT_COLUMNS`), `driver` with the software of who ran it; details: of its run, in words.
    usage: of a routed proxy one frame a layer, domains x experts, the shares of a domain's routes; else empty.
    """

    number: int
    epochs: Mapping[str, float]
    curve: pd.DataFrame
    predicted: Mapping[str, tuple[float, float]]
    seen: tuple[int, ...]
    attempts: pd.DataFrame
    details: Mapping[str, str]
    usage: tuple[pd.DataFrame, ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The configurations that a search has had, and who ran it with what, oldest first.

    revisions: `REVISION_COLUMNS`, `changed` naming the keys that differ from the last; sessions: `SESSION_COLUMNS`.
    """

    revisions: pd.DataFrame
    sessions: pd.DataFrame


def shown_location(location: str) -> str:
    """Return where the store is, as a page may show it: without a password."""
    return without_password(location)


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
    return Kept(location, name).frames()


class Kept:
    """A search that is shown again and again: what was read of it is kept, and only what changed since is read.

    Several readers may ask at once.
    """

    def __init__(self, location: str, name: str) -> None:
        self._location, self._name, self._lock = location, name, Lock()
        self._table: Table | None = None
        self._frames: SearchFrames | None = None

    def frames(self) -> SearchFrames:
        """Return the frames of the search as it is now; StoreError where the store has no such search."""
        with self._lock, Store(self._location, read_only=True) as store:
            search = _found(store, self._name)
            table = store.table(search.id, predicted="objective", before=self._table)
            latest = store.recommendation(search.id)
            if self._frames is None or table is not self._table or search.updated_at != self._frames.updated_at:
                payload = None if latest is None else _flagged(latest)
                self._table, self._frames = table, search_frames(search, table, payload)
            return self._frames


def load_trial(location: str, name: str, number: int) -> TrialFrames:
    """Return the details of one trial of the search `name`; StoreError where there is none."""
    with Store(location, read_only=True) as store:
        trial = store.trial(_found(store, name).id, number)
        detail = store.detail(trial.search_id, number)
        curve = store.curve(trial.run_hash)
        attempts, sessions = store.attempts(trial.id), store.sessions(trial.search_id)
        details = store.run(trial.run_hash).details
    return TrialFrames(
        number=number,
        epochs=detail.epochs,
        curve=pd.DataFrame(curve, columns=["tokens", "loss"]),
        predicted={key: _mean_and_sd(value) for key, value in detail.predicted.items()},
        seen=tuple(trial.seen),
        attempts=_attempts(attempts, sessions),
        details={str(key): str(value) for key, value in details.items() if not isinstance(value, dict | list)},
        usage=_usage(details.get("expert_usage", {})),
    )


def load_provenance(location: str, name: str) -> Provenance:
    """Return where the results of the search `name` come from; StoreError where the store has no such search."""
    with Store(location, read_only=True) as store:
        search = _found(store, name)
        revisions, sessions = store.revisions(search.id), store.sessions(search.id)
    return Provenance(
        revisions=pd.DataFrame(_revisions(revisions), columns=list(REVISION_COLUMNS)),
        sessions=pd.DataFrame([_session(each) for each in sessions], columns=list(SESSION_COLUMNS)),
    )


def _usage(shares: Mapping[str, Sequence[Sequence[float]]]) -> tuple[pd.DataFrame, ...]:
    """Return what is recorded by domain, `layers x experts`, as a frame a layer; experts are numbered from 1."""
    layers = zip(*shares.values(), strict=True)
    return tuple(
        pd.DataFrame(rows, index=list(shares), columns=range(1, 1 + len(rows[0])), dtype="float64") for rows in layers
    )


def _revisions(revisions: Sequence[Revision]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    before: Mapping[str, Any] = {}
    for each in revisions:
        changed = [key for key in sorted({*before, *each.config}) if before.get(key) != each.config.get(key)]
        said = ", ".join(changed) if before else ""
        rows.append((each.number, each.created_at, each.config_hash[:12], each.note, said))
        before = each.config
    return rows


def _session(session: DriverSession) -> tuple[object, ...]:
    known = session.provenance
    workers = known.get("workers", {})
    return (
        session.started_at,
        str(known.get("host", "")),
        f"{workers.get('slots', '?')} {workers.get('kind', '')}",
        str(known.get("git") or "-")[:12],
        str(known.get("python", "")),
        str(known.get("platform", "")),
        str(known.get("text", ""))[:12],
        str(known.get("config_hash", ""))[:12],
        _packages(session),
    )


def _packages(session: DriverSession) -> str:
    return ", ".join(f"{name} {version}" for name, version in session.provenance.get("packages", {}).items())


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


def _attempts(attempts: Sequence[Attempt], sessions: Sequence[DriverSession]) -> pd.DataFrame:
    rows = [
        (
            *(each.number, each.state, each.worker, each.node or "", each.started_at, each.ended_at),
            *(_number(each.elapsed_s), each.spent_flops, each.error or "", _driver(each, sessions)),
        )
        for each in attempts
    ]
    return pd.DataFrame(rows, columns=list(ATTEMPT_COLUMNS))


def _driver(attempt: Attempt, sessions: Sequence[DriverSession]) -> str:
    """Return who drove the search when `attempt` began: host, code and packages; nothing where nobody said."""
    before = [each for each in sessions if each.started_at <= attempt.started_at]
    if not before:
        return ""
    known = before[-1].provenance
    return ", ".join([str(known.get("host", "")), f"code {str(known.get('git') or '-')[:12]}", _packages(before[-1])])


def search_frames(search: Search, read: Table, payload: Mapping[str, Any] | None) -> SearchFrames:
    """Return the frames of records: `payload` is that of the latest recommendation, None where there is none."""
    config = search.config
    objective = Objective.from_plain(config["objective"])
    ladder = tuple(str(rung["name"]) for rung in config["ladder"])
    numbers = pd.Index(list(read.numbers), dtype="int64", name="number")
    losses = _losses(read, numbers)
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
        rungs=tuple(dict.fromkeys([*ladder, *read.fidelities])),
        top=ladder[-1],
        domains=tuple(search.domains),
        available_tokens=dict(search.domains),
        trials=_trials(read, objective, losses),
        weights=_weights(read, numbers),
        losses=losses,
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
        around=None if payload.get("insight") is None else around(payload["insight"]),
    )


def around(plain: Mapping[str, Any]) -> Around:
    """Return what is known around a recommendation from what the search recorded of it."""
    trial = plain["next_trial"]
    effects = [
        {
            **{key: effect[key] for key in ("domain", "change", "sd")},
            **dict(zip(("low", "high"), plain["ranges"][effect["domain"]], strict=True)),
            **{f"on {name}": change for name, change in effect["sets"].items()},
        }
        for effect in plain["effects"]
    ]
    return Around(
        effects=pd.DataFrame(effects),
        examples=tuple(dict(example) for example in plain["examples"]),
        to_gain=_number(plain["to_gain"]),
        rung=None if trial is None else str(trial["rung"]),
        gain_for_top_cost=math.nan if trial is None else _number(trial["gain_for_top_cost"]),
        advice=str(plain["advice"]),
        target=None if plain["target"] is None else _at_target(plain["target"]),
    )


def _at_target(plain: Mapping[str, Any]) -> AtTarget:
    return AtTarget(
        mean=_number(plain["predicted"]["mean"]),
        sd=_number(plain["predicted"]["sd"]),
        natural_mean=_number(plain["natural"]["mean"]),
        natural_sd=_number(plain["natural"]["sd"]),
        beats_natural=_number(plain["beats_natural"]),
        doubts=tuple(plain["doubts"]),
    )


def _trials(read: Table, objective: Objective, losses: pd.DataFrame) -> pd.DataFrame:
    columns: Mapping[str, Any] = {
        "purpose": read.purposes,
        "rung": read.fidelities,
        "part": read.parts,
        "seed": read.seeds,
        "state": read.states,
        "objective": _objectives(objective, losses),
        "predicted_mean": _floats(read.predicted_means),
        "predicted_sd": _floats(read.predicted_sds),
        "charged_flops": _floats(read.charged_flops),
        "elapsed_s": _floats(read.elapsed_s),
        "stale": _floats(read.stale),
        "finished_at": read.finished_at,
        "started_at": read.started_at,
        "reason": read.reasons,
        "error": [error or "" for error in read.errors],
    }
    # Where nobody says of what kind a column is, pandas looks every entry through to guess it.
    kinds = TRIAL_COLUMNS.items()
    return pd.DataFrame({name: pd.Series(columns[name], index=losses.index, dtype=kind) for name, kind in kinds})


def _weights(read: Table, numbers: pd.Index[int]) -> pd.DataFrame:
    return pd.DataFrame({name: _floats(column) for name, column in read.weights.items()}, index=numbers).fillna(0.0)


def _losses(read: Table, numbers: pd.Index[int]) -> pd.DataFrame:
    columns = {name: _floats(column) for name, column in read.losses.items()}
    errors = {ERROR + name: 1.0 - _floats(column) for name, column in read.accuracies.items()}
    measured = {name: column for name, column in (columns | errors).items() if not np.isnan(column).all()}
    return pd.DataFrame(measured, index=numbers)


def _floats(column: Sequence[float]) -> NDArray[np.float64]:
    return np.array(column, dtype=np.float64)


def _objectives(objective: Objective, losses: pd.DataFrame) -> NDArray[np.float64]:
    # A set may have joined the objective after a trial was measured; failed trials have no losses at all.
    if not set(objective.sets) <= set(losses.columns):
        return np.full(len(losses), math.nan)
    return objective.of_array(losses[list(objective.sets)].to_numpy(), objective.sets)


def _mean_and_sd(prediction: Mapping[str, float] | None) -> tuple[float, float]:
    return (math.nan, math.nan) if prediction is None else (prediction["mean"], prediction["sd"])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
