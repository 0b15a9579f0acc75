import multiprocessing
from pathlib import Path

from store import LeaseHeld, Store, TrialStateError
from tests.store.store_cases import new_search, new_trial

TRIALS = 24
PROCESSES = 8
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])  # what is heavy is imported once


def claim_all(location: str, worker: str) -> None:
    with Store(location) as store:
        search = store.find_search("s")
        assert search is not None
        store.post(search.id, "begun", {"worker": worker})
        try:
            with Store(location) as driver:
                driver.acquire_lease(search.id, owner=worker, host="elsewhere", pid=1, ttl_s=600)
            store.post(search.id, "drives", {"worker": worker})
        except LeaseHeld:
            store.post(search.id, "refused", {"worker": worker})
        for trial in store.trials(search.id)[:TRIALS]:
            try:
                store.start(trial.id, worker=worker)
            except TrialStateError:
                continue
            store.beat(trial.id, spent_flops=0.5)
            store.complete(trial.id, losses={"p": 1.0}, curve=[(1, 2.0)], epochs={}, spent_flops=1.0, elapsed_s=1.0)
            store.add_trials(search.id, [new_trial(f"{worker}-{trial.number}")])


def open_only(location: str) -> None:
    Store(location).close()


def in_processes(target: object, arguments: list[tuple[object, ...]]) -> list[int | None]:
    processes = [SERVER.Process(target=target, args=args) for args in arguments]  # type: ignore[arg-type]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def test_eight_processes_that_race_share_the_trials_and_one_of_them_drives(store: Store, location: str) -> None:
    search = new_search(store)
    store.add_trials(search.id, [new_trial(str(i)) for i in range(TRIALS)])
    workers = [f"w{number}" for number in range(PROCESSES)]
    assert in_processes(claim_all, [(location, worker) for worker in workers]) == [0] * PROCESSES
    done = store.trials(search.id, states=["completed"])
    assert [t.number for t in done] == list(range(TRIALS))
    assert all(t.attempts == 1 for t in done)  # none was started twice
    assert [t.number for t in store.trials(search.id)] == list(range(2 * TRIALS))
    messages = store.messages(search.id)
    assert sorted(m.payload["worker"] for m in messages if m.kind == "begun") == workers
    assert sorted(m.kind for m in messages if m.kind != "begun") == ["drives", *["refused"] * (PROCESSES - 1)]
    changes = store.changes(search.id, since=0)
    assert changes.mark == 3 * TRIALS + 1  # each adding, start and end is one change, and none is lost


def test_two_processes_may_make_the_same_new_store(path: Path) -> None:
    assert in_processes(open_only, [(path,), (path,)]) == [0, 0]
    with Store(path, read_only=True) as store:
        assert store.searches() == []
