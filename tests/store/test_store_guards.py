import pytest
from sqlalchemy.exc import IntegrityError

from store import DomainChange, Search, Store
from store.guards import APPEND_ONLY, missing
from tests.store.store_cases import completed, new_trial


def filled(store: Store, search: Search) -> None:
    store.post(search.id, "wish", {})
    trial = completed(store, store.add_trials(search.id, [new_trial()])[0])
    store.retract(trial.id, reason="wrong")
    store.add_trials(search.id, [new_trial("later")])
    without_code = DomainChange(parts={"code": {}}, revised={}, domains={"web": 1_000, "math": 30}, corpus={})
    store.change_domains(search.id, without_code, config={}, config_hash="h1", note="code is removed")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE trials SET reason = 'another' WHERE number = 0", "a finished trial is never changed"),
        ("UPDATE trials SET state = 'queued', finished_at = NULL WHERE number = 0", "a finished trial"),
        ("UPDATE runs SET epochs = '{}' WHERE completed_at IS NOT NULL", "a completed run is never changed"),
        ("UPDATE attempts SET worker = 'another'", "an attempt that has ended"),
        ("UPDATE measurements SET value = 0.5", "rows of measurements are never changed"),
        ("UPDATE retractions SET reason = 'another'", "rows of retractions are never changed"),
        ("UPDATE inbox SET kind = 'another'", "a message is never changed"),
        ("DELETE FROM measurements", "rows of measurements are never deleted"),
        ("DELETE FROM retractions", "rows of retractions are never deleted"),
        ("UPDATE domain_changes SET first_trial = 0", "rows of domain_changes are never changed"),
        ("DELETE FROM domain_changes", "rows of domain_changes are never deleted"),
        ("UPDATE outdated_trials SET change_id = 1", "rows of outdated_trials are never changed"),
        ("DELETE FROM outdated_trials", "rows of outdated_trials are never deleted"),
        ("DELETE FROM trials WHERE number = 1", "rows of trials are never deleted"),
    ],
)
def test_the_database_itself_keeps_what_is_finished(store: Store, search: Search, statement: str, message: str) -> None:
    filled(store, search)
    with pytest.raises(IntegrityError, match=message), store._connections.write() as session:
        session.connection().exec_driver_sql(statement)


def test_what_is_open_may_change(store: Store, search: Search) -> None:
    filled(store, search)
    with store._connections.write() as session:
        session.connection().exec_driver_sql("UPDATE trials SET reason = 'better' WHERE number = 1")
    assert [trial.reason for trial in store.trials(search.id)] == ["a try", "better"]


def test_every_guard_is_there(store: Store) -> None:
    with store._connections.read() as session:
        assert missing(session.connection()) == []
        assert len(APPEND_ONLY) > 5
