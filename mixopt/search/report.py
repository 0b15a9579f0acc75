"""A search as it stands in the store, in plain values: what `mixopt show` prints and what machines read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mixopt.config import objective_of
from mixopt.errors import SearchError
from mixopt.mixture import Mixture
from mixopt.objective import ERROR, Objective
from store import FAILED, Search, Store, Table, Tally, Totals

FAILURES = 3  # reasons why trials failed that are told
SAMPLES = 20  # trials of the top rung, the proof of the recommended mixture among them where there is one


@dataclass(frozen=True, kw_only=True)
class RungReport:
    """The trials of one rung: how many ended how, their charge, and the best objective on the text as it is now.

    best: None where no trial completed, or all that did trained on text that is another by now.
    """

    name: str
    completed: int
    failed: int
    waiting: int
    charged_flops: float
    best: float | None
    best_trial: int | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why trials failed or diverged: the first line of their error, how many said so, and the last of them."""

    error: str
    trials: int
    last: int


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """One search: its state, cost and rungs, and the recommendation with its proof (None: not yet).

    rungs: cheap to expensive. failures: the most common ones, that of most trials first. natural: the natural mixture.
    epochs, target_epochs: passes of the recommended mixture over each domain at the top rung, and in the target's
    training (empty: nothing trained there, no target). retracted: number and reason of every trial that was taken back;
    undermined: those of them that the recommendation rests on. outdated: how many trials weigh a domain that was
    removed since.
    """

    name: str
    state: str
    seed: int
    objective: Mapping[str, object]
    domains: tuple[str, ...]
    budget_flops: float
    charged_flops: float
    elapsed_s: float
    trials: int
    rungs: tuple[RungReport, ...]
    failures: tuple[Failure, ...]
    natural: Mapping[str, float]
    epochs: Mapping[str, float]
    target_epochs: Mapping[str, float]
    recommendation: Mapping[str, object] | None
    retracted: tuple[tuple[int, str], ...]
    undermined: tuple[int, ...]
    outdated: int

    def plain(self) -> dict[str, object]:
        """Return the report as JSON holds it."""
        return asdict(self)


def find(store: Store, name: str) -> Search:
    """Return the search called `name`.

    Raises:
        SearchError: there is none; the message lists those that there are.
    """
    found = store.find_search(name)
    if found is None:
        known = [search.name for search in store.searches()]
        raise SearchError(f"no search is named {name!r} in this store; known: {known or 'none, run one first'}")
    return found


def report(store: Store, name: str) -> SearchReport:
    """Return the search called `name` as it stands."""
    search = find(store, name)
    tallies = store.tallies(search.id)
    objective = objective_of(search.config)
    table = store.table(search.id)
    best = _best(table, objective)
    recommendation = store.recommendation(search.id)
    payload = None if recommendation is None else dict(recommendation.payload)
    return SearchReport(
        name=search.name,
        state=search.state,
        seed=search.seed,
        objective=objective.plain(),
        domains=domain_names(search),
        budget_flops=float(str(search.config["budget_flops"])),
        charged_flops=sum(each.charged_flops for each in tallies if each.state != "cancelled"),
        elapsed_s=sum(each.elapsed_s for each in tallies),
        trials=sum(each.trials for each in tallies),
        rungs=tuple(_rung(name, tallies, best) for name in _rung_names(search, tallies)),
        failures=_failures(table),
        natural=dict(Mixture.proportional({name: float(tokens) for name, tokens in search.domains.items()})),
        epochs=_epochs(store, search, payload),
        target_epochs=_target_epochs(search, payload),
        recommendation=payload,
        retracted=tuple((each.number, each.reason) for each in store.retractions(search.id)),
        undermined=() if recommendation is None else recommendation.undermined,
        outdated=sum(each.trials for each in tallies if each.state == "outdated"),
    )


def summaries(store: Store) -> list[dict[str, object]]:
    """Return every search of `store`, oldest first, as JSON holds it; `proven` is None where there is no proof."""
    rows = []
    totals, recommended = store.totals(), store.recommendations()
    for search in store.searches():
        mine = totals.get(search.id, Totals(trials=0, charged_flops=0.0))
        payload = recommended.get(search.id)
        proof = None if payload is None else payload["proof"]
        rows.append(
            {
                "name": search.name,
                "state": search.state,
                "seed": search.seed,
                "trials": mine.trials,
                "charged_flops": mine.charged_flops,
                "budget_flops": float(str(search.config["budget_flops"])),
                "mixture": None if payload is None else payload["mixture"],
                "proven": None if proof is None else proof["holds"],
                "created_at": search.created_at.isoformat(),
            }
        )
    return rows


def plain_provenance(store: Store, search: Search) -> dict[str, list[dict[str, Any]]]:
    """Return the configurations that `search` has had and the drivers that ran it, oldest first, as JSON holds them."""
    return {
        "revisions": [
            {
                "number": each.number,
                "created_at": each.created_at.isoformat(),
                "config_hash": each.config_hash,
                "note": each.note,
            }
            for each in store.revisions(search.id)
        ],
        "sessions": [
            {"started_at": each.started_at.isoformat(), **each.provenance} for each in store.sessions(search.id)
        ],
    }


def domain_names(search: Search) -> tuple[str, ...]:
    """Return the domains of `search` in its file's order."""
    domains = search.config["domains"]
    assert isinstance(domains, list)
    return tuple(str(domain["name"]) for domain in domains)


def _rung(name: str, tallies: Sequence[Tally], best: Mapping[str, tuple[float, int]]) -> RungReport:
    mine = [each for each in tallies if each.fidelity == name and each.purpose != "proof"]
    value, number = best.get(name, (None, None))
    return RungReport(
        name=name,
        completed=sum(each.trials for each in mine if each.state == "completed"),
        failed=sum(each.trials for each in mine if each.state in FAILED),
        waiting=sum(each.trials for each in mine if each.state in ("queued", "running")),
        charged_flops=sum(each.charged_flops for each in mine),
        best=value,
        best_trial=number,
    )


def _rung_names(search: Search, tallies: Sequence[Tally]) -> list[str]:
    """Return the rungs that have trials as the ladder has them, and then those that left it."""
    ladder = [str(rung["name"]) for rung in search.config["ladder"]]
    tried = dict.fromkeys(each.fidelity for each in tallies)
    return [name for name in ladder if name in tried] + [name for name in tried if name not in ladder]


def _failures(table: Table) -> tuple[Failure, ...]:
    failed = [
        ((error or "no reason was recorded").splitlines()[0], number)
        for number, state, error in zip(table.numbers, table.states, table.errors, strict=True)
        if state in FAILED
    ]
    last = dict(failed)
    common = Counter(error for error, _ in failed).most_common(FAILURES)
    return tuple(Failure(error=error, trials=count, last=last[error]) for error, count in common)


def _best(table: Table, objective: Objective) -> Mapping[str, tuple[float, int]]:
    """Return the lowest objective of every rung and the first trial that has it.

    A trial needs all sets that count, and to have trained on the text as it is now.
    """
    errors = {ERROR + name: 1.0 - np.array(column) for name, column in table.accuracies.items()}
    columns = {name: np.array(column) for name, column in table.losses.items()} | errors
    if not set(objective.sets) <= set(columns):
        return {}
    values = objective.of_array(np.array([columns[name] for name in objective.sets]).T, objective.sets)
    values[(np.array(table.stale) > 0.0) | (np.array(table.purposes) == "proof")] = np.nan
    rungs = np.array(table.fidelities)
    found: dict[str, tuple[float, int]] = {}
    for rung in dict.fromkeys(table.fidelities):
        here = np.where(rungs == rung, values, np.nan)
        if not np.isnan(here).all():
            place = int(np.nanargmin(here))
            # Sums over an array round differently from those over a trial, which a reader sees everywhere else.
            losses = {name: float(columns[name][place]) for name in objective.sets}
            found[rung] = objective.value(losses), table.numbers[place]
    return found


def _epochs(store: Store, search: Search, payload: Mapping[str, Any] | None) -> Mapping[str, float]:
    """Return the passes of the recommended mixture at the top rung, in proportion to those of its last trials."""
    if payload is None:
        return {}
    trials = store.last_completed(search.id, fidelity=str(search.config["ladder"][-1]["name"]), count=SAMPLES)
    details = store.details(search.id, numbers=[trial.number for trial in trials])
    a_weight = {
        name: epochs / trial.weights[name]
        for trial in trials
        for name, epochs in details[trial.number].epochs.items()
        if trial.weights.get(name, 0.0) > 0.0
    }
    return {name: w * a_weight[name] for name, w in payload["mixture"].items() if name in a_weight and w > 0.0}


def _target_epochs(search: Search, payload: Mapping[str, Any] | None) -> Mapping[str, float]:
    target = search.config.get("target")
    if payload is None or target is None:
        return {}
    return {n: w * target["tokens"] / search.domains[n] for n, w in payload["mixture"].items()}
