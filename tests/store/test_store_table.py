from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isnan

import pytest

from store import DomainChange, Result, Search, Store, Table, Trial, check, pages
from store.blocks import read_rows
from store.schema import PageRow, TrialRow
from tests.store.store_cases import completed, new_trial

QUIZ = Result(
    losses={"prose": 0.1 + 0.2},
    accuracies={"quiz": 0.75},
    items={"quiz": 4},
    curve=(),
    epochs={},
    spent_flops=1.0,
    elapsed_s=1.0 / 3.0,
)
NO_CODE = DomainChange(parts={"code": {}}, revised={}, domains={"web": 1_000, "math": 30}, corpus={})
NEW_WEB = DomainChange(parts={}, revised={"web": 0.3}, domains={"web": 1_000, "math": 30}, corpus={})
ALL_WEB = replace(new_trial("f", seed=2**62), recipe=[(1.0, {"web": 1.0})], weights={"web": 1.0})


def steps(store: Store, search: Search) -> list[Callable[[], object]]:
    """What may happen to trials of a search, one thing after another, until all have ended."""

    def number(n: int) -> int:
        return store.trial(search.id, n).id

    return [
        lambda: store.add_trials(search.id, [new_trial(name) for name in "abcd"]),
        lambda: completed(store, store.trial(search.id, 0)),
        lambda: store.start(number(1), worker="w0"),
        lambda: store.requeue(search.id),
        lambda: store.start(number(1), worker="w0"),
        lambda: store.fail(number(1), state="diverged", error="out of hand", elapsed_s=2.0),
        lambda: store.add_finished(search.id, [(new_trial("e"), QUIZ)]),
        lambda: store.retract(number(0), reason="wrong"),
        lambda: completed(store, store.trial(search.id, 2)),
        lambda: store.change_domains(search.id, NO_CODE, config={}, config_hash="h1", note="code is removed"),
        lambda: store.add_finished(search.id, [(ALL_WEB, QUIZ)]),
        lambda: store.change_domains(search.id, NEW_WEB, config={}, config_hash="h2", note="web is another"),
        lambda: store.fail(number(3), state="cancelled", error="stopped"),
        lambda: store.retract(number(4), reason="wrong as well"),
    ]


def rows_alone(store: Store, search: Search) -> list[Trial]:
    """All trials of a search, one by one: no page is read for these."""
    return [store.trial(search.id, n) for n in range(len(store.trials(search.id)))]


def row(columns: Mapping[str, Sequence[float]], place: int) -> dict[str, float]:
    """What columns say of one trial."""
    return {name: column[place] for name, column in columns.items() if not isnan(column[place])}


def agrees(table: Table, store: Store, trial: Trial) -> bool:
    """Say whether a table says of a trial what is recorded of it."""
    n, detail = trial.number, store.detail(trial.search_id, trial.number)
    plain = (table.purposes, table.fidelities, table.parts, table.seeds, table.states, table.reasons, table.errors)
    told = (trial.purpose, trial.fidelity, trial.part, trial.seed, trial.state, trial.reason, trial.error)
    return (
        tuple(column[n] for column in plain) == told
        and (table.started_at[n], table.finished_at[n]) == (detail.started_at, detail.finished_at)
        and (table.charged_flops[n], table.stale[n]) == (trial.charged_flops, trial.stale)
        and (None if isnan(table.elapsed_s[n]) else table.elapsed_s[n]) == trial.elapsed_s
        and (row(table.losses, n), row(table.accuracies, n)) == (trial.losses, trial.accuracies)
        and row(table.weights, n) == {name: trial.weights[name] for name in trial.weights if name in table.weights}
        and {"mean": table.predicted_means[n], "sd": table.predicted_sds[n]} == detail.predicted["objective"]
    )


@pytest.mark.parametrize("size", [1, 2, 1_000])
def test_pages_say_what_the_rows_of_trials_say(
    store: Store, search: Search, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "TRIALS", size)
    for step in steps(store, search):
        step()
        found = store.trials(search.id)
        assert found == rows_alone(store, search) == list(store.changes(search.id, since=0).trials)
        table = store.table(search.id, predicted="objective")
        assert list(table.numbers) == [trial.number for trial in found]
        assert all(agrees(table, store, trial) for trial in found)
    assert [trial.state for trial in found] == [
        "retracted",
        "outdated",
        "outdated",
        "cancelled",
        "retracted",
        "completed",
    ]
    with store._connections.read() as session:
        assert len(list(pages.read(session, search.id))) == {1: 7, 2: 4, 1_000: 1}[size]  # the last one is of rows


def test_a_table_is_read_again_only_where_something_changed(store: Store, search: Search) -> None:
    trials = store.add_trials(search.id, [new_trial(name) for name in "ab"])
    before = store.table(search.id, predicted="objective")
    assert store.table(search.id, predicted="objective", before=before) is before
    assert all(map(isnan, store.table(search.id, predicted="prose", before=before).predicted_means))
    completed(store, trials[1])
    after = store.table(search.id, predicted="objective", before=before)
    assert (after.states, row(after.losses, 1)) == (["queued", "completed"], {"prose": 1.25, "python": 0.625})


def test_trials_that_end_one_by_one_leave_whole_pages_and_no_other(
    store: Store, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "TRIALS", 2)
    trials = store.add_trials(search.id, [new_trial(name) for name in "abcdef"])

    def sizes() -> list[int]:
        with store._connections.read() as session:
            return [len(block) for block in pages.read(session, search.id)]

    for number, expected in ((3, [6]), (1, [6]), (2, [2, 2, 2]), (0, [2, 2, 2]), (5, [2, 2, 2]), (4, [2, 2, 2, 0])):
        completed(store, trials[number])
        assert sizes() == expected
    assert store.trials(search.id) == rows_alone(store, search)


def test_a_page_that_says_something_else_than_its_trials_is_found(
    store: Store, search: Search, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "TRIALS", 2)
    for trial in store.add_trials(search.id, [new_trial(name) for name in "ab"]):
        completed(store, trial)
    assert check(location) == []
    monkeypatch.setattr(pages, "TRIALS", 3)  # so that the next two are in no page yet
    added = store.add_trials(search.id, [new_trial("c"), new_trial("d")])
    others = [completed(store, trial, loss=2.0).id for trial in added]
    with store._connections.write() as session:
        block = read_rows(session, TrialRow.id.in_(others))
        session.add(PageRow(search_id=search.id, first=2, last=3, **pages.packed(replace(block, losses={}))))
    assert check(location) == ["a page of search 1 does not say what trials 2 to 3 say; tell us"]
