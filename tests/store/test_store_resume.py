import time

from store import OUTSIDE, Search, Store
from tests.store.store_cases import completed, new_search, new_trial


def test_resuming_keeps_finished_trials_and_puts_running_ones_back(store: Store, search: Search) -> None:
    done, running, _ = store.add_trials(search.id, [new_trial(name) for name in "abc"])
    finished = completed(store, done)
    store.start(running.id, worker="w0")
    [back] = store.requeue(search.id)
    assert (back.number, back.state, back.attempts) == (1, "queued", 1)
    assert store.detail(search.id, 1).started_at is None
    assert store.trial(search.id, 0) == finished
    assert [t.state for t in store.trials(search.id)] == ["completed", "queued", "queued"]
    assert store.start(running.id, worker="w1").number == 1
    assert store.requeue(search.id)[0].attempts == 2
    assert store.requeue(search.id) == []


def test_what_is_trained_outside_outlives_the_driver_until_it_is_told(store: Store, search: Search) -> None:
    theirs, mine, again = store.add_trials(search.id, [new_trial(name) for name in "abc"])
    store.start(theirs.id, worker=f"{OUTSIDE}somebody")
    store.start(mine.id, worker="w0")
    store.start(again.id, worker="w0")
    store.requeue_trial(again.id, error="worker lost")
    store.start(again.id, worker=f"{OUTSIDE}somebody")
    assert [trial.number for trial in store.requeue(search.id)] == [1]
    assert [trial.state for trial in store.trials(search.id)] == ["running", "queued", "running"]
    store.complete(theirs.id, losses={"prose": 1.25}, curve=(), epochs={}, spent_flops=10.0, elapsed_s=0.0)
    assert store.trial(search.id, 0).losses == {"prose": 1.25}


def test_lost_work_is_wasted_and_not_charged(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.start(trial.id, worker="w0")
    time.sleep(0.02)
    store.beat(trial.id, spent_flops=6.0)
    store.requeue(search.id)
    done = completed(store, trial)
    run = store.run("r0")
    assert (run.spent_flops, run.wasted_flops, done.charged_flops) == (17.0, 6.0, 10.0)
    assert 0.02 <= run.wasted_s < 5
    assert [a.state for a in store.attempts(trial.id)] == ["lost", "completed"]


def test_a_trial_whose_worker_was_lost_is_put_back_alone(store: Store, search: Search) -> None:
    first, second = store.add_trials(search.id, [new_trial("a"), new_trial("b")])
    store.start(first.id, worker="w0")
    store.start(second.id, worker="w1")
    assert store.requeue_trial(first.id, error="worker lost: out of memory").state == "queued"
    [attempt] = store.attempts(first.id)
    assert (attempt.state, attempt.error) == ("lost", "worker lost: out of memory")
    assert attempt.ended_at is not None
    assert attempt.ended_at > attempt.started_at
    assert store.trial(search.id, 1).state == "running"


def test_a_renewed_lease_says_until_when_lost_work_lived(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.acquire_lease(search.id, owner="a", host="h", pid=1, ttl_s=60)
    store.start(trial.id, worker="w0")
    lease = store.renew_lease(search.id, owner="a", ttl_s=60)
    store.requeue(search.id)
    assert store.attempts(trial.id)[0].ended_at == lease.renewed_at


def test_a_completed_run_is_reused_across_searches_and_charged(store: Store, search: Search) -> None:
    completed(store, store.add_trials(search.id, [new_trial()])[0], loss=1.5)
    other = new_search(store, "other")
    [again] = store.add_trials(other.id, [new_trial(charged_flops=12.0)])
    assert (again.state, again.losses["prose"], again.charged_flops) == ("completed", 1.5, 12.0)
    assert (again.attempts, again.elapsed_s) == (0, 4.0)
    assert store.detail(again.search_id, again.number).epochs["code"] == 2.5
    assert store.run("r0").spent_flops == 11.0


def test_a_run_measured_on_another_part_only_is_not_reused(store: Store, search: Search) -> None:
    completed(store, store.add_trials(search.id, [new_trial()])[0], loss=1.5)
    [proof] = store.add_trials(search.id, [new_trial(part="proof")])
    assert proof.state == "queued"
    assert completed(store, proof, loss=1.75).losses["prose"] == 1.75
    assert store.trial(search.id, 0).losses["prose"] == 1.5


def test_a_failed_run_is_not_reused(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.start(trial.id, worker="w0")
    store.fail(trial.id, state="failed", error="out of memory", spent_flops=2.0, elapsed_s=1.0)
    [again] = store.add_trials(search.id, [new_trial()])
    assert again.state == "queued"
    assert completed(store, again).state == "completed"
    assert store.trial(search.id, 0).losses == {}


def test_a_queued_trial_settles_when_another_trains_its_run(store: Store, search: Search) -> None:
    first, second = store.add_trials(search.id, [new_trial(), new_trial()])
    assert store.settle(search.id) == []
    completed(store, first)
    assert [(t.number, t.state, t.losses["prose"]) for t in store.settle(search.id)] == [(1, "completed", 1.25)]
    assert store.attempts(second.id) == []


def test_a_run_trained_twice_keeps_its_first_measurements(store: Store, search: Search) -> None:
    [first] = store.add_trials(search.id, [new_trial()])
    [second] = store.add_trials(new_search(store, "other").id, [new_trial()])  # driven by nobody that lives
    store.start(second.id, worker="w1")
    completed(store, first, loss=1.0)
    late = store.complete(second.id, losses={"prose": 9.0}, curve=[], epochs={}, spent_flops=5.0, elapsed_s=1.0)
    assert (late.state, late.losses["prose"]) == ("completed", 1.0)
    assert (store.run("r0").spent_flops, store.run("r0").wasted_flops) == (16.0, 5.0)
    assert len(store.curve("r0")) == 2


def test_everything_is_there_after_closing_and_opening(store: Store, search: Search, location: str) -> None:
    completed(store, store.add_trials(search.id, [new_trial()])[0])
    before = (store.searches(), store.trials(search.id), store.curve("r0"))
    store.close()
    with Store(location) as opened:
        assert (opened.searches(), opened.trials(search.id), opened.curve("r0")) == before
