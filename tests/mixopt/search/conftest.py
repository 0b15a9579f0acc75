"""The store of a search, beside whose file its artifacts lie."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store in the folder that the test works in."""
    monkeypatch.chdir(tmp_path)
    with Store(tmp_path / "mixopt.db") as opened:
        yield opened
