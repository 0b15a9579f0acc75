import math

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from store import InvalidRecord, NewTrial, Search, Store
from store.plain import Numbers, plain, to_ranges
from store.schema import MeasurementRow
from tests.store.store_cases import completed, new_trial

NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_loss_that_is_not_finite_is_refused_and_the_trial_still_runs(
    store: Store, search: Search, value: float
) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.start(trial.id, worker="w0")
    with pytest.raises(InvalidRecord, match="the loss on 'prose' is"):
        store.complete(trial.id, losses={"prose": value}, curve=[], epochs={}, spent_flops=1.0, elapsed_s=1.0)
    assert store.trial(search.id, 0).state == "running"


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_curve_may_hold_a_loss_that_is_not_finite(store: Store, search: Search, value: float) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.start(trial.id, worker="w0")
    store.complete(
        trial.id, losses={"p": 1.0}, curve=[(20, value), (10, 2.5)], epochs={}, spent_flops=1.0, elapsed_s=1.0
    )
    first, second = store.curve("r0")
    assert first == (10, 2.5)
    assert second.tokens == 20
    assert math.isnan(second.loss)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_the_database_itself_refuses_a_measurement_that_is_not_finite(
    store: Store, search: Search, value: float
) -> None:
    completed(store, store.add_trials(search.id, [new_trial()])[0])
    row = {"run_id": 1, "part": "proof", "evaluation_set": "prose", "kind": "loss", "value": value}
    with pytest.raises(IntegrityError), store._connections.write() as session:
        session.execute(insert(MeasurementRow), [row])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trials SET state = 'lost'",
        "UPDATE trials SET state = 'queued'",
        "UPDATE trials SET number = 0",
        "UPDATE trials SET charged_flops = -1",
        "UPDATE trial_weights SET weight = 1.5",
        "UPDATE runs SET run_hash = 'a'",
        "UPDATE trials SET run_id = 77",
        "DELETE FROM searches",
        "UPDATE attempts SET state = 'running'",
        "UPDATE measurements SET kind = 'accuracy', value = 1.5",
        "UPDATE measurements SET items = 3",
    ],
)
def test_the_database_itself_keeps_the_invariants(store: Store, search: Search, statement: str) -> None:
    for trial in store.add_trials(search.id, [new_trial("a"), new_trial("b")]):
        completed(store, trial)
    with pytest.raises(IntegrityError), store._connections.write() as session:
        session.connection().exec_driver_sql(statement)


def test_json_holds_no_nan_and_says_where_it_was(store: Store, search: Search) -> None:
    with pytest.raises(InvalidRecord, match=r"payload\.theta\[1\] is nan"):
        store.add_fit(search.id, seen=[], payload={"theta": [0.0, math.nan]})
    with pytest.raises(InvalidRecord, match=r"payload\.model is a set, which cannot be stored"):
        store.add_recommendation(search.id, payload={"model": {1}})
    assert store.fits(search.id) == []


def test_plain_values_are_copies_of_mappings_and_sequences() -> None:
    assert plain({"a": (1, 2.5, None, True), "b": {"c": "d"}}, what="x") == {"a": [1, 2.5, None, True], "b": {"c": "d"}}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights", {"web": 1.5}, "the weight of 'web' is 1.5"),
        ("weights", {"web": math.nan}, "the weight of 'web' is nan"),
        ("charged_flops", -1.0, "charged_flops is -1.0"),
        ("recipe", [], "the recipe of a trial is empty"),
        ("run_hash", "", "run_hash is empty"),
        ("seed", 2**63, "seed is"),
        ("predicted", {"objective": {"mean": 1.0}}, "the prediction of 'objective' has"),
        ("predicted", {"objective": {"mean": math.nan, "sd": 1.0}}, "the predicted mean of 'objective' is nan"),
    ],
)
def test_a_new_trial_cannot_be_wrong(field: str, value: object, message: str) -> None:
    with pytest.raises(InvalidRecord, match=message):
        NewTrial(**{**vars(new_trial()), field: value})


def test_a_run_hash_names_one_content(store: Store, search: Search) -> None:
    store.add_trials(search.id, [new_trial("a")])
    with pytest.raises(InvalidRecord, match=r"run 'a' is in the store with other \['tokens'\]"):
        store.add_trials(search.id, [NewTrial(**{**vars(new_trial("a")), "content": {"run": "a", "tokens": 5}})])


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2), "0-2"), ((0, 1, 4, 6, 7), "0-1,4,6-7")]
)
def test_ranges_round_trip(numbers: tuple[int, ...], text: str) -> None:
    assert to_ranges(numbers) == text
    found = Numbers(text)
    assert found == numbers == tuple(found)
    assert len(found) == len(numbers)
    assert [n for n in range(10) if n in found] == list(numbers)


def test_a_throughput_is_of_a_device_and_of_what_it_trained_and_the_last_one_counts(store: Store) -> None:
    assert store.throughput(device="d", identity="i") is None
    for value in (1e12, 2e12):
        store.add_throughput(device="d", identity="i", flops_per_s=value)
    assert store.throughput(device="d", identity="i") == 2e12
    assert store.throughput(device="e", identity="i") is None
