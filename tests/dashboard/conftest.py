"""A filled store to look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.dashboard.filled_stores import fill


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished search over seven domains: filled once, copied by whoever wants it."""
    path = tmp_path_factory.mktemp("dashboard") / "filled.db"
    fill(path)
    return path


@pytest.fixture
def filled(filled_once: Path, tmp_path: Path) -> Path:
    """A store of one's own with one finished search over seven domains."""
    return Path(shutil.copy(filled_once, tmp_path))
