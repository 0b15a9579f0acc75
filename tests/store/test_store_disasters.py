"""What a store does when the ground moves: a full disk, a clock that jumps back, a server that restarts."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from types import FrameType

import pytest
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from store import LeaseHeld, LeaseLost, Search, Store, StoreUnavailable, check, engine
from tests.postgres import Cluster
from tests.store.store_cases import completed, new_search, new_trial

HOUR_S = 3_600.0


class Back(datetime):
    """A clock that is an hour slow."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Back":
        return cls.fromtimestamp(time.time() - HOUR_S, tz)


def test_a_full_disk_is_said_and_what_was_written_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(path) as store:
        search = new_search(store)
        done = completed(store, store.add_trials(search.id, [new_trial()])[0])
    pages, pragmas = path.stat().st_size // 4_096 + 2, engine._set_pragmas

    def full(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        pragmas(connection, entry)
        connection.cursor().execute(f"PRAGMA max_page_count = {pages}")

    monkeypatch.setattr(engine, "_set_pragmas", full)
    with Store(path) as store, pytest.raises(StoreUnavailable, match=r"full.*; make room on the disk and run again"):
        store.add_trials(search.id, [new_trial(str(number)) for number in range(500)])
    monkeypatch.undo()
    assert check(path) == []
    with Store(path) as store:  # with room again, it goes on
        assert store.trials(search.id) == [done]
        assert completed(store, store.add_trials(search.id, [new_trial("b")])[0]).number == 1


def test_a_lease_from_before_the_clock_jumped_back_does_not_bar_the_search_for_long(
    file_store: Store, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    search = new_search(file_store)
    file_store.acquire_lease(search.id, owner="a", host="elsewhere", pid=1, ttl_s=60)
    with Store(path) as other, pytest.raises(LeaseHeld):
        other.acquire_lease(search.id, owner="b", host="here", pid=2, ttl_s=60)
    monkeypatch.setattr("store.clock.datetime", Back)
    with Store(path) as other:
        assert other.acquire_lease(search.id, owner="b", host="here", pid=2, ttl_s=60).owner == "b"
        with pytest.raises(LeaseLost):  # were it alive, it would write nothing
            file_store.add_trials(search.id, [new_trial()])
        assert other.renew_lease(search.id, owner="b", ttl_s=60).owner == "b"


def test_a_holder_that_renews_after_the_clock_jumped_back_keeps_its_search(
    file_store: Store, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    search = new_search(file_store)
    file_store.acquire_lease(search.id, owner="a", host="elsewhere", pid=1, ttl_s=60)
    monkeypatch.setattr("store.clock.datetime", Back)
    file_store.renew_lease(search.id, owner="a", ttl_s=60)
    with Store(path) as other, pytest.raises(LeaseHeld, match="last heard of 0 s ago"):
        other.acquire_lease(search.id, owner="b", host="here", pid=2, ttl_s=60)


def test_no_attempt_ends_before_it_began_when_the_clock_jumps_back(
    file_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = new_search(file_store)
    trials = file_store.add_trials(search.id, [new_trial(name) for name in "abc"])
    for trial in trials:
        file_store.start(trial.id, worker="w0")
    monkeypatch.setattr("store.clock.datetime", Back)
    file_store.complete(trials[0].id, losses={"p": 1.0}, curve=(), epochs={}, spent_flops=1.0, elapsed_s=4.0)
    file_store.fail(trials[1].id, state="failed", error="out of memory", elapsed_s=2.0)
    file_store.requeue(search.id)
    attempts = [file_store.attempts(trial.id)[0] for trial in trials]
    assert all(each.ended_at is not None and each.ended_at >= each.started_at for each in attempts)
    assert [each.elapsed_s for each in attempts] == [4.0, 2.0, 0.0]
    ended = file_store.trials(search.id, states=["completed", "failed"])
    times = [file_store.detail(search.id, t.number) for t in ended]
    assert all(t.finished_at is not None and t.started_at is not None and t.finished_at >= t.started_at for t in times)


@pytest.fixture
def server_search(cluster: Cluster, store: Store, location: str) -> Search:
    """A search in a store of the server."""
    return new_search(store)


@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
def test_a_server_that_restarts_is_waited_for(cluster: Cluster, store: Store, server_search: Search) -> None:
    [first, second] = store.add_trials(server_search.id, [new_trial("a"), new_trial("b")])
    store.start(first.id, worker="w0")
    cluster.stop(mode="immediate")
    try:
        begun_s = time.monotonic()
        starting = threading.Timer(1.0, cluster.start)
        starting.start()
        done = completed(store, second)
        assert time.monotonic() - begun_s > 0.9
    finally:
        starting.join()
    assert store.trials(server_search.id) == [store.trial(server_search.id, 0), done]
    assert store.attempts(first.id)[0].state == "running"


def test_a_server_that_was_never_there_is_said_at_once(cluster: Cluster) -> None:
    begun_s = time.monotonic()
    with pytest.raises(StoreUnavailable, match="check that it can be reached"):
        Store(cluster.url("nowhere"))
    assert time.monotonic() - begun_s < engine.PATIENCE_S / 2


def test_an_interrupt_at_any_moment_of_a_write_leaves_a_store_that_can_be_written(store: Store, search: Search) -> None:
    moment = 0
    while interrupted(store, search, after=moment):
        store.set_state(search.id, "finished")
        assert store.search(search.id).state == "finished"
        moment += 29  # of some thousand lines
    assert moment > 29 * 20


def interrupted(store: Store, search: Search, *, after: int) -> bool:
    """Press Ctrl-C after so many lines of a write; return whether it came to so many."""
    left, trace = after, sys.gettrace()

    def count(_frame: FrameType, event: str, _argument: object) -> Callable[..., object]:
        nonlocal left
        left -= event == "line"
        if left < 0:
            sys.settrace(trace)
            signal.raise_signal(signal.SIGINT)
        return count

    try:
        sys.settrace(count)
        store.set_state(search.id, "stopped")
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(trace)
    return left < 0
