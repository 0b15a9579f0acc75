"""Stores to try things on, of every kind of database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import Search, Store
from tests.postgres import Cluster, empty, private_cluster
from tests.store.store_cases import new_search

DATABASES = ("sqlite", "postgresql")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made in a file."""
    return tmp_path / "store.db"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server; the test is skipped where there can be none."""
    with private_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def server_store(cluster: Cluster) -> str:
    """The URL of a PostgreSQL database with a store's tables."""
    url = cluster.new_database()
    Store(url).close()
    return url


@pytest.fixture(scope="session")
def template_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a store's tables."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    Store(path).close()
    return path


@pytest.fixture(params=DATABASES)
def location(request: pytest.FixtureRequest, path: Path) -> str:
    """Where an empty store lies: a file, or a database."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("template_file"), path)
        return str(path)
    url: str = request.getfixturevalue("server_store")
    empty(url)
    return url


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    """An empty store."""
    with Store(location) as opened:
        yield opened


@pytest.fixture
def search(store: Store) -> Search:
    """A search in `store`."""
    return new_search(store)


@pytest.fixture
def file_store(path: Path) -> Iterator[Store]:
    """An empty store in a file."""
    with Store(path) as opened:
        yield opened
