"""Runs into a search of the store and out of it: joined on their id, charged as stated, never twice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixopt.errors import SearchError, TableError
from mixopt.ingest import import_runs, runs_of
from mixopt.runs_table import RunsTable, read_runs
from mixopt.search.report import find, report
from proxies.config import ProxyConfig
from store import LeaseHeld, NewTrial, Search, Store
from tests.mixopt.small_tables import DOMAINS, rows, write

PROXY = {"layers": 1, "width": 16, "heads": 1}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.db") as opened:
        yield opened


@pytest.fixture
def table(tmp_path: Path) -> RunsTable:
    """Twelve runs at two fidelities with accuracies and sizes, one of them without a loss that counts."""
    cells = rows()
    for i, row in enumerate(cells):
        row |= {"accuracy/quiz": i / 11, "items/quiz": 100, "tokens": 1000}
        row |= {f"available/{name}": 500 for name in DOMAINS}
    return read_runs(write(tmp_path / "a.csv", cells))


@pytest.fixture
def search(store: Store) -> Search:
    """A search that a file has begun, with one trial of its own."""
    config = {
        "name": "own",
        "domains": [{"name": name} for name in (*DOMAINS, "law")],
        "objective": {"kind": "mean", "weights": {"prose": 1.0}},
        "ladder": [{"name": "small", "tokens": 1000}],
        "target": {"parameters": 10, "tokens": 4000},
        "simulated": {"sets": ["prose"]},
        "budget_flops": 100.0,
    }
    domains = dict.fromkeys((*DOMAINS, "law"), 800)
    made = store.create_search(
        name="own", seed=0, config=config, config_hash="h", corpus={"digest": "d"}, domains=domains
    )
    trial = NewTrial(
        purpose="search",
        fidelity="small",
        seed=3,
        part="search",
        recipe=[(1.0, {"web": 1.0})],
        weights={"web": 1.0},
        run_hash="f" * 64,
        content={"rung": "small", "tokens": 900, "proxy": PROXY},
        charged_flops=7.0,
    )
    number = store.add_trials(made.id, [trial])[0].id
    store.start(number, worker="w")
    store.complete(number, losses={"prose": 3.25}, curve=(), epochs={}, spent_flops=7.0, elapsed_s=1.0)
    return made


def test_an_imported_table_comes_out_as_it_went_in(store: Store, table: RunsTable) -> None:
    came = import_runs(store, table, name="new")
    assert (came.runs, came.added) == (12, 12)
    assert runs_of(store, find(store, "new")) == table


def test_costs_are_charged_as_stated_and_epochs_are_tokens_over_those_there_are(store: Store, table: RunsTable) -> None:
    import_runs(store, table, name="new")
    trials = store.trials(find(store, "new").id)
    assert {t.state for t in trials} == {"completed"}
    assert {t.purpose for t in trials} == {"imported"}
    assert sum(t.charged_flops for t in trials) == pytest.approx(6 * 1.0 + 6 * 20.0)
    details = store.details(find(store, "new").id)
    assert all(details[t.number].epochs["web"] == pytest.approx(2.0 * t.weights["web"]) for t in trials)


def test_importing_again_adds_nothing_whatever_the_order_of_the_rows(store: Store, table: RunsTable) -> None:
    import_runs(store, table, name="new")
    before = store.trials(find(store, "new").id)
    mixed = replace(table, runs=table.runs[::-1])
    assert import_runs(store, mixed, name="new").added == 0
    assert store.trials(find(store, "new").id) == before


def test_a_longer_table_adds_what_is_new(store: Store, table: RunsTable) -> None:
    import_runs(store, replace(table, runs=table.runs[:6]), name="new")
    assert import_runs(store, table, name="new").added == 6
    found = report(store, "new")
    assert found.budget_flops == pytest.approx(found.charged_flops)
    assert [rung.name for rung in found.rungs] == ["small", "large"]


def test_an_id_with_other_contents_is_refused_and_adds_nothing(store: Store, table: RunsTable) -> None:
    import_runs(store, table, name="new")
    changed = replace(table.runs[2], losses={"prose": 1.0, "python": 1.0})
    other = replace(table.runs[1], run_id="fresh")
    with pytest.raises(TableError, match="small-2"):
        import_runs(store, RunsTable.of([other, changed]), name="new")
    assert len(store.trials(find(store, "new").id)) == 12


def test_the_report_of_an_imported_search_has_the_best_run(store: Store, table: RunsTable) -> None:
    import_runs(store, table, name="new")
    truth = table.truth(table.mean())[table.rows("large")]
    rung = report(store, "new").rungs[-1]
    assert (rung.name, rung.best) == ("large", pytest.approx(truth.min()))


def test_runs_join_the_trials_of_a_search_with_zero_for_domains_of_its_own(
    store: Store, search: Search, table: RunsTable
) -> None:
    came = import_runs(store, table, name="own")
    assert came.added == 12
    assert any("'large'" in warning for warning in came.warnings)
    trials = store.trials(search.id)
    assert [t.number for t in trials] == list(range(13))
    assert all(t.weights["law"] == 0.0 for t in trials if t.purpose == "imported")


def test_a_run_without_what_the_search_minimizes_is_left_out_and_said(
    store: Store, search: Search, table: RunsTable
) -> None:
    lacking = replace(table.runs[0], losses={"python": 2.5})
    came = import_runs(store, RunsTable.of([lacking, *table.runs[1:]]), name="own")
    assert came.added == 11
    assert any("left out" in warning and "prose" in warning for warning in came.warnings)


def test_runs_of_a_proof_do_not_come_into_a_search_that_goes_on(store: Store, search: Search, table: RunsTable) -> None:
    runs = [replace(table.runs[0], split="proof"), *table.runs[1:]]
    came = import_runs(store, RunsTable.of(runs), name="own")
    assert came.added == 11
    assert any("proof" in warning for warning in came.warnings)
    assert import_runs(store, RunsTable.of(runs), name="copy").added == 12


def test_domains_that_the_search_does_not_have_are_refused(store: Store, search: Search, tmp_path: Path) -> None:
    cells = [row | {"weight/songs": 0} for row in rows()]
    with pytest.raises(SearchError, match=r"songs.*'own'"):
        import_runs(store, read_runs(write(tmp_path / "b.csv", cells)), name="own")
    assert len(store.trials(search.id)) == 1


def test_own_trials_go_out_with_their_flops_and_come_back_as_nothing_new(store: Store, search: Search) -> None:
    table = runs_of(store, search)
    run = table.runs[0]
    assert (run.cost, run.seed, run.tokens, run.losses) == (7.0, 3, 900, {"prose": 3.25})
    assert run.parameters == ProxyConfig.from_plain(PROXY).active_parameters(256)
    assert run.available["web"] == 200  # the rung has a quarter of the target's tokens, so of the text
    assert np.isclose(run.mixture["web"], 1.0)
    assert import_runs(store, table, name="own").added == 0
    assert import_runs(store, table, name="elsewhere").added == 1


def test_a_search_that_is_driven_is_not_written_to(store: Store, search: Search, table: RunsTable) -> None:
    store.acquire_lease(search.id, owner="driver", host="elsewhere", pid=1, ttl_s=60.0)
    with pytest.raises(LeaseHeld):
        import_runs(store, table, name="own")
    assert len(store.trials(search.id)) == 1
