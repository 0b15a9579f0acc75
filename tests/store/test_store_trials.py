from dataclasses import replace

import pytest
from sqlalchemy import event

from store import InvalidRecord, NotInStore, Result, Search, Store, TrialStateError
from tests.store.store_cases import completed, new_search, new_trial


def test_a_trial_comes_back_as_it_was_added(store: Store, search: Search) -> None:
    [added] = store.add_trials(search.id, [new_trial(seed=2**62)])
    assert added == store.trial(search.id, 0)
    assert (added.number, added.state, added.seed, added.seen) == (0, "queued", 2**62, (0, 1, 2, 5))
    assert added.weights == {"web": 0.5, "code": 0.5, "math": 0.0}
    assert added.recipe == ((1.0, {"web": 0.5, "code": 0.5}),)
    assert (len(added.recipe), added.recipe[0]) == (1, (1.0, {"web": 0.5, "code": 0.5}))
    detail = store.detail(search.id, 0)
    assert detail.predicted == {"objective": {"mean": 1.5, "sd": 0.1}}
    assert detail.created_at.utcoffset() is not None
    assert store.details(search.id) == store.details(search.id, numbers=[0]) == {0: detail}


def test_a_trial_lives_from_queued_to_completed(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    attempt = store.start(trial.id, worker="w0")
    assert (attempt.number, attempt.state, store.trial(search.id, 0).state) == (0, "running", "running")
    done = store.complete(
        trial.id, losses={"prose": 0.1 + 0.2}, curve=[(5, 2.0)], epochs={"web": 1.5}, spent_flops=7.0, elapsed_s=3.0
    )
    assert (done.state, done.losses) == ("completed", {"prose": 0.1 + 0.2})
    assert (done.attempts, done.elapsed_s, done.charged_flops) == (1, 3.0, 10.0)
    detail = store.detail(search.id, 0)
    assert detail.epochs == {"web": 1.5}
    assert detail.started_at is not None
    assert detail.finished_at is not None
    assert store.run("r0").spent_flops == 7.0
    assert [a.state for a in store.attempts(trial.id)] == ["completed"]


def test_numbers_count_up_within_each_search(store: Store, search: Search) -> None:
    other = new_search(store, "other")
    store.add_trials(search.id, [new_trial("a"), new_trial("b")])
    store.add_trials(other.id, [new_trial("c")])
    assert [t.number for t in store.add_trials(search.id, [new_trial("d")])] == [2]
    assert [t.number for t in store.trials(other.id)] == [0]


def test_adding_trials_is_all_or_nothing(store: Store, search: Search) -> None:
    wrong = new_trial("b")
    store.add_trials(search.id, [new_trial("a")])
    clash = type(wrong)(**{**vars(wrong), "weights": {"poems": 1.0}})
    with pytest.raises(InvalidRecord, match=r"unknown domains \['poems'\]"):
        store.add_trials(search.id, [wrong, clash])
    assert len(store.trials(search.id)) == 1


def test_a_second_start_is_refused(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.start(trial.id, worker="w0")
    with pytest.raises(
        TrialStateError, match="trial 0 of 's' is running and cannot become running, which needs queued"
    ):
        store.start(trial.id, worker="w1")
    assert [a.worker for a in store.attempts(trial.id)] == ["w0"]


def test_a_finished_trial_does_not_change(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    before = completed(store, trial)
    with pytest.raises(TrialStateError):
        completed(store, trial, loss=0.5)
    with pytest.raises(TrialStateError):
        store.complete(trial.id, losses={"prose": 0.5}, curve=[], epochs={}, spent_flops=1.0, elapsed_s=1.0)
    with pytest.raises(TrialStateError):
        store.fail(trial.id, state="failed", error="late")
    assert store.trial(search.id, 0) == before


@pytest.mark.parametrize(("state", "charged_flops"), [("failed", 10.0), ("diverged", 10.0), ("cancelled", 0.0)])
def test_a_failure_is_charged_and_a_cancelled_trial_is_not(
    store: Store, search: Search, state: str, charged_flops: float
) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.start(trial.id, worker="w0")
    failed = store.fail(trial.id, state=state, error="loss is nan", spent_flops=4.0, elapsed_s=2.0)
    assert (failed.state, failed.error, failed.charged_flops) == (state, "loss is nan", charged_flops)
    assert (failed.losses, failed.elapsed_s, store.run("r0").spent_flops) == ({}, 2.0, 4.0)


def test_a_queued_trial_can_be_cancelled_but_not_fail(store: Store, search: Search) -> None:
    first, second = store.add_trials(search.id, [new_trial("a"), new_trial("b")])
    assert store.fail(first.id, state="cancelled", error="stopped").attempts == 0
    with pytest.raises(TrialStateError):
        store.fail(second.id, state="failed", error="x")


def test_trials_can_be_asked_for_by_state_and_purpose(store: Store, search: Search) -> None:
    first, _ = store.add_trials(search.id, [new_trial("a"), new_trial("b")])
    completed(store, first)
    assert [t.number for t in store.trials(search.id, states=["queued"])] == [1]
    assert store.trials(search.id, purposes=["proof"]) == []
    assert len(store.trials(search.id, states=["queued", "completed"], purposes=["search"])) == 2


def test_reading_trials_takes_as_many_queries_for_two_as_for_fifty(store: Store, search: Search) -> None:
    statements: list[str] = []
    counts = []
    event.listen(store._connections._engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    for count in (2, 48):
        for trial in store.add_trials(search.id, [new_trial(f"{count}-{i}") for i in range(count)]):
            completed(store, trial)
        statements.clear()
        assert all(t.losses for t in store.trials(search.id))
        counts.append(len(statements))
    assert counts[0] == counts[1] < 10


def test_unknown_numbers_are_named(store: Store, search: Search) -> None:
    for read in (store.trial, store.detail):
        with pytest.raises(NotInStore, match="no trial 7; it has none yet"):
            read(search.id, 7)
    with pytest.raises(NotInStore, match=r"no search with id 99; it has \['s'\]"):
        store.trials(99)
    with pytest.raises(NotInStore, match="no trial with id 42"):
        store.start(42, worker="w")


def test_runs_that_ended_elsewhere_are_completed_all_or_none(store: Store, search: Search) -> None:
    result = Result(losses={"prose": 1.25}, curve=(), epochs={}, spent_flops=3.0, elapsed_s=0.0)
    added = store.add_finished(search.id, [(new_trial("a"), result), (new_trial("b", seed=1), result)])
    assert [(t.number, t.state, t.losses, t.charged_flops) for t in added] == [
        (0, "completed", {"prose": 1.25}, 10.0),
        (1, "completed", {"prose": 1.25}, 10.0),
    ]
    assert store.add_finished(search.id, []) == []
    stranger = replace(new_trial("c"), weights={"songs": 1.0})
    with pytest.raises(InvalidRecord):
        store.add_finished(search.id, [(new_trial("d"), result), (stranger, result)])
    assert store.trials(search.id) == added


def test_every_attempt_knows_its_node(store: Store, search: Search) -> None:
    first, second = store.add_trials(search.id, [new_trial("a"), new_trial("b")])
    store.start(first.id, worker="w0", node="n0")
    store.requeue_trial(first.id, error="worker lost", node="n1")
    store.start(first.id, worker="w0")
    store.fail(first.id, state="failed", error="out of memory", node="n2")
    store.start(second.id, worker="w0")
    store.complete(second.id, losses={"a": 1.0}, curve=[], epochs={}, spent_flops=0.0, elapsed_s=0.0, node="n3")
    assert [[a.node for a in store.attempts(trial.id)] for trial in (first, second)] == [["n1", "n2"], ["n3"]]


def test_tallies_count_every_trial_once(store: Store, search: Search) -> None:
    trials = store.add_trials(search.id, [new_trial(name) for name in "abcd"])
    completed(store, trials[0])
    completed(store, trials[1])
    store.retract(trials[1].id, reason="wrong")
    store.start(trials[2].id, worker="w0")
    store.requeue_trial(trials[2].id, error="worker lost")
    store.start(trials[2].id, worker="w0")
    store.fail(trials[2].id, state="failed", error="out of memory", elapsed_s=2.0)
    assert {each.state: (each.trials, each.charged_flops, each.elapsed_s) for each in store.tallies(search.id)} == {
        "completed": (1, 10.0, 4.0),
        "retracted": (1, 10.0, 4.0),
        "failed": (1, 10.0, 2.0),
        "queued": (1, 10.0, 0.0),
    }
    assert store.totals()[search.id].trials == 4
    assert store.totals()[search.id].charged_flops == 40.0
