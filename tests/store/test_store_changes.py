import pytest

from store import RunInTraining, Search, Store
from tests.store.store_cases import completed, new_search, new_trial


def test_following_the_changes_gives_what_reading_everything_gives(store: Store, search: Search) -> None:
    known, mark = {}, 0
    other = new_search(store, "other")

    def follow() -> list[int]:
        nonlocal mark
        found = store.changes(search.id, since=mark)
        mark = found.mark
        known.update({trial.number: trial for trial in found.trials})
        assert [known[number] for number in sorted(known)] == store.trials(search.id)
        return [trial.number for trial in found.trials]

    first, second, third = store.add_trials(search.id, [new_trial(name) for name in "abc"])
    assert follow() == [0, 1, 2]
    completed(store, second)
    store.start(third.id, worker="w0")
    assert follow() == [1, 2]
    assert follow() == []
    store.requeue(search.id)
    store.fail(first.id, state="cancelled", error="not needed")
    assert follow() == [0, 2]
    store.retract(second.id, reason="wrong")
    assert follow() == [1]
    [theirs] = store.add_trials(other.id, [new_trial("c")])
    completed(store, theirs)
    store.settle(search.id)
    assert follow() == [2]
    store.retract(theirs.id, reason="wrong")
    assert follow() == [2]


def test_content_that_is_in_training_is_not_trained_twice(store: Store, search: Search) -> None:
    other = new_search(store, "other")
    [theirs] = store.add_trials(other.id, [new_trial()])
    mine, twin = store.add_trials(search.id, [new_trial(), new_trial()])
    store.acquire_lease(other.id, owner="them", host="elsewhere", pid=1, ttl_s=60)
    store.start(theirs.id, worker="w0")
    with pytest.raises(RunInTraining, match="trial 0 of 'other' is training the same content"):
        store.start(mine.id, worker="w1")
    store.release_lease(other.id, owner="them")  # nobody drives it any more
    store.start(mine.id, worker="w1")
    with pytest.raises(RunInTraining, match="trial 0 of 's'"):
        store.start(twin.id, worker="w2")


def test_sessions_keep_what_drove_a_search(store: Store, search: Search) -> None:
    for version in ("1", "2"):
        store.add_session(search.id, provenance={"packages": {"torch": version}})
    assert [s.provenance["packages"]["torch"] for s in store.sessions(search.id)] == ["1", "2"]
