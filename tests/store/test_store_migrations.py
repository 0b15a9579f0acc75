"""Stores of every earlier revision, with rows in them, come along with all that they said."""

from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from store import DomainChange, SchemaMismatch, Store, check, pages, upgrade
from store.migrate import _config

OLDER = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][:0:-1]
MOMENT = "'2026-01-01 00:00:00.000000'"
ROWS = [
    (
        f"INSERT INTO searches (id, name, seed, state, revision, corpus, created_at, updated_at) VALUES "
        f"(1, 's', 3, 'running', 0, '{{}}', {MOMENT}, {MOMENT})"
    ),
    f"INSERT INTO revisions VALUES (1, 0, '{{\"budget_flops\": 1.0}}', 'h0', 'created', {MOMENT})",
    (
        "INSERT INTO domains (id, search_id, name, position, available_tokens) VALUES "
        "(1, 1, 'web', 0, 1000), (2, 1, 'code', 1, 200)"
    ),
    f"INSERT INTO runs VALUES (1, 'r0', '{{\"run\": \"r0\"}}', '{{\"web\": 0.5}}', '{{}}', 4.0, {MOMENT})",
    "INSERT INTO measurements (run_id, part, evaluation_set, {kind}value) VALUES (1, 'search', 'prose', {loss}1.25)",
    (
        f"INSERT INTO trials (id, search_id, number, run_id, purpose, fidelity, seed, part, recipe, state, reason, "
        f"seen, charged_flops, created_at, started_at, finished_at) VALUES (1, 1, 0, 1, 'search', 'small', 0, "
        f"'search', '[[1.0, {{\"web\": 1.0}}]]', 'completed', 'a try', '', 10.0, {MOMENT}, {MOMENT}, {MOMENT})"
    ),
    "INSERT INTO trial_weights (trial_id, domain_id, weight) VALUES (1, 1, 1.0)",
    (
        f"INSERT INTO attempts (trial_id, number, worker, state, spent_flops, elapsed_s, started_at, seen_at, "
        f"ended_at) VALUES (1, 0, 'w0', 'completed', 11.0, 4.0, {MOMENT}, {MOMENT}, {MOMENT})"
    ),
]
ROWS_SINCE = {
    "0005": (
        "INSERT INTO domain_changes (search_id, revision, first_trial, parts, revised, domains, corpus, last_fit, "
        "last_recommendation, note, created_at) VALUES (1, 0, 1, '{}', '{}', "
        f"'[[\"web\", 1000], [\"code\", 200]]', '{{}}', 0, 0, 'nothing became of it', {MOMENT})"
    ),
    "0006": f"INSERT INTO throughputs VALUES ('cpu', 'p0', 5.0, {MOMENT})",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database has no tables yet."""
    if request.param == "sqlite":
        return str(tmp_path / "old.db")
    return str(request.getfixturevalue("cluster").new_database())


@pytest.mark.parametrize("revision", OLDER)
def test_a_store_of_an_older_revision_comes_along(place: str, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "TRIALS", 1)
    engine, config = create_engine(place if "://" in place else f"sqlite:///{place}"), _config()
    later = revision >= "0002"
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for row in [*ROWS, *(row for since, row in ROWS_SINCE.items() if revision >= since)]:
            plain = row.replace("{kind}", "kind, " if later else "").replace("{loss}", "'loss', " if later else "")
            connection.execute(text(plain.replace(": ", r"\: ")))
        if revision >= "0003":  # from then on, adding the trial would have been counted
            for table in ("searches", "trials"):
                connection.execute(text(f"UPDATE {table} SET change = 1"))
    engine.dispose()
    with pytest.raises(SchemaMismatch, match=f"revision {revision} and this mixopt needs .*mixopt db upgrade --store"):
        Store(place)
    assert upgrade(place)[0] == revision
    assert check(place) == []
    with Store(place) as store:
        with store._connections.read() as session:
            assert [len(block) for block in pages.read(session, 1)] == [1, 0]  # a page of the trial, and no rows
        [trial] = store.trials(1)
        assert (trial.state, trial.losses, trial.weights["web"]) == ("completed", {"prose": 1.25}, 1.0)
        assert store.throughput(device="cpu", identity="p0") == (5.0 if revision >= "0006" else None)
        assert (trial.elapsed_s, trial.attempts, store.detail(1, 0).epochs) == (4.0, 1, {"web": 0.5})
        assert [t.number for t in store.changes(1, since=0).trials] == [0]
        change = DomainChange(parts={"code": {}}, revised={"web": 0.5}, domains={"web": 9}, corpus={})
        store.change_domains(1, change, config={}, config_hash="h1", note="code is removed")
        assert (store.trial(1, 0).weights, store.trial(1, 0).stale) == ({"web": 1.0}, 0.5)
        assert store.retract(1, reason="wrong")[0].state == "retracted"


def test_there_are_older_revisions() -> None:
    assert OLDER[0] == "0001"
    assert len(OLDER) > 1
