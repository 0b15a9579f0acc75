"""Budget, objective and constraints of a search that has begun: revised while it is driven, and where nobody drives."""

from pathlib import Path

import pytest

from mixopt.config import SearchConfig, load
from mixopt.errors import ConfigError, EmptySpace, SearchError
from mixopt.mixture import Mixture
from mixopt.search.asking import ask, tell
from mixopt.search.launch import driving, find_or_create, start_workers
from mixopt.search.revising import differences, standing
from mixopt.search.revision import Wanted, revise_search
from mixopt.search.wishes import heed_waiting
from store import Search, Store
from tests.mixopt.search.small_search import changed, setting_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "changed.yaml"


def drive(store: Store, config: SearchConfig, *, at: int = -1, wanted: Wanted | None = None) -> list[str]:
    """Run the search to its end, revise it as is wanted after so many snapshots, and return what was said."""
    said: list[str] = []
    with driving(setting_of(config), store=store, workers=start_workers(config), elapsed_s=0.0) as driver:
        for count, snapshot in enumerate(driver.drive()):
            said += snapshot.news
            if count == at and wanted is not None:
                done = revise_search(store, store.searches()[0], wanted, is_rehearsal=False)
                said.append(str(done["done"]))
    return said


def begun(store: Store, config: SearchConfig) -> Search:
    """Return a search of which six trials were told."""
    search = find_or_create(store, setting_of(config))
    for trial in ask(store, search.name, n=6):
        losses = {name: 1.0 + 0.1 * trial.weights[name] for name in ("web", "code")}
        tell(store, search.name, [{"trial": trial.number, "losses": losses}])
    return search


def only(store: Store) -> Search:
    return store.searches()[0]


def spent(store: Store) -> float:
    return sum(trial.charged_flops for trial in store.trials(only(store).id))


def written(path: Path, config: SearchConfig) -> Path:
    path.write_text(config.file_text(), encoding="utf-8")
    return path


def test_a_driver_that_is_given_more_proposes_what_one_of_that_budget_would_have(store: Store, tmp_path: Path) -> None:
    said = drive(store, changed(), at=1, wanted=Wanted(budget="+2e13"))
    assert any("is being driven" in line for line in said)
    assert any(line.startswith("revision 1: budget_flops: 3e+13 -> 5e+13; by ") for line in said)
    assert only(store).state == "finished"
    assert 4e13 < spent(store) <= 5e13
    assert store.messages(only(store).id) == []
    with Store(tmp_path / "whole.db") as whole:
        drive(whole, changed(budget_flops=5e13))
        kept = [(t.purpose, t.fidelity, t.seed, dict(t.weights)) for t in whole.trials(1)]
    assert [(t.purpose, t.fidelity, t.seed, dict(t.weights)) for t in store.trials(1)] == kept


def test_from_the_revision_on_every_proposal_keeps_the_new_constraints(store: Store, path: Path) -> None:
    revised = changed(constraints=["code + math >= 0.5"], budget_flops=8e13)
    drive(store, changed(budget_flops=5e13), at=1, wanted=Wanted(file=written(path, revised)))
    searched = [t for t in store.trials(only(store).id) if t.purpose not in ("expert", "proof")]
    inside = [Mixture(t.weights) in revised.space() for t in searched]
    assert not all(inside)
    assert all(inside[5:])  # two have ended by then, and three were proposed
    assert len(inside) > 8
    found = store.recommendation(only(store).id)
    assert found is not None
    assert Mixture(found.payload["mixture"]) in revised.space()
    assert found.payload["config_hash"] == revised.digest()


def test_an_objective_revised_during_the_proof_is_searched_and_proved_itself(store: Store, path: Path) -> None:
    config = changed(proof={"seeds": 2}, budget_flops=1e14)
    revised = changed(proof={"seeds": 2}, budget_flops=1.8e14, objective={"weights": {"code": 1}})
    mixtures: list[Mixture] = []
    with driving(setting_of(config), store=store, workers=start_workers(config), elapsed_s=0.0) as driver:
        for snapshot in driver.drive():
            found = store.recommendation(driver.search.id)
            if snapshot.phase == "proof" and not mixtures and found is not None:
                mixtures.append(Mixture(found.payload["mixture"]))
                before = len(store.trials(driver.search.id))
                revise_search(store, only(store), Wanted(file=written(path, revised)), is_rehearsal=False)
    found = store.recommendation(only(store).id)
    assert found is not None
    assert found.payload["mixture"]["code"] > mixtures[0]["code"] + 0.05
    assert found.payload["proof"]["rows"][0]["seeds"] == 2
    later = store.trials(only(store).id)[before:]
    assert any(trial.purpose == "search" for trial in later)
    assert spent(store) <= 1.8e14


def test_where_nobody_drives_it_is_recorded_at_once_and_the_old_file_goes_on_with_it(store: Store) -> None:
    config = changed()
    begun(store, config)
    before = store.trials(only(store).id)
    done = revise_search(store, only(store), Wanted(budget="6e13"), is_rehearsal=False)
    assert str(done["done"]).startswith("revision 1: budget_flops: 3e+13 -> 6e+13; by ")
    taken, said = standing(store, config)
    assert taken.budget_flops == 6e13
    assert "goes on" in said[0]
    drive(store, taken)
    assert store.trials(only(store).id)[: len(before)] == before
    assert 4e13 < spent(store) <= 6e13
    assert [each.number for each in store.revisions(only(store).id)] == [0, 1]


def test_a_file_that_says_something_new_is_taken_as_it_is(store: Store) -> None:
    begun(store, changed())
    revise_search(store, only(store), Wanted(budget="2e14"), is_rehearsal=False)
    taken, said = standing(store, changed(budget_flops=1.3e14))
    assert taken.budget_flops == 1.3e14
    assert said == ["the file changed: budget_flops: 2e+14 -> 1.3e+14"]


def test_the_file_that_show_prints_means_the_same(store: Store) -> None:
    config = changed(proof=False, constraints=["code + math >= 0.5"])
    begun(store, config)
    revise_search(store, only(store), Wanted(budget="2e14"), is_rehearsal=False)
    found = SearchConfig.from_plain(only(store).config)
    path = Path("written.yaml")
    assert load(written(path, found)).digest() == only(store).config_hash


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"seed": 1}, "seed cannot change.*seed: 0 -> 1"),
    ({"ladder": "fewer"}, "ladder cannot change"),
    ({"domains": "fewer"}, "domains cannot change.*mixopt domains simulated --help"),
    ({"target": None}, "target cannot change"),
    ({"name": "other"}, "the file is of search 'other'"),
    ({}, "nothing changes"),
]


def test_what_cannot_change_is_refused_by_name_and_changes_nothing(store: Store, path: Path) -> None:
    begun(store, changed())
    plain = changed().resolved()
    fewer = {key: plain[key][1:] for key in ("ladder", "domains")}  # type: ignore[index]  # lists by construction
    for sections, words in REFUSED:
        wanted = {key: fewer[key] if value == "fewer" else value for key, value in sections.items()}
        with pytest.raises(SearchError, match=words):
            revise_search(store, only(store), Wanted(file=written(path, changed(**wanted))), is_rehearsal=False)
    assert len(store.revisions(only(store).id)) == 1
    assert store.messages(only(store).id) == []


def test_impossible_limits_and_empty_spaces_are_refused(store: Store, path: Path) -> None:
    begun(store, changed())
    for typed in ("nothing", "-3", "nan", "+inf", "0"):
        with pytest.raises(SearchError, match="--budget takes a positive number"):
            revise_search(store, only(store), Wanted(budget=typed), is_rehearsal=False)
    with pytest.raises(SearchError, match=r"--time-limit \+60 adds to a limit"):
        revise_search(store, only(store), Wanted(time_limit="+60"), is_rehearsal=False)
    with pytest.raises(SearchError, match="say what to revise"):
        revise_search(store, only(store), Wanted(), is_rehearsal=False)
    text = changed().file_text().replace("name: simulated", "name: simulated\nconstraints: [code + math <= -1]", 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EmptySpace):
        revise_search(store, only(store), Wanted(file=path), is_rehearsal=False)
    path.write_text(text.replace("code + math <= -1", "cod <= 0.3"), encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'code'"):
        revise_search(store, only(store), Wanted(file=path), is_rehearsal=False)
    assert len(store.revisions(only(store).id)) == 1


def test_workers_cannot_change_while_they_work(store: Store, path: Path) -> None:
    slots = changed(workers={"kind": "simulated", "slots": 3})
    config = changed()
    with (
        driving(setting_of(config), store=store, workers=start_workers(config), elapsed_s=0.0),
        pytest.raises(SearchError, match=r"workers.slots: 2 -> 3.*mixopt cancel simulated"),
    ):
        revise_search(store, only(store), Wanted(file=written(path, slots)), is_rehearsal=False)
    revise_search(store, only(store), Wanted(file=path), is_rehearsal=False)
    assert only(store).config["workers"]["slots"] == 3


def test_a_rehearsal_says_what_stays_and_what_is_left_and_changes_nothing(store: Store, path: Path) -> None:
    begun(store, changed())
    search = only(store)
    revised = changed(constraints=["web >= 0.9"], budget_flops=2e14)
    done = revise_search(store, search, Wanted(file=written(path, revised)), is_rehearsal=True)
    assert done["changes"] == ["constraints: none -> ['web >= 0.9']", "budget_flops: 3e+13 -> 2e+14"]
    ended = store.trials(search.id, states=["completed"])
    space = changed(constraints=["web >= 0.9"]).space()
    mixtures = [Mixture(t.weights) for t in ended if t.purpose not in ("proof", "expert")]
    outside = sum(mixture not in space for mixture in mixtures)
    assert done["outlook"][:2] == [
        f"all {len(ended)} completed trials stay",
        f"{outside} of {len(mixtures)} mixtures are outside of the constraints: they stay evidence",
    ]
    left = 2e14 - spent(store)
    top = [t for t in ended if t.fidelity == "large" and t.purpose not in ("proof", "expert")]
    assert f"{left / top[0].charged_flops:.1f} trials at rung 'large'" in done["outlook"][2]
    assert only(store) == search


def test_a_budget_below_what_is_charged_ends_the_search(store: Store) -> None:
    said = drive(store, changed(budget_flops=6e13), at=2, wanted=Wanted(budget="1e13"))
    assert any("the budget is spent" in line for line in said)
    assert only(store).state == "finished"
    assert spent(store) < 2.8e13
    assert store.recommendation(only(store).id) is not None


def test_two_revisions_of_the_same_state_do_not_overwrite_each_other(store: Store) -> None:
    search = begun(store, changed())
    with driving(setting_of(changed()), store=store, workers=start_workers(changed()), elapsed_s=0.0):
        for budget in ("1.6e14", "2e14"):
            revise_search(store, only(store), Wanted(budget=budget), is_rehearsal=False)
    said = heed_waiting(store, search)
    assert only(store).config["budget_flops"] == 1.6e14
    assert "was revised by somebody else meanwhile" in said[1]


def test_differences_go_by_names_and_leave_out_what_is_as_empty() -> None:
    before = {"a": 1.0, "rungs": [{"name": "x", "tokens": 3}], "c": None}
    now = {"a": 2.0, "rungs": [{"name": "x", "tokens": 4}], "c": {}}
    assert differences(before, now) == ["a: 1 -> 2", "rungs.x.tokens: 3 -> 4"]


def test_a_budget_in_device_hours_may_be_extended_in_flops(store: Store) -> None:
    begun(store, changed(budget_flops=None, budget_device_hours=0.5, throughput_flops=2e10))
    done = revise_search(store, only(store), Wanted(budget="+1e13"), is_rehearsal=False)
    assert "budget_flops: 3.6e+13 -> 4.6e+13" in done["changes"]
    now = SearchConfig.from_plain(only(store).config)
    assert (now.budget_flops, now.budget_device_hours) == (4.6e13, None)
    assert only(store).config_hash == now.digest()
