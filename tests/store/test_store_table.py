from collections.abc import Callable

from store import DomainChange, Result, Search, Store, Table
from tests.store.store_cases import completed, new_trial

RESULT = Result(
    losses={}, accuracies={"quiz": 0.75}, items={"quiz": 4}, curve=(), epochs={}, spent_flops=1.0, elapsed_s=0.0
)


def steps(store: Store, search: Search) -> list[Callable[[], object]]:
    """What may happen to trials of a search, one thing after another."""

    def number(n: int) -> int:
        return store.trial(search.id, n).id

    without_code = DomainChange(parts={"code": {}}, revised={}, domains={"web": 1_000, "math": 30}, corpus={})
    return [
        lambda: store.add_trials(search.id, [new_trial(name) for name in "abcd"]),
        lambda: completed(store, store.trial(search.id, 0)),
        lambda: store.start(number(1), worker="w0"),
        lambda: None,
        lambda: store.requeue(search.id),
        lambda: store.start(number(1), worker="w0"),
        lambda: store.fail(number(1), state="failed", error="out of memory", elapsed_s=2.0),
        lambda: store.add_finished(search.id, [(new_trial("e"), RESULT)]),
        lambda: store.retract(number(0), reason="wrong"),
        lambda: store.retract(number(4), reason="wrong"),
        lambda: completed(store, store.trial(search.id, 2)),
        lambda: store.change_domains(search.id, without_code, config={}, config_hash="h1", note="code is removed"),
        lambda: store.fail(number(3), state="cancelled", error="stopped"),
    ]


def test_a_table_brought_up_to_date_is_that_of_all_trials_read_again(store: Store, search: Search) -> None:
    found: Table | None = None
    for step in steps(store, search):
        step()
        found = store.table(search.id, predicted="objective", before=found)
        assert found == store.table(search.id, predicted="objective")
    assert found is not None
    assert [line.state for line in found.outlines] == ["retracted", "outdated", "outdated", "cancelled", "retracted"]


def test_only_what_has_changed_is_read_again(store: Store, search: Search) -> None:
    trials = store.add_trials(search.id, [new_trial(f"r{n}") for n in range(60)])
    before = store.table(search.id, predicted="objective")
    assert store.table(search.id, predicted="objective", before=before) is before
    completed(store, trials[7])
    after = store.table(search.id, predicted="objective", before=before)
    assert after.measured.losses == {"prose": {7: 1.25}, "python": {7: 0.625}}
    assert [new for new, old in zip(after.outlines, before.outlines, strict=True) if new is not old] == [
        after.outlines[7]
    ]


def test_a_table_of_another_store_or_prediction_is_no_beginning(store: Store, search: Search) -> None:
    store.add_trials(search.id, [new_trial()])
    whole = store.table(search.id, predicted="objective")
    assert whole.predicted == {0: (1.5, 0.1)}
    assert store.table(search.id, predicted="prose", before=whole).predicted == {}
    later = Table(**{**vars(whole), "mark": whole.mark + 5, "outlines": ()})
    assert store.table(search.id, predicted="objective", before=later) == whole
