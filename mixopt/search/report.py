"""A search as it stands in the store, in plain values: what `mixopt show` prints and what machines read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mixopt.config import objective_of
from mixopt.errors import SearchError
from mixopt.mixture import Mixture
from mixopt.objective import Objective
from store import Ending, Search, Store, Totals, Trial

SAMPLES = 20  # trials of the top rung, the proof of the recommended mixture among them where there is one


@dataclass(frozen=True, kw_only=True)
class RungReport:
    """The trials of one rung: how many ended how, their charge, and the best objective (None: none completed)."""

    name: str
    completed: int
    failed: int
    waiting: int
    charged_flops: float
    best: float | None
    best_trial: int | None


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """One search: its state, cost and rungs, and the recommendation with its proof (None: not yet).

    natural: the natural mixture. epochs, target_epochs: passes of the recommended mixture over each domain at the top
    rung, and in the target's training (empty: nothing trained there, no target). retracted: number and reason of every
    trial that was taken back; undermined: those of them that the recommendation rests on.
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
    natural: Mapping[str, float]
    epochs: Mapping[str, float]
    target_epochs: Mapping[str, float]
    recommendation: Mapping[str, object] | None
    retracted: tuple[tuple[int, str], ...]
    undermined: tuple[int, ...]

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
    trials = store.endings(search.id)
    objective = objective_of(search.config)
    recommendation = store.recommendation(search.id)
    payload = None if recommendation is None else dict(recommendation.payload)
    return SearchReport(
        name=search.name,
        state=search.state,
        seed=search.seed,
        objective=objective.plain(),
        domains=domain_names(search),
        budget_flops=float(str(search.config["budget_flops"])),
        charged_flops=sum(trial.charged_flops for trial in trials if trial.state != "cancelled"),
        elapsed_s=sum(trial.elapsed_s for trial in trials),
        trials=len(trials),
        rungs=tuple(
            _rung(fidelity, trials, objective) for fidelity in dict.fromkeys(trial.fidelity for trial in trials)
        ),
        natural=dict(Mixture.proportional({name: float(tokens) for name, tokens in search.domains.items()})),
        epochs=_epochs(_samples(store, search, trials, payload), payload, str(search.config["ladder"][-1]["name"])),
        target_epochs=_target_epochs(search, payload),
        recommendation=payload,
        retracted=tuple((each.number, each.reason) for each in store.retractions(search.id)),
        undermined=() if recommendation is None else recommendation.undermined,
    )


def summaries(store: Store) -> list[dict[str, object]]:
    """Return every search of `store`, oldest first, as JSON holds it; `proven` is None where there is no proof."""
    rows = []
    totals = store.totals()
    for search in store.searches():
        mine = totals.get(search.id, Totals(trials=0, charged_flops=0.0))
        recommendation = store.recommendation(search.id)
        proof = None if recommendation is None else recommendation.payload["proof"]
        rows.append(
            {
                "name": search.name,
                "state": search.state,
                "seed": search.seed,
                "trials": mine.trials,
                "charged_flops": mine.charged_flops,
                "budget_flops": float(str(search.config["budget_flops"])),
                "mixture": None if recommendation is None else recommendation.payload["mixture"],
                "proven": None if proof is None else proof["holds"],
                "created_at": search.created_at.isoformat(),
            }
        )
    return rows


def plain_trials(store: Store, search: Search) -> list[dict[str, object]]:
    """Return every trial of `search` as JSON holds it, its objective computed on reading (None: no losses)."""
    objective = objective_of(search.config)
    return [
        {
            "number": trial.number,
            "purpose": trial.purpose,
            "reason": trial.reason,
            "rung": trial.fidelity,
            "seed": trial.seed,
            "part": trial.part,
            "state": trial.state,
            "objective": objective.of(trial.losses, trial.accuracies) if trial.state == "completed" else None,
            "weights": dict(trial.weights),
            "losses": dict(trial.losses),
            "accuracies": dict(trial.accuracies),
            "items": dict(trial.items),
            "epochs": dict(trial.epochs),
            "predicted": dict(trial.predicted),
            "seen": list(trial.seen),
            "charged_flops": trial.charged_flops,
            "elapsed_s": trial.elapsed_s,
            "attempts": trial.attempts,
            "error": trial.error,
        }
        for trial in store.trials(search.id)
    ]


def domain_names(search: Search) -> tuple[str, ...]:
    """Return the domains of `search` in its file's order."""
    domains = search.config["domains"]
    assert isinstance(domains, list)
    return tuple(str(domain["name"]) for domain in domains)


def _rung(name: str, trials: Sequence[Ending], objective: Objective) -> RungReport:
    mine = [trial for trial in trials if trial.fidelity == name and trial.purpose != "proof"]
    values = [
        (objective.of(trial.losses, trial.accuracies), trial.number) for trial in mine if trial.state == "completed"
    ]
    best, number = min(values) if values else (None, None)
    return RungReport(
        name=name,
        completed=len(values),
        failed=sum(trial.state in ("failed", "diverged") for trial in mine),
        waiting=sum(trial.state in ("queued", "running") for trial in mine),
        charged_flops=sum(trial.charged_flops for trial in mine),
        best=best,
        best_trial=number,
    )


def _samples(store: Store, search: Search, trials: Sequence[Ending], payload: Mapping[str, Any] | None) -> list[Trial]:
    """Return the last trials of the top rung, which tell how many passes a weight makes there."""
    top = str(search.config["ladder"][-1]["name"])
    numbers = [trial.number for trial in trials if trial.fidelity == top and trial.state == "completed"]
    return [] if payload is None else [store.trial(search.id, number) for number in numbers[-SAMPLES:]]


def _epochs(trials: Sequence[Trial], payload: Mapping[str, Any] | None, top: str) -> Mapping[str, float]:
    """Return the passes of the recommended mixture at the rung `top`, in proportion to those of its trials."""
    if payload is None:
        return {}
    a_weight = {
        name: epochs / trial.weights[name]
        for trial in trials
        if trial.fidelity == top and trial.state == "completed"
        for name, epochs in trial.epochs.items()
        if trial.weights.get(name, 0.0) > 0.0
    }
    return {name: w * a_weight[name] for name, w in payload["mixture"].items() if name in a_weight and w > 0.0}


def _target_epochs(search: Search, payload: Mapping[str, Any] | None) -> Mapping[str, float]:
    target = search.config.get("target")
    if payload is None or target is None:
        return {}
    return {n: w * target["tokens"] / search.domains[n] for n, w in payload["mixture"].items()}
