"""Connections: where a store is, how it is opened, and its two kinds of transaction.

A write begins by taking the one write lock (SQLite `BEGIN IMMEDIATE`, PostgreSQL an advisory lock): a read that leads
to a write never finds the ground moved. A read sees one state of the store and holds nobody up.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from store.errors import StoreUnavailable
from store.interrupts import uninterrupted

BUSY_TIMEOUT_S = 30.0  # how long a transaction waits for another one's write lock
PATIENCE_S = 60.0  # how long one waits for a server that was there before: it may be restarting
RETRY_S = 0.5
MOUNTS = Path("/proc/self/mounts")
NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.juicefs"),
}
WRITE_LOCK = 7_311_509_286  # any number, as long as every version of this program takes the same


class Connections:
    """An engine opened for reading, or for reading and writing; `shown` names the store in messages."""

    def __init__(self, location: str | Path, *, read_only: bool) -> None:
        url = to_url(location)
        self.shown = shown(url)
        self.read_only = read_only
        self._engine = _open_sqlite(url, read_only=read_only) if _is_sqlite(url) else _open_server(url)
        self._reader = self._engine.execution_options(**_READ_OPTIONS[self._engine.dialect.name])
        self._writer = self._engine.execution_options(mixopt_write=True)
        self._reached = False

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that sees one state of the store."""
        with uninterrupted(), self._told(), self._begun(self._reader) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session that alone may write; commits at the end, or leaves no trace."""
        if self.read_only:
            raise StoreUnavailable(
                f"the store {self.shown} is open for reading only; open it without read_only to write"
            )
        with uninterrupted(), self._told(), self._begun(self._writer) as session:
            yield session

    def use_write_ahead_log(self) -> None:
        """Switch a SQLite file to WAL, so that readers and the writer do not wait for each other; it stays so."""
        if self._engine.dialect.name != "sqlite":
            return
        give_up = time.monotonic() + BUSY_TIMEOUT_S
        with self._told():
            while not _switched(self._engine, last=time.monotonic() > give_up):
                time.sleep(0.02)

    def size_bytes(self) -> int:
        """Return what the store takes on the disk."""
        if self._engine.dialect.name == "sqlite":
            with self.read() as session:
                pages, size = (session.scalars(text(f"PRAGMA {name}")).one() for name in ("page_count", "page_size"))
            return int(pages) * int(size)
        with self.read() as session:
            return int(session.scalars(text("SELECT pg_database_size(current_database())")).one())

    def vacuum(self) -> None:
        """Let the database rewrite what has gaps, outside any transaction."""
        if self._engine.dialect.name == "postgresql":
            with self._told(), self._engine.connect() as server:
                server.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
            return
        with self._told(), closing(self._engine.raw_connection()) as connection:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "ANALYZE"):
                connection.cursor().execute(statement)

    def close(self) -> None:
        """Close every connection; a later call opens them anew."""
        self._engine.dispose()

    @contextmanager
    def _begun(self, engine: Engine) -> Iterator[Session]:
        """Yield a session in a transaction; a server that was there before is waited for, as nothing was done yet."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            session = Session(engine, expire_on_commit=False)
            try:
                session.connection()
                break
            except OperationalError:
                session.close()
                if engine.dialect.name == "sqlite" or not self._reached or time.monotonic() > give_up:
                    raise
                time.sleep(RETRY_S)
        self._reached = True
        with session:  # which rolls back what is not committed
            yield session
            session.commit()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, sqlite3.Error) as error:
            raise StoreUnavailable(
                f"the store {self.shown} cannot be used ({_first_line(error)}); {_advice(error)}"
            ) from error


def to_url(location: str | Path) -> URL:
    """Return the database URL of a path or a URL, or raise StoreUnavailable."""
    words = str(location)
    if "://" not in words:
        return URL.create("sqlite", database=str(Path(words).expanduser().absolute()))
    try:
        return make_url(words)
    except (ArgumentError, ValueError):  # a port that is no number; whose message may hold the password
        scheme = words.partition("://")[0]
        raise StoreUnavailable(
            f"what begins with {scheme[:40]!r} is no database URL; give a path or postgresql://user@host:5432/name"
        ) from None


def shown(url: URL) -> str:
    """Return `url` as a user knows it: a path for SQLite, no password for a server."""
    return (
        repr(url.database or ":memory:") if _is_sqlite(url) else repr(_masked(url).render_as_string(hide_password=True))
    )


def without_password(location: str) -> str:
    """Return the path or URL of a store as it may be printed: without a password that stands in it."""
    if "://" not in location:
        return location
    return _masked(to_url(location)).render_as_string(hide_password=True)


def _masked(url: URL) -> URL:
    """Return `url` without the secrets that its query may hold."""
    return url.update_query_dict({key: "hidden" for key in url.query if "password" in key.lower()})


def _open_sqlite(url: URL, *, read_only: bool) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    # one connection, which threads take in turn: each connection to ":memory:" would be a store of its own
    pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0} if in_memory else {}
    if not in_memory:
        _check_file(Path(str(url.database)), read_only=read_only)
        url = _read_only_url(Path(str(url.database))) if read_only else url
    engine = create_engine(url, connect_args=arguments, **pool)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _check_file(path: Path, *, read_only: bool) -> None:
    if path.is_dir():
        raise StoreUnavailable(f"the store '{path}' is a folder; give the path of a file in it")
    if read_only and not path.exists():
        raise StoreUnavailable(
            f"there is no store at '{path}'; run a search first, or give its path or URL with --store"
        )
    if not path.parent.is_dir():
        raise StoreUnavailable(
            f"the folder '{path.parent}' of the store does not exist; create it, or give another --store"
        )
    if not read_only:
        refuse_network(path, mounts=MOUNTS)


def refuse_network(path: Path, *, mounts: Path) -> None:
    """Raise StoreUnavailable where `path` lies on a file system of the network, by the table of `mounts` (if any).

    SQLite's log is shared memory between its programs, and locks there are not to be relied on.
    """
    if not mounts.is_file():
        return
    place, kind = "", ""
    for line in mounts.read_text().splitlines():
        _, where, of, *_ = line.split()
        where = where.replace("\\040", " ")
        if path.resolve().is_relative_to(where) and len(where) >= len(place):
            place, kind = where, of
    if kind in NETWORK:
        raise StoreUnavailable(
            f"the store '{path}' would lie on a network file system ({kind}, mounted at {place}), where SQLite loses "
            "data; give a path on a local disk, or a server: --store postgresql://user@host/name"
        )


def _read_only_url(path: Path) -> URL:
    query = {"mode": "ro", "uri": "true"}
    if not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists():
        query["immutable"] = "1"  # a reader of a write-ahead log makes files beside it, which it cannot here
    return URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)


def _switched(engine: Engine, *, last: bool) -> bool:
    """Say whether the file is in WAL mode now: the switch does not wait for others, and fails at the `last` try."""
    connection = engine.raw_connection()  # outside any transaction, where alone the mode may change
    try:
        connection.cursor().execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if last or "locked" not in str(error):
            raise
        return False
    finally:
        connection.close()
    return True


def _set_pragmas(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("mixopt_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _open_server(url: URL) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StoreUnavailable(
            f"no driver for {shown(url)} ({_first_line(error)}); install mixopt[postgres] and give postgresql://user@host/name"
        ) from error
    if engine.dialect.name not in _READ_OPTIONS:
        raise StoreUnavailable(
            f"{shown(url)} is no database that a store can use; give a path or postgresql://user@host/name"
        )
    event.listen(engine, "begin", _lock)
    return engine


def _lock(connection: Connection) -> None:
    if connection.get_execution_options().get("mixopt_write", False):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITE_LOCK})


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return (str(cause).splitlines() or [type(cause).__name__])[0]


def _advice(error: Exception) -> str:
    words = str(error)
    for symptom, advice in _ADVICE.items():
        if symptom in words:
            return advice
    return "check that it can be reached and written"


_READ_OPTIONS: dict[str, dict[str, Any]] = {
    "sqlite": {},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}

_ADVICE: dict[str, str] = {
    "locked": "another program has held it for too long: end that one, or use PostgreSQL for many writers",
    "not a database": "give the path of a store, or of a file that does not exist yet",
    "full": "make room on the disk and run again",
    "readonly": "make the file and its folder writable, or give another --store",
    "unable to open": "make the file and its folder readable and writable, or give another --store",
    "malformed": "restore it from a copy",
}
