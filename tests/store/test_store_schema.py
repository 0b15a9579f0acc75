import sqlite3
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from store import Store
from store.schema import Base


def statements(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type != 'trigger'"
    ).fetchall()
    connection.close()
    return {" ".join(sql.split()) for name, sql in rows if not name.startswith("alembic")}


def clauses(statement: str) -> tuple[str, frozenset[str]]:
    """The first words of a statement, and its lines without order."""
    head, _, body = statement.partition("(")
    return head, frozenset(part.strip(" ,)") for part in body.split(", "))


def test_the_migrations_make_what_the_models_say(store: Store) -> None:
    with store._connections.write() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrations_make_every_constraint_of_the_models(file_store: Store, path: Path, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    Base.metadata.create_all(engine)
    engine.dispose()
    migrated, modelled = statements(path), statements(tmp_path / "models.db")
    assert {clauses(s) for s in migrated} == {clauses(s) for s in modelled}
