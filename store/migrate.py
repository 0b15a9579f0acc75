"""Whether the tables of a store are those of this program, and making them so."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.orm import Session

from store import guards, pages
from store.engine import Connections
from store.errors import SchemaMismatch, StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(location: str | Path) -> tuple[str | None, str]:
    """Bring the tables at `location` up to date; return the revisions before (None: it was new) and after.

    Raises StoreUnavailable where it cannot be opened, SchemaMismatch where it is newer than this program.
    """
    connections = Connections(location, read_only=False)
    try:
        with connections.read() as session:
            before = _revision(session)
        if before is None:
            ensure_current(connections)
        else:
            _refuse_newer(before, shown=connections.shown)
            with connections.write() as session:
                _migrate(session.connection())
                pages.fill(session)
        with connections.read() as session:
            after = _revision(session)
    finally:
        connections.close()
    assert after is not None
    return before, after


def ensure_current(connections: Connections) -> None:
    """Fill a brand-new store with tables if it may be written; SchemaMismatch if its tables are not this program's."""
    with connections.read() as session:
        found = _revision(session)
        if found is not None:
            _refuse_other(found, shown=connections.shown)
            return
        _refuse_foreign(session, shown=connections.shown)
    if connections.read_only:
        raise StoreUnavailable(f"the store {connections.shown} is empty; run a search first, or give another --store")
    connections.use_write_ahead_log()
    with connections.write() as session:
        if _revision(session) is None:  # unless another program has been quicker
            _migrate(session.connection())


def _migrate(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    guards.remove(connection)
    command.upgrade(config, "head")
    guards.install(connection)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@cache
def _revisions() -> tuple[str, ...]:
    """Return the revisions that this program knows, the one it needs first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _revision(session: Session) -> str | None:
    return MigrationContext.configure(session.connection()).get_current_revision()


def _refuse_other(found: str, *, shown: str) -> None:
    _refuse_newer(found, shown=shown)
    if found != _revisions()[0]:
        raise SchemaMismatch(
            f"the store {shown} has tables of revision {found} and this mixopt needs {_revisions()[0]}; "
            f"run `mixopt db upgrade --store {shown}`"
        )


def _refuse_newer(found: str, *, shown: str) -> None:
    if found not in _revisions():
        raise SchemaMismatch(
            f"the store {shown} has tables of revision {found}, newer than this mixopt knows; "
            "install a newer mixopt (`mixopt db upgrade` of that one brings older stores along)"
        )


def _refuse_foreign(session: Session, *, shown: str) -> None:
    tables = inspect(session.connection()).get_table_names()
    if set(tables) - {"alembic_version"}:
        raise SchemaMismatch(
            f"the database {shown} holds other tables {sorted(tables)[:3]}; give an empty one with --store"
        )
