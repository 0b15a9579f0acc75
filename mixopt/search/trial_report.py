"""Trials as they stand in the store, in plain values: what `mixopt show` prints of them and what machines read."""

import math
from datetime import datetime
from typing import Any

from mixopt.config import objective_of
from mixopt.objective import Objective
from store import Attempt, Search, Store, Trial, TrialDetail


def plain_trials(store: Store, search: Search) -> list[dict[str, object]]:
    """Return every trial of `search` as JSON holds it, its objective computed on reading (None: no losses)."""
    objective, details = objective_of(search.config), store.details(search.id)
    return [_row(trial, details[trial.number], objective) for trial in store.trials(search.id)]


def plain_trial(store: Store, search: Search, number: int) -> dict[str, Any]:
    """Return one trial of `search` as JSON holds it: as `plain_trials` has it, when it was what, its attempts, its run.

    run: also what it spent for other searches, `curve` with the training loss (nats per token, None where it was not
    finite) after so many tokens, and `details`; of a routed proxy `expert_usage` among them, by domain (as they were
    called when it trained), `layers x experts`.
    """
    trial, detail = store.trial(search.id, number), store.detail(search.id, number)
    run = store.run(trial.run_hash)
    return {
        **_row(trial, detail, objective_of(search.config)),
        "created_at": _moment(detail.created_at),
        "started_at": _moment(detail.started_at),
        "finished_at": _moment(detail.finished_at),
        "each_attempt": [_attempt(each) for each in store.attempts(trial.id)],
        "run": {
            "run_hash": run.run_hash,
            "spent_flops": run.spent_flops,
            "wasted_flops": run.wasted_flops,
            "curve": [[tokens, loss if math.isfinite(loss) else None] for tokens, loss in store.curve(run.run_hash)],
            "details": dict(run.details),
        },
    }


def _row(trial: Trial, detail: TrialDetail, objective: Objective) -> dict[str, object]:
    return {
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
        "epochs": dict(detail.epochs),
        "predicted": dict(detail.predicted),
        "seen": list(trial.seen),
        "charged_flops": trial.charged_flops,
        "elapsed_s": trial.elapsed_s,
        "attempts": trial.attempts,
        "error": trial.error,
        "stale": trial.stale,
    }


def _attempt(attempt: Attempt) -> dict[str, object]:
    return {
        "number": attempt.number,
        "state": attempt.state,
        "worker": attempt.worker,
        "node": attempt.node,
        "started_at": _moment(attempt.started_at),
        "ended_at": _moment(attempt.ended_at),
        "elapsed_s": attempt.elapsed_s,
        "spent_flops": attempt.spent_flops,
        "error": attempt.error,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
