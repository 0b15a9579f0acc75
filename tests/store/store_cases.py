"""Stores and trials to try things on."""

from store import NewTrial, Search, Store, Trial


def new_trial(name: str = "r0", *, part: str = "search", seed: int = 0, charged_flops: float = 10.0) -> NewTrial:
    """A trial of run `name`, half web and half code."""
    return NewTrial(
        purpose="search",
        fidelity="small",
        seed=seed,
        part=part,
        recipe=[(1.0, {"web": 0.5, "code": 0.5})],
        weights={"web": 0.5, "code": 0.5, "math": 0.0},
        run_hash=name,
        content={"run": name},
        charged_flops=charged_flops,
        reason="a try",
        predicted={"objective": {"mean": 1.5, "sd": 0.1}},
        seen=(0, 1, 2, 5),
    )


def new_search(store: Store, name: str = "s") -> Search:
    """A search over three domains."""
    return store.create_search(
        name=name,
        seed=3,
        config={"budget_flops": 1e15, "domains": ["web", "code", "math"]},
        config_hash="h0",
        corpus={"digest": "abc"},
        domains={"web": 1_000, "code": 200, "math": 30},
    )


def completed(store: Store, trial: Trial, *, loss: float = 1.25) -> Trial:
    """`trial` started and completed."""
    store.start(trial.id, worker="w0")
    return finish(store, trial, loss=loss)


def finish(store: Store, trial: Trial, *, loss: float = 1.25) -> Trial:
    """A running trial completed."""
    return store.complete(
        trial.id,
        losses={"prose": loss, "python": loss / 2},
        curve=[(100, 3.0), (200, 2.5)],
        epochs={"web": 0.5, "code": 2.5},
        spent_flops=11.0,
        elapsed_s=4.0,
        details={"threads": 1},
    )
