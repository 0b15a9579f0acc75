import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store import SchemaMismatch, Search, Store, StoreUnavailable, upgrade, without_password
from store.engine import shown, to_url
from tests.store.store_cases import completed, new_search, new_trial


def test_a_new_file_gets_tables_and_the_right_settings(file_store: Store) -> None:
    assert file_store.searches() == []
    with file_store._connections.read() as session:
        found = [session.connection().exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS]
    assert found == ["wal", 1, 1, 30_000]


PRAGMAS = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")


def test_reading_a_file_that_is_not_there_says_so_and_makes_none(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"there is no store at .*run a search first"):
        Store(path, read_only=True)
    assert not path.exists()


def test_a_reader_reads_beside_a_writer_and_writes_nothing(store: Store, search: Search, location: str) -> None:
    with Store(location, read_only=True) as reader:
        [trial] = store.add_trials(search.id, [new_trial()])
        with store._connections.write() as session:
            session.connection().exec_driver_sql("UPDATE trials SET reason = 'uncommitted'")
            assert reader.trial(search.id, 0).reason == "a try"
        assert reader.trial(search.id, 0).reason == "uncommitted"
        completed(store, trial)
        assert reader.trial(search.id, 0).state == "completed"
        with pytest.raises(StoreUnavailable, match="open for reading only"):
            reader.set_state(search.id, "finished")


def test_a_read_sees_one_state_while_others_write(store: Store, search: Search, location: str) -> None:
    with Store(location, read_only=True) as reader, reader._connections.read() as session:
        query = "SELECT count(*) FROM trials"
        before = session.connection().exec_driver_sql(query).scalar()
        store.add_trials(search.id, [new_trial()])
        assert session.connection().exec_driver_sql(query).scalar() == before == 0


def test_a_copied_file_can_be_read_where_nothing_can_be_written(file_store: Store, path: Path, tmp_path: Path) -> None:
    new_search(file_store)
    file_store.close()
    odd = tmp_path / "a folder? 100% #1"
    odd.mkdir()
    copy = odd / "copy.db"
    copy.write_bytes(path.read_bytes())
    odd.chmod(0o555)
    try:
        with Store(copy, read_only=True) as reader:
            assert [s.name for s in reader.searches()] == ["s"]
    finally:
        odd.chmod(0o755)


def test_newer_tables_name_what_is_needed(store: Store, location: str) -> None:
    with at_revision("9999", store):
        for read_only in (False, True):
            with pytest.raises(SchemaMismatch, match=r"newer than this mixopt knows.*mixopt db upgrade"):
                Store(location, read_only=read_only)
        with pytest.raises(SchemaMismatch, match="newer"):
            upgrade(location)


@contextmanager
def at_revision(revision: str, store: Store) -> Iterator[None]:
    """`store` as if its tables were of another revision, for a while."""
    with store._connections.write() as session:
        before = session.connection().exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        session.connection().exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    yield
    with store._connections.write() as session:
        session.connection().exec_driver_sql(f"UPDATE alembic_version SET version_num = '{before}'")


def test_upgrading_a_current_store_changes_nothing(store: Store, location: str, tmp_path: Path) -> None:
    before, after = upgrade(location)
    assert before == after
    assert upgrade(tmp_path / "new.db") == (None, after)


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    text, empty, foreign = tmp_path / "notes.txt", tmp_path / "empty.db", tmp_path / "foreign.db"
    text.write_text("no database at all\n" * 100)
    empty.touch()
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    cases = {
        str(text): "file is not a database.*give the path of a store",
        str(tmp_path): "is a folder",
        str(tmp_path / "no" / "x.db"): "the folder .* does not exist",
        "mysql://host/name": "no driver for|no database that a store can use",
        "://": "is no database URL",
    }
    for location, message in cases.items():
        with pytest.raises(StoreUnavailable, match=message) as error:
            Store(location)
        assert "\n" not in str(error.value)
    with pytest.raises(SchemaMismatch, match=r"holds other tables \['songs'\]"):
        Store(foreign)
    with pytest.raises(StoreUnavailable, match="is empty"):
        Store(empty, read_only=True)


def test_a_store_in_memory_serves_several_threads() -> None:
    with Store("sqlite://") as store:
        search = new_search(store)
        threads = [threading.Thread(target=store.add_trials, args=(search.id, [new_trial(str(i))])) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [t.number for t in store.trials(search.id)] == [0, 1, 2, 3]


def test_passwords_are_not_shown() -> None:
    assert shown(to_url("postgresql://me:secret@host/name")) == "'postgresql://me:***@host/name'"


@pytest.mark.parametrize(
    ("location", "printed"),
    [
        ("mixopt.db", "mixopt.db"),
        ("postgresql://me@host/name", "postgresql://me@host/name"),
        ("postgresql://me:s3cret@host:5433/name", "postgresql://me:***@host:5433/name"),
        ("postgresql://me@host/name?password=s3cret", "postgresql://me@host/name?password=hidden"),
    ],
)
def test_a_password_is_not_printed(location: str, printed: str) -> None:
    assert without_password(location) == printed
