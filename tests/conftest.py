"""What tests share a process by: files run in any order, and none may change what a later one finds."""

import os
import secrets
import sys
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """Choose a token for all of Ray: a process reads it once, whatever a later test says, or writes one into ~."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """Give `__main__` back, which Streamlit replaces by the page: processes that a later test starts would run that."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
