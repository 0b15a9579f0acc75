from dataclasses import replace

import pytest

from store import InvalidRecord, Search, Store, TrialStateError
from tests.store.store_cases import completed, finish, new_search, new_trial


def test_a_retracted_trial_measures_nothing_and_stays_charged(store: Store, search: Search) -> None:
    trial = completed(store, store.add_trials(search.id, [new_trial()])[0])
    [back] = store.retract(trial.id, reason="the corpus was truncated")
    assert back == store.trial(search.id, 0)
    assert (back.state, back.error) == ("retracted", "retracted: the corpus was truncated")
    assert (back.losses, store.detail(search.id, back.number).epochs, back.charged_flops) == ({}, {}, 10.0)
    assert store.trials(search.id, states=["completed"]) == []
    assert [t.number for t in store.trials(search.id, states=["retracted"])] == [0]
    [found] = store.retractions(search.id)
    assert (found.number, found.reason) == (0, "the corpus was truncated")


def test_what_rests_on_the_same_run_falls_in_every_search(store: Store, search: Search) -> None:
    other = new_search(store, "other")
    first = completed(store, store.add_trials(search.id, [new_trial()])[0])
    store.add_trials(other.id, [new_trial(), new_trial("r1")])
    store.retract(first.id, reason="wrong")
    assert [t.state for t in store.trials(other.id)] == ["retracted", "queued"]


def test_the_same_content_is_trained_again_after_a_retraction(store: Store, search: Search) -> None:
    for generation, loss in enumerate([1.0, 2.0, 3.0]):
        [trial] = store.add_trials(search.id, [new_trial()])
        assert trial.state == "queued"
        done = completed(store, trial, loss=loss)
        assert done.run_hash == ("r0" if generation == 0 else f"r0.{generation}")
        if loss < 3.0:
            store.retract(trial.id, reason="wrong")
    [reused] = store.add_trials(search.id, [new_trial()])
    assert (reused.state, reused.losses["prose"]) == ("completed", 3.0)
    assert store.run("r0").content == store.run("r0.2").content


def test_who_waits_for_a_retracted_run_gets_a_new_one(store: Store, search: Search) -> None:
    first, second = store.add_trials(search.id, [new_trial(), new_trial()])
    completed(store, first, loss=1.0)
    store.retract(first.id, reason="wrong")
    assert store.settle(search.id) == []
    assert completed(store, second, loss=2.0).losses["prose"] == 2.0


def test_what_started_from_a_retracted_expert_falls_with_it_once_it_has_ended(store: Store, search: Search) -> None:
    expert, other, plain = store.add_trials(search.id, [new_trial(), new_trial("r1"), new_trial("r2")])
    for each in (expert, other, plain):
        completed(store, each)
    starts = [
        replace(new_trial(name), content={"experts": {"prose": "r0", "code": second}})
        for name, second in [("s0", "r1"), ("s1", None), ("s2", "r2")]
    ]
    done, running, queued = store.add_trials(search.id, starts)
    unhurt = replace(new_trial("s3"), content={"experts": {"prose": "r0.1", "code": None}})
    completed(store, store.add_trials(search.id, [unhurt])[0])
    completed(store, done)
    store.start(running.id, worker="w0")
    assert [t.number for t in store.retract(expert.id, reason="wrong")] == [expert.number, done.number]
    finish(store, running)
    completed(store, queued)
    states = {t.number: (t.state, t.error) for t in store.trials(search.id)}
    assert [states[each.number][0] for each in (other, plain)] == ["completed"] * 2
    assert states[6][0] == "completed"
    for each in (running, queued):
        assert states[each.number][0] == "retracted"
        assert "started from the data expert of trial 0" in str(states[each.number][1])


def test_a_failure_may_be_retracted_and_falls_alone(store: Store, search: Search) -> None:
    first, second = store.add_trials(search.id, [new_trial(), new_trial()])
    for trial in (first, second):
        store.start(trial.id, worker="w0")
        store.fail(trial.id, state="failed", error="the disk was full")
    assert [t.number for t in store.retract(first.id, reason="not the mixture's fault")] == [0]
    assert [t.state for t in store.trials(search.id)] == ["retracted", "failed"]


def test_only_what_has_ended_is_retracted_once_and_with_a_reason(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    with pytest.raises(TrialStateError, match="trial 0 is queued"):
        store.retract(trial.id, reason="wrong")
    completed(store, trial)
    with pytest.raises(InvalidRecord, match="the reason of a retraction is empty"):
        store.retract(trial.id, reason="")
    store.retract(trial.id, reason="wrong")
    with pytest.raises(TrialStateError, match="retracted already"):
        store.retract(trial.id, reason="wrong")
