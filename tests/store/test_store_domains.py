"""Domains that change: what was measured before stays what it was, and reads as of the domains as they are now."""

from collections.abc import Mapping
from math import isnan

import pytest

from store import DomainChange, InvalidRecord, Revision, Search, Store, check, copy
from tests.store.store_cases import completed, new_trial

NOW = {"web": 1_000, "code": 200, "math": 30}


def change(
    store: Store,
    search: Search,
    domains: Mapping[str, int],
    *,
    parts: Mapping[str, Mapping[str, float]] | None = None,
    revised: Mapping[str, float] | None = None,
    config_hash: str = "h1",
) -> Revision:
    found = DomainChange(parts=parts or {}, revised=revised or {}, domains=domains, corpus={"digest": config_hash})
    return store.change_domains(
        search.id, found, config={"domains": list(domains)}, config_hash=config_hash, note=f"a change to {config_hash}"
    )


@pytest.fixture
def seen(store: Store, search: Search) -> Search:
    """A search with a completed trial of half web and half code."""
    completed(store, store.add_trials(search.id, [new_trial()])[0])
    return search


def test_an_added_domain_had_no_weight(store: Store, seen: Search) -> None:
    before, detail = store.trial(seen.id, 0), store.detail(seen.id, 0)
    revision = change(store, seen, NOW | {"books": 7})
    after = store.trial(seen.id, 0)
    assert after.weights == {"web": 0.5, "code": 0.5, "math": 0.0, "books": 0.0}
    assert (after.state, after.losses, after.stale) == ("completed", before.losses, 0.0)
    assert list(store.table(seen.id, predicted="objective").stale) == [0.0]
    assert store.detail(seen.id, 0) == detail
    found = store.search(seen.id)
    assert list(found.domains.items()) == [*NOW.items(), ("books", 7)]
    assert (found.corpus, found.config_hash, revision.number) == ({"digest": "h1"}, "h1", 1)
    [late] = store.add_trials(seen.id, [new_trial("r1")])
    assert late.weights["web"] == 0.5


def test_a_renamed_domain_keeps_weights_and_passes_under_its_new_name(store: Store, seen: Search) -> None:
    change(store, seen, {"crawl": 1_000, "code": 200, "math": 30}, parts={"web": {"crawl": 1.0}})
    found = store.trial(seen.id, 0)
    assert found.weights == {"crawl": 0.5, "code": 0.5, "math": 0.0}
    assert store.detail(seen.id, 0).epochs == {"crawl": 0.5, "code": 2.5}
    assert found.recipe == ((1.0, {"web": 0.5, "code": 0.5}),)  # what was trained stays as it was called
    with pytest.raises(InvalidRecord, match="unknown domains"):
        store.add_trials(seen.id, [new_trial("r1")])


def test_the_weight_of_a_split_domain_falls_to_its_parts_by_their_tokens(store: Store, seen: Search) -> None:
    shares = {"web-en": 0.75, "web-de": 0.25}
    change(store, seen, {"web-en": 750, "web-de": 250, "code": 200, "math": 30}, parts={"web": shares})
    found = store.trial(seen.id, 0)
    assert found.weights == {"web-en": 0.375, "web-de": 0.125, "code": 0.5, "math": 0.0}
    assert (found.stale, found.state) == (0.0, "completed")
    assert store.detail(seen.id, 0).epochs == {"web-en": 0.5, "web-de": 0.5, "code": 2.5}


def test_trials_without_weight_on_a_removed_domain_remain_and_others_read_as_outdated(
    store: Store, seen: Search
) -> None:
    completed(store, store.add_trials(seen.id, [new_trial("r1")])[0])
    change(store, seen, {"web": 1_000, "code": 200}, parts={"math": {}})
    assert store.trial(seen.id, 0).weights == {"web": 0.5, "code": 0.5}
    change(store, seen, {"web": 1_000}, parts={"code": {}}, config_hash="h2")
    [first, _] = store.trials(seen.id, states=["outdated"])
    assert first == store.trial(seen.id, 0)
    assert (first.state, first.losses, first.charged_flops) == ("outdated", {}, 10.0)
    assert store.detail(seen.id, 0).epochs == {}
    assert first.error == "outdated: a change to h2"
    assert first.weights == {"web": 0.5, "code (removed)": 0.5}
    assert store.trials(seen.id, states=["completed"]) == []
    assert [(each.state, each.trials) for each in store.tallies(seen.id)] == [("outdated", 2)]
    table = store.table(seen.id, predicted="objective")
    assert (table.states, table.errors) == (["outdated"] * 2, ["outdated: a change to h2"] * 2)
    assert all(isnan(loss) for column in table.losses.values() for loss in column)


def test_a_revised_domain_makes_its_share_stale(store: Store, seen: Search) -> None:
    change(store, seen, NOW, revised={"web": 0.4})
    found = store.trial(seen.id, 0)
    assert found.stale == pytest.approx(0.2)
    assert list(store.table(seen.id, predicted="objective").stale) == [found.stale]
    assert found.weights == {"web": 0.5, "code": 0.5, "math": 0.0}
    assert store.detail(seen.id, 0).epochs == {"code": 2.5}
    change(store, seen, NOW, revised={"web": 0.5, "math": 1.0}, config_hash="h2")
    assert store.trial(seen.id, 0).stale == pytest.approx(0.5 * (1.0 - 0.6 * 0.5))
    fresh = completed(store, store.add_trials(seen.id, [new_trial("r1")])[0])
    assert fresh.stale == 0.0


def test_changes_follow_one_another_and_names_come_back(store: Store, seen: Search) -> None:
    change(store, seen, {"crawl": 1_000, "code": 200, "math": 30}, parts={"web": {"crawl": 1.0}})
    change(store, seen, {"web": 5, "crawl": 1_000, "code": 200, "math": 30}, config_hash="h2")
    [second] = store.add_trials(seen.id, [new_trial("r1")])  # half of it is of the new web
    parts = {"crawl": {"old": 0.5, "web": 0.5}}
    change(store, seen, {"web": 505, "old": 500, "code": 200, "math": 30}, parts=parts, config_hash="h3")
    assert store.trial(seen.id, 0).weights == {"web": 0.25, "old": 0.25, "code": 0.5, "math": 0.0}
    assert store.trial(seen.id, second.number).weights == {"web": 0.5, "old": 0.0, "code": 0.5, "math": 0.0}
    weights = store.table(seen.id, predicted="objective").weights
    assert list(weights) == ["web", "old", "code", "math"]
    assert list(zip(*weights.values(), strict=True)) == [(0.25, 0.25, 0.5, 0.0), (0.5, 0.0, 0.5, 0.0)]
    assert [each.number for each in store.revisions(seen.id)] == [0, 1, 2, 3]


def test_nothing_that_was_written_is_written_again(store: Store, seen: Search, location: str) -> None:
    from sqlalchemy import create_engine, text

    def dump() -> list[object]:
        engine = create_engine(location if "://" in location else f"sqlite:///{location}")
        tables = ("trial_weights", "runs", "measurements", "domains", "attempts", "revisions")
        with engine.connect() as connection:
            found = [connection.execute(text(f"SELECT * FROM {name}")).all() for name in tables]
            trial = "SELECT id, number, recipe, state, charged_flops, seen, finished_at FROM trials"
            found.append(connection.execute(text(trial)).all())
        engine.dispose()
        return [str(row) for rows in found for row in rows]

    before = dump()
    change(store, seen, {"crawl": 1_000, "math": 30}, parts={"web": {"crawl": 1.0}, "code": {}})
    assert set(before) <= set(dump())


def test_what_was_recommended_for_other_domains_stands_no_longer(store: Store, seen: Search) -> None:
    store.add_fit(seen.id, seen=[0], payload={"a": 1})
    store.add_recommendation(seen.id, payload={"mixture": {"web": 1.0}})
    change(store, seen, NOW | {"books": 7})
    assert store.recommendation(seen.id) is None
    assert store.latest_fit(seen.id) is None
    assert store.recommendations() == {}
    store.add_recommendation(seen.id, payload={"mixture": {"books": 1.0}})
    assert store.recommendations() == {seen.id: {"mixture": {"books": 1.0}}}


def test_a_trial_in_training_outside_ends_as_what_it_was_begun_as(store: Store, seen: Search) -> None:
    [trial] = store.add_trials(seen.id, [new_trial("r1")])
    store.start(trial.id, worker="outside:me")
    change(store, seen, {"crawl": 1_000, "math": 30}, parts={"web": {"crawl": 1.0}, "code": {}})
    assert store.trial(seen.id, 1).state == "running"
    done = store.complete(trial.id, losses={"prose": 1.0}, curve=(), epochs={}, spent_flops=1.0, elapsed_s=1.0)
    assert done.state == "outdated"


def test_a_watcher_hears_of_every_trial_again(store: Store, seen: Search) -> None:
    mark = store.changes(seen.id, since=0).mark
    change(store, seen, NOW | {"books": 7})
    assert [trial.number for trial in store.changes(seen.id, since=mark).trials] == [0]


@pytest.mark.parametrize(
    ("domains", "parts", "revised", "words"),
    [
        ({}, {}, {}, "keep one"),
        ({"web": 1, "code": 1}, {}, {}, "nobody says what became of .'math'."),
        (NOW, {"poems": {}}, {}, "'poems'. are no domains"),
        ({"a": 1, "code": 2, "math": 3}, {"web": {"b": 1.0}}, {}, "became .'b'., which are no domains"),
        ({"a": 1, "code": 2, "math": 3}, {"web": {"a": 0.9}}, {}, "sum to 0.9"),
        (NOW, {}, {"web": 0.0}, "a fraction above 0"),
        (NOW, {}, {"poems": 1.0}, "a fraction above 0"),
        (NOW, {}, {"web": 1.5}, "a fraction from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    store: Store,
    seen: Search,
    domains: dict[str, int],
    parts: dict[str, dict[str, float]],
    revised: dict[str, float],
    words: str,
) -> None:
    before = store.search(seen.id)
    with pytest.raises(InvalidRecord, match=words):
        change(store, seen, domains, parts=parts, revised=revised)
    assert store.search(seen.id) == before
    assert len(store.revisions(seen.id)) == 1


def test_a_copy_reads_as_the_store_that_it_is_of(store: Store, seen: Search, location: str, tmp_path: object) -> None:
    change(store, seen, {"crawl": 1_000, "math": 30}, parts={"web": {"crawl": 1.0}, "code": {}})
    place = f"{tmp_path}/copy.db"
    copy(location, place)
    assert check(place) == []
    with Store(place) as other:
        assert other.trials(seen.id) == store.trials(seen.id)
        assert other.search(seen.id) == store.search(seen.id)
