"""A private PostgreSQL cluster for the tests: its socket and data in a temporary folder, gone with them."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from store.schema import Base

OWNER = "mixopt"
DURABLE = os.environ.get("MIXOPT_POSTGRES_FSYNC", "off")  # a test's data need not outlive the machine
PROGRAMS = Path("/usr/lib/postgresql")  # where Debian keeps them, off the PATH, a folder for each version


class Cluster:
    """A running server: `url` names one of its databases; it can be stopped hard, and started again."""

    def __init__(self, programs: Path, folder: Path, *, user: str | None) -> None:
        self._programs, self._folder, self._user = programs, folder, user
        self._numbers = count()

    def url(self, database: str) -> str:
        """The URL of `database`, as a user would give it."""
        return f"postgresql+psycopg://{OWNER}@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """The URL of a new database."""
        name = f"d{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def guarded_database(self, user: str, password: str) -> str:
        """The URL of a new database of `user`, whom the server lets in with a password; it stands not in the URL."""
        name = f"d{next(self._numbers)}"
        self.sql(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        self.sql(f"CREATE DATABASE {name} OWNER {user}")
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")
        self.sql("SELECT pg_reload_conf()")
        return self.url(name).replace(OWNER, user, 1)

    def sql(self, statement: str) -> None:
        """Run one statement outside any transaction."""
        import psycopg

        with psycopg.connect(host=str(self._folder), user=OWNER, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}' -c fsync={DURABLE}"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self._folder / "log", "-o", options)

    def stop(self, *, mode: str = "fast") -> None:
        """Stop the server; the mode `immediate` leaves everything as a crash does."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def make(self) -> None:
        """Lay the cluster's files out."""
        self._run("initdb", "-D", self._data, "-U", OWNER, "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._programs / program, *arguments]
        with (self._folder / "output").open("ab") as output:
            done = subprocess.run(command, user=self._user, cwd=self._folder, stdout=output, stderr=output, check=False)
        assert done.returncode == 0, (self._folder / "output").read_text()


@contextmanager
def private_cluster() -> Iterator[Cluster]:
    """Give a running cluster, or skip the test, or fail it where MIXOPT_REQUIRE asks for PostgreSQL."""
    programs = _programs()
    if programs is None:
        _give_up("PostgreSQL's initdb is not installed (Debian: apt-get install postgresql)")
    if importlib.util.find_spec("psycopg") is None:
        _give_up("psycopg is not installed (pip install 'mixopt[postgres]')")
    assert programs is not None
    user = _ordinary_user()
    folder = Path(tempfile.mkdtemp(prefix="mixopt-pg-", dir="/tmp"))  # a socket's path has at most 107 characters
    if user is not None:
        shutil.chown(folder, user)
    cluster = Cluster(programs, folder, user=user)
    try:
        cluster.make()
        cluster.start()
        yield cluster
        cluster.stop(mode="immediate")
    finally:
        shutil.rmtree(folder)


def empty(url: str) -> None:
    """Remove every row of the store at `url`, and count ids from 1 again: quicker than another database."""
    engine = create_engine(url)
    with engine.begin() as connection:
        tables = ", ".join(Base.metadata.tables)
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    engine.dispose()


def _give_up(reason: str) -> None:
    if "postgres" in os.environ.get("MIXOPT_REQUIRE", "").split(","):
        pytest.fail(f"MIXOPT_REQUIRE asks for PostgreSQL: {reason}")
    pytest.skip(reason)


def _programs() -> Path | None:
    """Return the folder of the newest installed server."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = [path.parent for path in PROGRAMS.glob("*/bin/initdb")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


def _ordinary_user() -> str | None:
    """Return who shall run the server: it refuses root; None stands for whoever we are."""
    return "nobody" if os.geteuid() == 0 else None
