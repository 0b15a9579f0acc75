import pytest

from store import Artifact, InvalidRecord, NotInStore, Search, SearchExists, Store
from tests.store.store_cases import completed, new_search, new_trial


def test_a_search_comes_back_as_it_was_made(store: Store, search: Search) -> None:
    assert store.find_search("s") == search == store.search(search.id)
    assert store.find_search("t") is None
    assert list(search.domains.items()) == [("web", 1_000), ("code", 200), ("math", 30)]
    assert (search.state, search.seed, search.config["budget_flops"]) == ("running", 3, 1e15)


def test_a_name_is_given_once(store: Store, search: Search) -> None:
    with pytest.raises(SearchExists, match="'s' is already in the store; run it again to resume it"):
        new_search(store, "s")
    assert [s.name for s in store.searches()] == ["s"]


def test_a_revision_replaces_the_configuration_and_keeps_the_old_one(store: Store, search: Search) -> None:
    revision = store.revise_search(search.id, config={"budget_flops": 2e15}, config_hash="h1", note="more budget")
    assert revision.number == 1
    assert store.search(search.id).config == {"budget_flops": 2e15}
    assert [(r.number, r.config_hash, r.note) for r in store.revisions(search.id)] == [
        (0, "h0", "created"),
        (1, "h1", "more budget"),
    ]
    assert store.revise_search(search.id, config={"budget_flops": 2e15}, config_hash="h1", note="same") == revision


def test_states_of_a_search(store: Store, search: Search) -> None:
    store.set_state(search.id, "finished")
    assert store.search(search.id).state == "finished"
    with pytest.raises(InvalidRecord, match="known: \\['running', 'finished', 'stopped', 'failed'\\]"):
        store.set_state(search.id, "paused")
    with pytest.raises(NotInStore):
        store.set_state(9, "finished")


def test_fits_keep_what_they_had_seen(store: Store, search: Search) -> None:
    assert store.latest_fit(search.id) is None
    store.add_fit(search.id, seen=[0, 1], payload={"theta": [0.1, 1e-300]})
    last = store.add_fit(search.id, seen=[0, 1, 2, 4, 9], payload={"theta": []})
    assert [f.seen for f in store.fits(search.id)] == [(0, 1), (0, 1, 2, 4, 9)]
    assert store.fits(search.id)[0].payload == {"theta": [0.1, 1e-300]}
    assert store.latest_fit(search.id) == last


def test_the_last_recommendation_stands(store: Store, search: Search) -> None:
    assert store.recommendation(search.id) is None
    for weight in (0.25, 0.75):
        store.add_recommendation(search.id, payload={"mixture": {"web": weight, "code": 1 - weight}})
    found = store.recommendation(search.id)
    assert found is not None
    assert found.payload == {"mixture": {"web": 0.75, "code": 0.25}}


def test_artifacts_belong_to_the_run(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    gold = Artifact(name="gold/prose", path="/somewhere/prose.npy", sha256="ab" * 32, bytes=2**40)
    store.start(trial.id, worker="w0")
    store.complete(trial.id, losses={"p": 1.0}, curve=[], epochs={}, spent_flops=1.0, elapsed_s=1.0, artifacts=[gold])
    assert store.artifacts("r0") == [gold]
    assert store.artifacts("none") == []


def test_messages_stay_until_they_are_drained_and_keep_their_order(store: Store, search: Search) -> None:
    for number in range(3):
        store.post(search.id, "wish", {"number": number})
    messages = store.messages(search.id)
    assert [m.payload["number"] for m in messages] == [0, 1, 2]
    store.mark_drained(messages[1].id)
    assert [m.payload["number"] for m in store.messages(search.id)] == [0, 2]


def test_a_change_of_a_search_shows_in_updated_at(store: Store, search: Search) -> None:
    completed(store, store.add_trials(search.id, [new_trial()])[0])
    assert store.search(search.id).updated_at > search.updated_at
    assert store.search(search.id).created_at == search.created_at


def test_the_last_recommendation_of_every_search_is_read_at_once(store: Store) -> None:
    first, second, _ = (new_search(store, name) for name in "abc")
    for payload in ({"mixture": 1}, {"mixture": 2}):
        store.add_recommendation(first.id, payload=payload)
    store.add_recommendation(second.id, payload={"mixture": 3})
    assert store.recommendations() == {first.id: {"mixture": 2}, second.id: {"mixture": 3}}
