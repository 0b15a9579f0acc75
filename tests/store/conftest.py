"""Stores to try things on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store import Search, Store
from tests.store.store_cases import new_search


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """An empty store in a file."""
    with Store(path) as opened:
        yield opened


@pytest.fixture
def search(store: Store) -> Search:
    """A search in `store`."""
    return new_search(store)
