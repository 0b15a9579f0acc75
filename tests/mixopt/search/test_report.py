"""What is told of a search that has no recommendation: its rungs in their order, and why trials failed."""

import pytest
from rich.console import Console

from mixopt.cli.tables import search_tables
from mixopt.search.report import Failure, report
from store import NewTrial, Search, Store


@pytest.fixture
def search(store: Store) -> Search:
    config = {
        "name": "own",
        "domains": [{"name": "web"}],
        "objective": {"kind": "mean", "weights": {"prose": 1.0}},
        "ladder": [{"name": name, "tokens": 1000} for name in ("small", "middle", "large")],
        "budget_flops": 100.0,
    }
    return store.create_search(
        name="own", seed=0, config=config, config_hash="h", corpus={"digest": "d"}, domains={"web": 800}
    )


def fail(store: Store, search: Search, rung: str, error: str, *, state: str = "failed") -> None:
    """Add a trial, and let it end so."""
    count = len(store.trials(search.id))
    trial = NewTrial(
        purpose="search",
        fidelity=rung,
        seed=count,
        part="search",
        recipe=[(1.0, {"web": 1.0})],
        weights={"web": 1.0},
        run_hash=f"{count:064x}",
        content={},
        charged_flops=1.0,
    )
    number = store.add_trials(search.id, [trial])[0].id
    store.start(number, worker="w")
    store.fail(number, state=state, error=error)


def shown(store: Store) -> str:
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        for block in search_tables(report(store, "own")):
            console.print(block)
    return captured.get()


def test_rungs_are_told_as_the_ladder_has_them_and_then_those_that_left_it(store: Store, search: Search) -> None:
    for rung in ("large", "gone", "small"):
        fail(store, search, rung, "no room")
    assert [rung.name for rung in report(store, "own").rungs] == ["small", "large", "gone"]


def test_the_reasons_of_most_failures_are_told_with_their_last_trial(store: Store, search: Search) -> None:
    for error in ("no room\nTraceback", "a", "no room", "b", "c", "no room"):
        fail(store, search, "small", error)
    fail(store, search, "small", "the loss is no number", state="diverged")
    fail(store, search, "small", "the loss is no number", state="diverged")
    fail(store, search, "small", "taken back", state="cancelled")
    assert report(store, "own").failures == (
        Failure(error="no room", trials=3, last=5),
        Failure(error="the loss is no number", trials=2, last=7),
        Failure(error="a", trials=1, last=1),
    )
    assert "trial 5 and 2 more failed: no room" in shown(store)
    assert "trial 1 failed: a" in shown(store)


@pytest.mark.parametrize(
    ("state", "said"), [("running", "has not ended"), ("stopped", "mixopt run"), ("failed", "mended")]
)
def test_why_there_is_no_recommendation_is_said(store: Store, search: Search, state: str, said: str) -> None:
    store.set_state(search.id, state)
    last = shown(store).strip().splitlines()[-1]
    assert last.startswith("no recommendation")
    assert said in last
