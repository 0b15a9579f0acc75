"""What reads a whole search asks the store as often for three hundred trials as for thirty."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from store import pages
from tests.benchmarks.large_stores import fill, readings

READINGS = tuple(readings(""))
MOST = 30  # statements, those of opening a store among them


def statements(location: Path, what: str) -> int:
    """Return how many statements a reading sends to the store at `location`."""
    sent: list[object] = []

    def listen(*arguments: object) -> None:
        sent.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        readings(str(location))[what]()
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    return len(sent)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store of thirty trials, and one of three hundred: most in pages, and some after the last of these."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "TRIALS", 8)
        for count in (30, 300):
            fill(folder / f"{count}.db", count)
    return folder / "30.db", folder / "300.db"


@pytest.mark.parametrize("what", READINGS)
def test_a_reading_takes_as_many_statements_for_many_trials_as_for_few(stores: tuple[Path, Path], what: str) -> None:
    few, many = (statements(store, what) for store in stores)
    assert 0 < few == many <= MOST
