"""Results that are taken back, content that others train, and what was recorded of the driver."""

from itertools import zip_longest
from pathlib import Path

import pytest

from mixopt.errors import SearchError
from mixopt.search.report import report
from mixopt.search.shipping import export_of
from mixopt.search.wishes import wish
from store import Store, TrialStateError
from tests.mixopt.search.test_driver import SMALL, begin, changed, finish, trials

REASON = "a wrong corpus"


def test_a_search_decides_anew_without_what_was_retracted(store: Store) -> None:
    finish(changed(**SMALL), store)
    search = store.searches()[0]
    before = report(store, search.name)
    proof = next(t for t in trials(store) if t.purpose == "proof" and "natural" in t.reason)  # asked for again
    best = min((t for t in trials(store) if t.purpose == "search"), key=lambda t: sum(t.losses.values()))
    for trial in (best, proof):
        wish(store, search, "retract", {"trial": trial.number, "reason": REASON})
    flagged = report(store, search.name)
    assert flagged.undermined == tuple(sorted((best.number, proof.number)))
    assert sum(rung.completed for rung in flagged.rungs) == sum(rung.completed for rung in before.rungs) - 1
    with pytest.raises(SearchError, match="retracted since; decide anew"):
        export_of(store, search.name)
    finish(changed(**SMALL | {"budget_flops": 2e14}), store)
    after = report(store, search.name)
    assert after.undermined == ()
    assert best.number in [number for number, _ in after.retracted]
    twins = [t for t in trials(store) if t.purpose == "proof" and (t.weights, t.seed) == (proof.weights, proof.seed)]
    assert [t.state for t in twins] == ["retracted", "completed"]
    assert twins[1].run_hash == f"{proof.run_hash}.1"
    assert not any(best.number in trial.seen for trial in trials(store) if trial.number >= before.trials)


def test_a_retraction_of_a_driven_search_waits_for_its_driver(store: Store) -> None:
    with begin(changed(**SMALL), store) as driver:
        steps = driver.drive()
        while next(steps).counts.get("completed", 0) < 8:
            pass
        done = next(t for t in trials(store) if t.state == "completed" and t.purpose != "expert")
        said = wish(store, driver.search, "retract", {"trial": done.number, "reason": REASON})
        assert "left in its inbox" in said
        assert store.trial(driver.search.id, done.number).state == "completed"
        news = next(steps).news
    assert f"retracted: trial {done.number}" in news
    assert store.trial(driver.search.id, done.number).state == "retracted"
    assert store.messages(driver.search.id) == []


def test_what_cannot_be_retracted_is_refused_and_changes_nothing(store: Store) -> None:
    finish(changed(**SMALL), store)
    search, before = store.searches()[0], trials(store)
    wish(store, search, "retract", {"trial": 5, "reason": REASON})
    with pytest.raises(TrialStateError, match="retracted already"):
        wish(store, search, "retract", {"trial": 5, "reason": REASON})
    assert [t.number for t, b in zip(trials(store), before, strict=True) if t != b] == [5]
    assert store.lease(search.id) is None


def test_what_another_search_trains_is_waited_for_and_taken_over(store: Store, tmp_path: Path) -> None:
    config = changed(**SMALL)
    with begin(config, store) as first, Store(tmp_path / "mixopt.db") as other:
        steps = first.drive()
        next(steps)  # its first experts are being trained
        running = {trial.run_hash for trial in store.trials(first.search.id, states=["running"])}
        with begin(config.renamed(name="twin"), other) as second:
            snapshots = second.drive()
            news: list[str] = []
            while sum("waits: " in line for line in news) < len(running):
                news += next(snapshots).news
            for _ in zip_longest(steps, snapshots):  # in turn, for each now waits for what the other trains
                pass
            twins = other.trials(second.search.id)
    assert running
    assert {trial.run_hash for trial in twins if trial.attempts == 0} >= running
    assert all(trial.state == "completed" for trial in twins)
    counts = [len(store.attempts(trial.id)) for trial in (*store.trials(first.search.id), *twins)]
    assert max(counts) == 1
