"""A search while the ground moves: it waits or ends with a clear message, loses nothing, and goes on when run again."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from mixopt.config import SearchConfig, load
from mixopt.errors import SearchError
from mixopt.search.launch import driving, start_workers
from store import Store, StoreUnavailable, check, engine
from tests.cli.small_search import write_search
from tests.mixopt.search.killed import folders_of, proposals, setting_of
from tests.postgres import Cluster, private_cluster
from tests.store.test_store_disasters import Back

CONFIG = Path(__file__).parents[3] / "configs" / "simulated.yaml"
SMALL = {"budget_flops": 9e13, "strategy": {"name": "random"}, "proof": {"seeds": 2, "mixtures": ["natural"]}}
DISASTER = 6  # the event after which it comes
ROOM_PAGES = 3  # for some trials, and not for all


def small() -> SearchConfig:
    config = load(CONFIG)
    return config.from_plain(config.resolved() | SMALL, root=config.root)


def drive(location: str, folder: Path, *, config: SearchConfig | None = None) -> Iterator[int]:
    """Drive a search, and yield the number of every event."""
    config = config or small()
    setting, workers = setting_of(config, folders_of(folder)), start_workers(config)
    with Store(location) as store, driving(setting, store=store, workers=workers, elapsed_s=0.0) as driver:
        yield from (number for number, _ in enumerate(driver.drive()))


Told = list[tuple[object, ...]]


def finished(location: str) -> Told:
    """Return what a sound store knows of the trials of a search that has come to its end; see `proposals`."""
    assert check(location) == []
    with Store(location, read_only=True) as store:
        [search] = store.searches()
        assert search.state == "finished"
        return proposals(store, search.id)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The trials of a search that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert list(drive(str(folder / "mixopt.db"), folder))
    return finished(str(folder / "mixopt.db"))


def test_a_full_disk_ends_a_search_with_what_to_do_and_with_room_it_goes_on(
    tmp_path: Path, undisturbed: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    location, pragmas = str(tmp_path / "mixopt.db"), engine._set_pragmas
    Store(location).close()
    pages = Path(location).stat().st_size // 4_096 + ROOM_PAGES

    def full(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        pragmas(connection, entry)
        connection.cursor().execute(f"PRAGMA max_page_count = {pages}")

    monkeypatch.setattr(engine, "_set_pragmas", full)
    with pytest.raises(StoreUnavailable, match=r"full.*; make room on the disk and run again"):
        list(drive(location, tmp_path))
    monkeypatch.undo()
    with Store(location) as store:
        done = store.trials(store.searches()[0].id, states=["completed"])
    assert 0 < len(done) < len(undisturbed)
    list(drive(location, tmp_path))
    assert finished(location) == undisturbed


def test_a_full_disk_under_the_workers_charges_nothing_and_stops_the_search(tmp_path: Path) -> None:
    config = load(write_search(tmp_path, budget=3.5e9))
    plain = config.resolved() | {"proof": False, "strategy": {"name": "random", "natural_seeds": 1}}
    plain["workers"] = plain["workers"] | {"together": 1}  # so that one expert is trained, and the next not yet
    config = config.from_plain(plain, root=config.root)
    location, setting = str(tmp_path / "mixopt.db"), setting_of(config, folders_of(tmp_path))
    events = drive(location, tmp_path, config=config)
    next(events)
    with Store(location, read_only=True) as store:
        gold = setting.gold(store.trials(1)[1])
    assert gold is not None
    Path(gold).mkdir(parents=True)
    (Path(gold) / "letters.npy").symlink_to("/dev/full")
    with pytest.raises(SearchError, match=r"No space left on device; make room on that disk"):
        list(events)
    with Store(location) as store:
        first, second = store.trials(store.searches()[0].id)[:2]
        assert (first.state, second.state, second.attempts) == ("completed", "queued", 1)
    (Path(gold) / "letters.npy").unlink()
    list(drive(location, tmp_path, config=config))
    assert finished(location)
    with Store(location, read_only=True) as store:
        assert [trial.state for trial in store.trials(1)][:2] == ["completed", "completed"]


def test_a_clock_that_jumps_back_changes_nothing_of_a_search(
    tmp_path: Path, undisturbed: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = str(tmp_path / "mixopt.db")
    for number in drive(location, tmp_path):
        if number == DISASTER:
            monkeypatch.setattr("store.clock.datetime", Back)
    assert finished(location) == undisturbed
    with Store(location, read_only=True) as store:
        times = store.details(store.searches()[0].id).values()
    assert all(t.finished_at is not None and (t.started_at or t.finished_at) <= t.finished_at for t in times)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server; the test is skipped where there can be none."""
    with private_cluster() as running:
        yield running


def test_a_server_that_restarts_in_the_middle_of_a_search_changes_nothing_of_it(
    tmp_path: Path, cluster: Cluster, undisturbed: Told
) -> None:
    location = cluster.new_database()
    for number in drive(location, tmp_path):
        if number == DISASTER:
            cluster.stop(mode="immediate")
            starting = threading.Timer(0.5, cluster.start)
            starting.start()
    starting.join()
    assert finished(location) == undisturbed


def test_a_server_that_stays_away_ends_a_search_that_goes_on_once_it_is_back(
    tmp_path: Path, cluster: Cluster, undisturbed: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PATIENCE_S", 1.0)
    monkeypatch.setattr("mixopt.search.lease.LEASE_S", 1.0)  # the next driver is of this process too
    location = cluster.new_database()
    events = drive(location, tmp_path)
    assert [next(events) for _ in range(DISASTER)]
    cluster.stop(mode="immediate")
    with pytest.raises(StoreUnavailable, match="check that it can be reached"):
        list(events)
    cluster.start()
    list(drive(location, tmp_path))
    assert finished(location) == undisturbed
