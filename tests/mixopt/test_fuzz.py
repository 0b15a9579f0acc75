"""What people may write: spoiled files of searches and tables of runs are read, or refused with a word, and no more."""

import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixopt.config import SearchConfig, load
from mixopt.errors import ConfigError, MixoptError
from mixopt.ingest import import_runs
from mixopt.runs_table import read_runs
from proxies.errors import ProxyError
from store import Store
from tests.mixopt.small_tables import rows, write

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in CONFIGS.glob("*.yaml")}
SEARCHES = {name: plain for name, plain in FILES.items() if "ladder" in plain}
QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 10**40, -(10**40), 2**63, 1e308, 1e-320, float("nan"), float("inf"), "", "1e9", "../x", "\x00"]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=5,
)


def paths_of(plain: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return where every value in `plain` stands."""
    inner = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    return [at, *(path for key, value in inner for path in paths_of(value, (*at, key)))]


@st.composite
def spoiled(draw: Callable[..., Any]) -> object:
    """Draw the file of a search with up to three of its values replaced, removed, doubled or joined by another."""
    plain: Any = json.loads(json.dumps(SEARCHES[draw(st.sampled_from(sorted(SEARCHES)))]))
    for _ in range(draw(st.integers(1, 3))):
        *above, key = draw(st.sampled_from([path for path in paths_of(plain) if path] or [("name",)]))
        inside = plain
        for step in above:
            inside = inside[step]
        change = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if change == "remove":
            del inside[key]
        elif change == "add" and isinstance(inside, list):
            inside.append(draw(st.one_of(VALUES, st.just(inside[0]))))
        elif change == "add":
            inside[draw(st.text(max_size=6))] = draw(VALUES)
        else:
            inside[key] = draw(VALUES)
    return plain


def judge(config: SearchConfig) -> None:
    """Use a file as `mixopt validate` does, as far as no text is read."""
    assert SearchConfig.from_plain(config.resolved(), root=config.root).digest() == config.digest()
    config.space()
    config.ladder(vocabulary=256, evaluation_tokens=1_000)


@QUICK
@given(plain=spoiled())
def test_a_spoiled_file_of_a_search_is_read_or_refused_in_words(plain: object, tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(plain, allow_unicode=True), encoding="utf-8")
    with suppress(MixoptError, ProxyError):  # anything else would be a traceback
        judge(load(path))


@QUICK
@given(
    content=st.one_of(
        st.binary(max_size=60), st.text(alphabet="abc:-[]{}!&*#|>'\"%@`? \n\t", max_size=60).map(str.encode)
    )
)
def test_any_bytes_are_no_search_and_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"search\.yaml"):
        load(path)


CELLS = st.one_of(SCALARS.map(str), st.sampled_from(["nan", "-inf", "0,5", "1e999", "1_000", "True", "=1+1", "٣"]))


@st.composite
def spoiled_table(draw: Callable[..., Any]) -> bytes:
    """Draw a table of runs with some cells, columns or rows spoiled, or its bytes cut."""
    cells = [{name: str(value) for name, value in row.items()} for row in rows(4)]
    columns = list(cells[0])
    for _ in range(draw(st.integers(1, 3))):
        row, column = draw(st.integers(0, len(cells) - 1)), draw(st.sampled_from(columns))
        change = draw(st.sampled_from(["cell", "cell", "cell", "column", "name", "row"]))
        if change == "cell":
            cells[row][column] = draw(CELLS)
        elif change == "column" and len(columns) > 1:
            columns.remove(column)
        elif change == "name":
            columns.append(draw(st.text(max_size=8)))
        elif change == "row":
            cells.append(dict(cells[row]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in cells)
    content = text.getvalue().encode(errors="surrogatepass")
    return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a search of the table as it was."""
    folder = tmp_path_factory.mktemp("fuzz")
    store = Store(folder / "mixopt.db")
    import_runs(store, read_runs(write(folder / "runs.csv", rows(4))), name="base")
    return store


@QUICK
@given(content=spoiled_table(), into=st.sampled_from(["base", "new"]))
def test_a_spoiled_table_is_read_or_refused_and_what_is_refused_leaves_the_store_alone(
    content: bytes, into: str, tmp_path: Path, store: Store
) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    before = [(search, store.totals().get(search.id)) for search in store.searches()]
    name = into if into == "base" else f"new-{len(before)}"
    try:
        import_runs(store, read_runs(path), name=name)
    except MixoptError:
        assert [(search, store.totals().get(search.id)) for search in store.searches()] == before
