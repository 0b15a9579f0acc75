import os
import socket
import subprocess
import sys
import time

import pytest

from store import LeaseHeld, LeaseLost, Search, Store
from tests.store.store_cases import completed, new_trial

HERE = socket.gethostname()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lease_is_taken_once(store: Store, search: Search) -> None:
    lease = store.acquire_lease(search.id, owner="a", host=HERE, pid=os.getpid(), ttl_s=60)
    assert (lease.expires_at - lease.renewed_at).total_seconds() == 60
    with pytest.raises(LeaseHeld, match=f"run by process {os.getpid()} on {HERE} since 20.*last heard of \\d+ s ago"):
        store.acquire_lease(search.id, owner="b", host=HERE, pid=os.getpid(), ttl_s=60)
    assert store.lease(search.id) == lease


def test_a_released_lease_is_free(store: Store, search: Search) -> None:
    store.acquire_lease(search.id, owner="a", host=HERE, pid=os.getpid(), ttl_s=60)
    store.release_lease(search.id, owner="b")
    assert store.lease(search.id) is not None
    store.release_lease(search.id, owner="a")
    assert store.acquire_lease(search.id, owner="b", host=HERE, pid=1, ttl_s=60).owner == "b"


def test_an_expired_lease_is_taken_over_and_its_holder_learns_of_it(store: Store, search: Search) -> None:
    store.acquire_lease(search.id, owner="a", host="elsewhere", pid=1, ttl_s=0.02)
    time.sleep(0.03)
    assert store.acquire_lease(search.id, owner="b", host=HERE, pid=os.getpid(), ttl_s=60).owner == "b"
    with pytest.raises(LeaseLost, match=f"process {os.getpid()} on {HERE} does"):
        store.renew_lease(search.id, owner="a", ttl_s=60)


def test_a_dead_process_of_this_host_holds_nothing(store: Store, search: Search) -> None:
    store.acquire_lease(search.id, owner="a", host=HERE, pid=dead_pid(), ttl_s=600)
    assert store.acquire_lease(search.id, owner="b", host=HERE, pid=os.getpid(), ttl_s=60).owner == "b"


def test_of_another_host_nothing_is_known(store: Store, search: Search) -> None:
    store.acquire_lease(search.id, owner="a", host="elsewhere", pid=dead_pid(), ttl_s=600)
    with pytest.raises(LeaseHeld, match="on elsewhere"):
        store.acquire_lease(search.id, owner="b", host=HERE, pid=os.getpid(), ttl_s=60)


def test_renewing_moves_the_end_and_not_the_start(store: Store, search: Search) -> None:
    first = store.acquire_lease(search.id, owner="a", host=HERE, pid=os.getpid(), ttl_s=10)
    later = store.renew_lease(search.id, owner="a", ttl_s=100)
    assert later.expires_at > first.expires_at
    assert later.acquired_at == first.acquired_at


def test_a_driver_that_lost_its_lease_writes_nothing(store: Store, search: Search, location: str) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.acquire_lease(search.id, owner="a", host="elsewhere", pid=1, ttl_s=0.02)
    store.start(trial.id, worker="w0")
    time.sleep(0.03)
    with Store(location) as second:
        second.acquire_lease(search.id, owner="b", host=HERE, pid=os.getpid(), ttl_s=60)
        second.requeue(search.id)
        second.start(trial.id, worker="w1")
        with pytest.raises(LeaseLost, match="wrote nothing"):
            completed(store, trial)  # the late result of an attempt that was given up
        with pytest.raises(LeaseLost):
            store.add_trials(search.id, [new_trial("r1")])
        assert [a.state for a in second.attempts(trial.id)] == ["lost", "running"]
        assert len(second.trials(search.id)) == 1


def test_anyone_may_write_to_the_inbox(store: Store, search: Search, location: str) -> None:
    store.acquire_lease(search.id, owner="a", host=HERE, pid=os.getpid(), ttl_s=60)
    with Store(location) as other:
        other.post(search.id, "wish", {})
    assert [message.kind for message in store.messages(search.id)] == ["wish"]
