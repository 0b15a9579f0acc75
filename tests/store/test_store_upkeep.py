import sqlite3
from pathlib import Path

import pytest

from store import Search, Store, StoreUnavailable, check, copy, guards, vacuum
from store.engine import refuse_network
from tests.postgres import Cluster
from tests.store.store_cases import completed, new_search, new_trial


def filled(store: Store, search: Search) -> None:
    for name in "abc":
        completed(store, store.add_trials(search.id, [new_trial(name)])[0])
    store.retract(store.trial(search.id, 1).id, reason="wrong")
    store.post(search.id, "wish", {"a": [1, None]})
    store.add_fit(search.id, seen=[0, 2], payload={"theta": [0.1, 1e-300]})
    store.add_recommendation(search.id, payload={"mixture": {"web": 1.0}})


def everything(store: Store) -> list[object]:
    [search] = store.searches()
    return [
        search,
        store.trials(search.id),
        store.fits(search.id),
        store.recommendation(search.id),
        store.messages(search.id),
        [store.curve(name) for name in "abc"],
        [store.attempts(trial.id) for trial in store.trials(search.id)],
    ]


def test_a_backup_is_a_store_that_says_the_same(store: Store, search: Search, location: str, tmp_path: Path) -> None:
    filled(store, search)
    target = tmp_path / "backup.db"
    assert copy(location, target)["trials"] == 3
    with Store(target) as kept:
        assert everything(kept) == everything(store)
        assert [t.number for t in kept.add_trials(search.id, [new_trial("d")])] == [3]
    with pytest.raises(StoreUnavailable, match="holds searches already"):
        copy(location, target)


def test_a_file_moves_to_a_server_and_goes_on_there(file_store: Store, path: Path, cluster: Cluster) -> None:
    filled(file_store, new_search(file_store))
    url = cluster.new_database()
    copy(path, url)
    with Store(url) as moved:
        assert everything(moved) == everything(file_store)
        [trial] = moved.add_trials(1, [new_trial("d")])  # under ids after those that were copied
        assert completed(moved, trial).state == "completed"
        assert check(url) == []


def test_a_sound_store_has_no_faults_and_a_spoiled_one_names_them(store: Store, search: Search, location: str) -> None:
    filled(store, search)
    assert check(location) == []
    with store._connections.write() as session:
        on = " ON measurements" if "://" in location else ""
        session.connection().exec_driver_sql(f"DROP TRIGGER guard_measurements_delete{on}")
        session.connection().exec_driver_sql("DELETE FROM measurements WHERE run_id = 1")
    faults = check(location)
    with store._connections.write() as session:
        guards.remove(session.connection())
        guards.install(session.connection())
    assert len(faults) == 2
    assert "guard_measurements_delete" in faults[0]
    assert faults[1] == "trial 0 of 's' is completed and measures nothing; retract it"


def test_a_damaged_file_is_found(file_store: Store, path: Path) -> None:
    search = new_search(file_store)
    file_store.add_trials(search.id, [new_trial(str(number)) for number in range(200)])
    file_store.close()
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_trials_run_id'").fetchone()[0]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096 + 2000)
        file.write(b"\xff" * 1500)
    assert any("damaged" in fault and "restore it from a backup" in fault for fault in check(path))


def test_a_vacuum_gives_room_back_and_keeps_everything(store: Store, search: Search, location: str) -> None:
    filled(store, search)
    for _ in range(20):
        store.acquire_lease(search.id, owner="a" * 100_000, host="h", pid=1, ttl_s=60)
        store.release_lease(search.id, owner="a" * 100_000)
    before = everything(store)
    done = vacuum(location)
    if "://" not in location:
        assert done.after_bytes < done.before_bytes - 50_000
    assert everything(store) == before


def test_a_file_on_the_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    place = tmp_path / "our data"
    place.mkdir()
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nhost:/home {str(place).replace(' ', chr(92) + '040')} nfs4 rw 0 0\n"
        f"/dev/sdb {str(place).replace(' ', chr(92) + '040')}/local ext4 rw 0 0\n"
    )
    with pytest.raises(StoreUnavailable, match=r"\(nfs4, mounted at .*our data\).*local disk.*--store postgresql://"):
        refuse_network(place / "mixopt.db", mounts=mounts)
    refuse_network(place / "local" / "mixopt.db", mounts=mounts)
    refuse_network(tmp_path / "mixopt.db", mounts=mounts)
