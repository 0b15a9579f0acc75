"""Domains that change while a search goes on: what was seen stays usable, and the driver goes on from it."""

from pathlib import Path

import pytest

from dashboard import progress
from dashboard.frames import search_frames
from mixopt.config import SearchConfig, load
from mixopt.errors import DomainsChanged, MixoptError
from mixopt.search.asking import ask, tell
from mixopt.search.domain_edits import Edit, edit_of
from mixopt.search.domains import Plan, carry_out, is_recorded, plan
from mixopt.search.launch import driving, find_or_create, start_workers
from mixopt.search.ledger import STALE_LIMIT, read_history
from mixopt.search.report import report
from mixopt.search.revising import REVISE, standing
from mixopt.search.snapshot import best_of
from mixopt.search.trial_report import plain_trials
from mixopt.search.wishes import wish
from mixopt.text import Folders
from store import Search, Store
from tests.mixopt.search.small_search import changed, setting_of


def changed_of(store: Store, **sections: object) -> SearchConfig:
    """The only search as it stands, with other sections."""
    return SearchConfig.from_plain(dict(store.searches()[0].config) | sections)


def begun(store: Store, config: SearchConfig, *, trials: int = 5) -> Search:
    """Return a search of which some trials were told."""
    search = find_or_create(store, setting_of(config))
    for trial in ask(store, search.name, n=trials):
        losses = dict.fromkeys(("web", "code"), 1.0 + 0.1 * trial.weights["web"])
        tell(store, search.name, [{"trial": trial.number, "losses": losses}])
    return search


def planned(store: Store, *words: str, tokens: tuple[str, ...] = (), **more: object) -> Plan:
    edit = edit_of(words[0], words[1:], tokens=tokens, sources=(), **more)  # type: ignore[arg-type]
    return plan(store, store.searches()[0], edit, Folders.beside("mixopt.db"), report=lambda _: None)


def drive(store: Store, config: SearchConfig) -> list[str]:
    """Run the search to its end, as its file has it, and return what was said."""
    taken, said = standing(store, config)
    with driving(setting_of(taken), store=store, workers=start_workers(taken), elapsed_s=0.0) as driver:
        for snapshot in driver.drive():
            said += snapshot.news
    return said


def test_a_renamed_domain_is_searched_on_with_all_that_was_seen(store: Store) -> None:
    config = changed(constraints=["web >= 0.1", "2 * web + code <= 1.9"])
    search = begun(store, config)
    before = [(trial.number, dict(trial.weights)) for trial in store.trials(search.id)]
    done = carry_out(store, planned(store, "rename", "web", "crawl"))
    assert done.startswith("revision 1: web is called crawl; by ")
    after = store.trials(search.id)
    assert [(t.number, {"web": t.weights["crawl"]}) for t in after] == [(n, {"web": w["web"]}) for n, w in before]
    now, _ = standing(store, config)
    assert now.constraints == ("crawl >= 0.1", "2 * crawl + code <= 1.9")
    assert len(read_history(after, setting_of(now)).observations) == len(before)
    said = drive(store, config)
    assert "which goes on" in said[0]
    found = store.recommendation(search.id)
    assert found is not None
    assert set(found.payload["mixture"]) == {"crawl", "code", "books", "math"}
    assert all(trial.state == "completed" for trial in store.trials(search.id))


def test_trials_of_a_split_domain_count_for_its_parts_and_its_bounds_for_their_sum(store: Store) -> None:
    config = changed()
    search = begun(store, config)
    before = {trial.number: trial.weights["code"] for trial in store.trials(search.id)}
    found = planned(store, "split", "code", "rust", "python", tokens=("rust=5e10", "python=1e11"))
    assert found.change.parts == {"code": {"rust": pytest.approx(1 / 3), "python": pytest.approx(2 / 3)}}
    carry_out(store, found)
    now, _ = standing(store, config)
    assert now.constraints == ("(rust + python) <= 0.6",)  # max_weight of what they were
    assert [section.name for section in now.domains] == ["web", "rust", "python", "books", "math"]
    for trial in store.trials(search.id):
        parts = (trial.weights["rust"], trial.weights["python"])
        assert parts == pytest.approx((before[trial.number] / 3, before[trial.number] / 1.5))
    history = read_history(store.trials(search.id), setting_of(now))
    assert [sum(o.mixture.values()) for o in history.observations] == pytest.approx([1.0] * len(before))


def test_a_domain_is_added_and_another_removed_and_the_search_ends_with_what_is_there(store: Store) -> None:
    config = changed()
    search = begun(store, config)
    carry_out(store, planned(store, "add", "books2", tokens=("books2=3e9",)))
    assert all(trial.weights["books2"] == 0.0 for trial in store.trials(search.id))
    found = planned(store, "remove", "code")
    gone = [trial.number for trial in store.trials(search.id) if trial.weights["code"] > 0.0]
    assert gone
    assert sum(toll.unused for toll in found.tolls) == len(gone)
    carry_out(store, found)
    assert [t.number for t in store.trials(search.id) if t.state == "outdated"] == gone
    drive(store, config)
    shown = report(store, search.name)
    assert set(shown.domains) == {"web", "books", "math", "books2"}
    assert shown.recommendation is not None
    assert set(shown.recommendation["mixture"]) == set(shown.domains)  # type: ignore[call-overload]
    rows = plain_trials(store, store.searches()[0])
    assert [row["objective"] for row in rows if row["number"] in gone] == [None] * len(gone)
    assert [each.number for each in store.revisions(search.id)] == [0, 1, 2]


def test_what_was_seen_of_a_revised_text_is_stale_by_its_weight(store: Store) -> None:
    search = begun(store, changed())
    found = planned(store, "revise", "web", changed=0.5)
    assert found.change.revised == {"web": 0.5}
    best_before = {rung.name: rung.best for rung in report(store, search.name).rungs}
    carry_out(store, found)
    now, _ = standing(store, changed())
    assert now.domains[0].revision == 1
    assert None not in best_before.values()
    assert all(trial.weights["web"] > 0.0 for trial in store.trials(search.id))
    assert [rung.best for rung in report(store, search.name).rungs] == [None] * len(best_before)  # all is stale
    assert best_of(store.trials(search.id), setting_of(now)) is None
    table = store.table(search.id, predicted="objective")
    assert progress.best(search_frames(store.search(search.id), table, None)) is None
    trials = store.trials(search.id)
    assert [trial.stale for trial in trials] == pytest.approx([0.5 * trial.weights["web"] for trial in trials])
    observed = read_history(trials, setting_of(now)).observations
    assert [o.stale for o in observed] == [trial.stale for trial in trials if trial.stale <= STALE_LIMIT]
    assert 0 < len(observed) < len(trials)
    assert setting_of(now).text.digest != setting_of(changed()).text.digest  # so that no old run is taken for a new one
    assert planned(store, "revise", "web").config.domains[0].revision == 2


def test_experts_of_what_changed_are_proposed_with_their_cost_and_trained_before_anything_else(store: Store) -> None:
    config = changed(experts={"rung": "small"}, budget_flops=5e13)
    drive(store, config)
    search = store.searches()[0]
    [expert] = [t for t in store.trials(search.id) if t.purpose == "expert" and t.weights["web"] == 1.0]
    found = planned(store, "revise", "web")
    assert found.experts == {"web": pytest.approx(expert.charged_flops)}
    before = changed(experts={"rung": "small"}, budget_flops=sum(t.charged_flops for t in store.trials(search.id)))
    store.revise_search(search.id, config=before.resolved(), config_hash=before.digest(), note="less")
    with pytest.raises(MixoptError, match=r"data experts of web cost .* mixopt revise simulated --budget \+"):
        planned(store, "revise", "web")
    again = changed(experts={"rung": "small"}, budget_flops=8e13)
    store.revise_search(search.id, config=again.resolved(), config_hash=again.digest(), note="more")
    carry_out(store, planned(store, "revise", "web"))
    count = len(store.trials(search.id))
    drive(store, config)
    later = store.trials(search.id)[count:]
    assert (later[0].purpose, later[0].weights["web"], later[0].stale) == ("expert", 1.0, 0.0)
    assert not any(trial.purpose == "expert" for trial in later[1:])
    assert sum(trial.charged_flops for trial in store.trials(search.id)) <= 8e13


def test_what_waits_for_the_old_text_is_given_up_uncharged_and_said_before(store: Store) -> None:
    config = changed()
    with driving(setting_of(config), store=store, workers=start_workers(config), elapsed_s=0.0) as driver:
        for count, _ in enumerate(driver.drive()):
            if count == 1:
                break  # as if killed: running trials stay as they are
    search = store.searches()[0]
    waiting = [t.number for t in store.trials(search.id) if t.state in ("queued", "running")]
    assert waiting
    found = planned(store, "rename", "web", "crawl")
    assert list(found.given_up) == waiting
    carry_out(store, found)
    drive(store, config)
    assert all(store.trial(search.id, number).state == "cancelled" for number in waiting)
    assert all(store.trial(search.id, number).charged_flops == 0.0 for number in waiting)


def test_a_driver_gives_up_what_it_trains_and_leaves_for_one_of_the_new_domains(store: Store) -> None:
    config = changed()
    with driving(setting_of(config), store=store, workers=start_workers(config), elapsed_s=0.0) as driver:
        steps = driver.drive()
        next(steps)
        found = planned(store, "rename", "web", "crawl")
        assert "left in its inbox" in carry_out(store, found)
        assert not is_recorded(store, found)
        with pytest.raises(DomainsChanged, match="web is called crawl"):
            list(steps)
        driver.put_away()
    search = store.searches()[0]
    assert is_recorded(store, found)
    before = store.trials(search.id)
    assert {trial.state for trial in before} == {"completed", "queued"}
    assert store.messages(search.id) == []
    drive(store, config)
    waiting = [trial.number for trial in before if trial.state == "queued"]
    assert {store.trial(search.id, number).state for number in waiting} == {"cancelled"}
    later = store.trials(search.id)[len(before) :]
    assert later
    assert all(trial.state == "completed" and set(trial.recipe[0][1]) == set(trial.weights) for trial in later)


def test_a_change_worked_out_for_other_domains_is_refused_by_the_driver(store: Store) -> None:
    config = changed()
    said: list[str] = []
    with driving(setting_of(config), store=store, workers=start_workers(config), elapsed_s=0.0) as driver:
        for count, snapshot in enumerate(driver.drive()):
            said += snapshot.news
            if count == 1:
                found = planned(store, "rename", "web", "crawl")
                more = changed(budget_flops=3.1e13)
                wish(store, found.search, REVISE, {"config": more.resolved(), "base": config.digest(), "note": "more"})
                carry_out(store, found)
    assert any("could not be done: 'simulated' was revised by somebody else meanwhile" in line for line in said)
    assert "crawl" not in store.searches()[0].domains
    assert store.searches()[0].state == "finished"


def test_a_trial_that_others_train_ends_as_what_it_was(store: Store) -> None:
    search = begun(store, changed(), trials=2)
    [trial] = ask(store, search.name, n=1)
    carry_out(store, planned(store, "rename", "web", "crawl"))
    tell(store, search.name, [{"trial": trial.number, "losses": {"web": 1.0, "code": 1.0}}])
    found = store.trial(search.id, trial.number)
    assert (found.state, found.weights["crawl"]) == ("completed", trial.weights["web"])


def test_a_file_with_the_change_in_it_is_taken_whole(store: Store, tmp_path: Path) -> None:
    search = begun(store, changed())
    path = tmp_path / "now.yaml"
    text = changed(budget_flops=4e13).file_text()
    path.write_text(text.replace("- name: web\n", "- name: crawl\n"), encoding="utf-8")
    carry_out(store, planned(store, "rename", "web", "crawl", file=path))
    assert store.search(search.id).config_hash == load(path).digest()
    assert standing(store, load(path)) == (load(path), [])
    path.write_text(text.replace("- name: web\n", "- name: craw\n"), encoding="utf-8")
    with pytest.raises(MixoptError, match="after this edit they are"):
        planned(store, "rename", "crawl", "web", file=path)


REFUSED: list[tuple[tuple[str, ...], tuple[str, ...], str]] = [
    (("rename", "wed", "crawl"), (), "unknown domain 'wed'.*did you mean 'web'"),
    (("rename", "web", "code"), (), "'code' is there already"),
    (("rename", "web"), (), "takes NAME NEW"),
    (("rename", "web", "a/b"), (), "use letters"),
    (("add", "web"), ("web=3",), "'web' is there already"),
    (("add", "blogs"), (), "needs available_tokens"),
    (("add", "blogs"), ("blogs=some",), "give a whole number above 0"),
    (("add", "blogs"), ("blog=3",), "which add has nothing to do with"),
    (("split", "web", "code", "rest"), ("code=1", "rest=1"), "'code' is there already"),
    (("split", "web", "a", "a"), ("a=1",), "named twice"),
    (("split", "web", "a"), ("a=1",), "takes NAME PART PART"),
    (("split", "web", "a", "b"), ("a=1",), "'b' needs available_tokens"),
    (("remove", "books"), (), "constraint `books <= 0.3` names domain 'books'"),
    (("remove", "web"), (), "`code` 0.6|code 0.6"),
    (("move", "web"), (), "nobody knows the action 'move'"),
]


def test_what_cannot_be_is_refused_and_changes_nothing(store: Store) -> None:
    bounded = [d | {"max_weight": 0.15} for d in changed().resolved()["domains"][2:]]  # type: ignore[index]
    domains = [*changed().resolved()["domains"][:2], *bounded]  # type: ignore[index]
    search = find_or_create(store, setting_of(changed(domains=domains, constraints=["books <= 0.3"])))
    for words, tokens, refusal in REFUSED:
        with pytest.raises(MixoptError, match=refusal):
            carry_out(store, planned(store, *words, tokens=tokens))
    assert store.search(search.id) == search
    assert len(store.revisions(search.id)) == 1


def test_domains_change_only_where_nobody_revised_meanwhile(store: Store) -> None:
    find_or_create(store, setting_of(changed()))
    first, second = planned(store, "rename", "web", "crawl"), planned(store, "rename", "web", "net")
    carry_out(store, first)
    with pytest.raises(MixoptError, match="revised by somebody else meanwhile"):
        carry_out(store, second)
    revisions = store.revisions(first.search.id)
    assert carry_out(store, first).startswith("revision 1: web is called crawl")  # heard twice, it is recorded once
    assert store.revisions(first.search.id) == revisions


def test_an_edit_is_plain() -> None:
    edit = edit_of("add", ["x"], tokens=["x=3e9"], sources=["x={kind: files, paths: [a.txt]}"])
    assert edit == Edit(kind="add", names=("x",), tokens={"x": 3_000_000_000}, sources={"x": edit.sources["x"]})
    assert edit.sources["x"] == {"kind": "files", "paths": ["a.txt"]}


def test_a_proof_after_a_change_stays_within_the_budget(store: Store) -> None:
    config = changed(proof={"seeds": 2}, budget_flops=9e13)
    drive(store, config)
    search = store.searches()[0]
    carry_out(store, planned(store, "add", "poems", tokens=("poems=2e11",)))  # natural and uniform are others now
    extended = changed_of(store, budget_flops=1.7e14)
    store.revise_search(search.id, config=extended.resolved(), config_hash=extended.digest(), note="more")
    drive(store, config)
    spent = sum(trial.charged_flops for trial in store.trials(search.id))
    assert 1.2e14 < spent <= 1.7e14
    found = store.recommendation(search.id)
    assert found is not None
    assert {row["seeds"] for row in found.payload["proof"]["rows"]} == {2}
