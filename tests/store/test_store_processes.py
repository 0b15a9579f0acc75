import multiprocessing
from pathlib import Path

from store import Store, TrialStateError
from tests.store.store_cases import new_search, new_trial

TRIALS = 20


def claim_all(location: str, worker: str) -> None:
    with Store(location) as store:
        search = store.find_search("s")
        assert search is not None
        for trial in store.trials(search.id)[:TRIALS]:
            try:
                store.start(trial.id, worker=worker)
            except TrialStateError:
                continue
            store.complete(trial.id, losses={"p": 1.0}, curve=[(1, 2.0)], epochs={}, spent_flops=1.0, elapsed_s=1.0)
            store.add_trials(search.id, [new_trial(f"{worker}-{trial.number}")])


def open_only(location: str) -> None:
    Store(location).close()


def in_two_processes(target: object, arguments: list[tuple[object, ...]]) -> list[int | None]:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=args) for args in arguments]  # type: ignore[arg-type]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def test_two_processes_share_the_trials_and_none_is_started_twice(store: Store, location: str) -> None:
    search = new_search(store)
    store.add_trials(search.id, [new_trial(str(i)) for i in range(TRIALS)])
    assert in_two_processes(claim_all, [(location, "w0"), (location, "w1")]) == [0, 0]
    done = store.trials(search.id, states=["completed"])
    assert [t.number for t in done] == list(range(TRIALS))
    assert all(t.attempts == 1 for t in done)
    assert [t.number for t in store.trials(search.id)] == list(range(2 * TRIALS))


def test_two_processes_may_make_the_same_new_store(path: Path) -> None:
    assert in_two_processes(open_only, [(path,), (path,)]) == [0, 0]
    with Store(path, read_only=True) as store:
        assert store.searches() == []
