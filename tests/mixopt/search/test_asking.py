"""Trials that others train: handed out once, pending until they are told of, recorded with a driver and without."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixopt.config import SearchConfig
from mixopt.errors import ConfigError, MixoptError, SearchError
from mixopt.mixture import Mixture
from mixopt.search.asking import ask, open_search, tell, told_of_table, told_of_text
from mixopt.search.report import report
from mixopt.search.wishes import CANCEL, wish
from mixopt.text import Folders
from store import Store, Trial
from tests.mixopt.search.test_driver import SMALL, begin, changed, finish, trials

OUTSIDE = """
name: outside
domains:
  - {name: web, available_tokens: 4e11}
  - {name: code, available_tokens: 5e10, max_weight: 0.6}
evaluation: {web: {}, accuracy/quiz: {}}
objective: {weights: {web: 1, accuracy/quiz: 2}}
ladder:
  - {name: 20m, parameters: 2e7, tokens: 4e8}
  - {name: 150m, parameters: 1.5e8, tokens: 3e9}
strategy: {name: random, natural_seeds: 2, spread: 3}
budget_flops: 5e19
workers: {kind: outside}
"""
SETS = ["web", "code", "books", "math"]


def outside(store: Store, folder: Path, **text: str) -> str:
    path = folder / "outside.yaml"
    words = OUTSIDE
    for old, new in text.items():
        words = words.replace(old, new)
    path.write_text(words, encoding="utf-8")
    return open_search(store, str(path), Folders.beside("mixopt.db"), report=lambda _: None).name


def measured(trial: Trial) -> dict[str, Any]:
    """A made-up training, best at a third of code."""
    loss = 1.0 + (trial.weights["code"] - 0.33) ** 2 + 1e-3 * (trial.seed % 7)
    return {"trial": trial.number, "losses": {"web": loss, "accuracy/quiz": 0.9 - loss / 4}}


def test_what_is_asked_for_is_pending_until_it_is_told_and_then_seen(store: Store, tmp_path: Path) -> None:
    name = outside(store, tmp_path)
    asked = ask(store, name, n=3)
    assert [trial.number for trial in asked] == [0, 1, 2]
    assert {trial.state for trial in asked} == {"running"}
    costs = {"20m": 6 * 2e7 * 4e8, "150m": 6 * 1.5e8 * 3e9}
    assert [trial.charged_flops for trial in asked] == pytest.approx([costs[trial.fidelity] for trial in asked])
    tell(store, name, [measured(asked[1])])
    told = trials(store)[1]
    assert told.state == "completed"
    assert told.losses == {"web": measured(asked[1])["losses"]["web"]}
    assert set(told.accuracies) == {"quiz"}
    again = ask(store, name)[0]
    assert list(again.seen) == [1]
    assert again.weights not in [trial.weights for trial in asked[2:]]
    assert store.lease(store.searches()[0].id) is None


def test_a_search_by_asking_finds_the_best_of_its_law_and_recommends_it_without_a_proof(
    store: Store, tmp_path: Path
) -> None:
    name = outside(store, tmp_path)
    for _ in range(2):
        tell(store, name, [measured(trial) for trial in ask(store, name, n=6)])
    config = SearchConfig.from_plain(store.searches()[0].config)
    finish(config, store)
    first = report(store, name)
    assert first.state == "finished"
    assert first.recommendation is not None
    mixture = Mixture(first.recommendation["mixture"])  # type: ignore[arg-type]
    assert mixture["code"] == pytest.approx(0.33, abs=0.1)
    assert first.recommendation["proof"] is None
    tell(store, name, [measured(ask(store, name)[0])])
    finish(config, store)
    second = report(store, name).recommendation
    assert len(store.fits(store.searches()[0].id)) == 2  # it has decided anew, on what was told since
    assert second is not None


def test_asking_and_telling_go_through_the_driver_while_one_runs(store: Store, tmp_path: Path) -> None:
    def others() -> list[Trial]:
        with Store(tmp_path / "mixopt.db") as mine:
            asked = ask(mine, "simulated", n=2)
            said = tell(mine, "simulated", [told(asked[0])])
            assert "left in its inbox" in said
            return asked

    def told(trial: Trial) -> dict[str, Any]:
        return {"trial": trial.number, "losses": dict.fromkeys(SETS, 0.5)}

    news: list[str] = []
    with begin(changed(**SMALL), store) as driver, ThreadPoolExecutor(max_workers=1) as pool:
        steps = driver.drive()
        while not any(trial.purpose == "search" for trial in trials(store)):
            news += next(steps).news
        theirs = pool.submit(others)
        while not theirs.done():
            if store.messages(driver.search.id):
                news += next(steps).news
        asked = theirs.result()
        for snapshot in steps:
            news += snapshot.news
    found = {trial.number: trial for trial in trials(store)}
    assert f"recorded: trial {asked[0].number}" in news
    assert found[asked[0].number].losses == dict.fromkeys(SETS, 0.5)
    assert found[asked[1].number].state == "running"  # the driver neither trains it nor waits for it
    finish(changed(**SMALL), store)
    assert trials(store)[asked[1].number].state == "running"  # nor does the next one
    tell(store, "simulated", [told(asked[1])])
    assert trials(store)[asked[1].number].state == "completed"
    assert all(len(store.attempts(number.id)) == 1 for number in asked)
    assert sum(trial.charged_flops for trial in trials(store)) <= SMALL["budget_flops"]


def test_a_failure_told_is_charged_and_seen_by_whatever_is_proposed_next(store: Store, tmp_path: Path) -> None:
    name = outside(store, tmp_path)
    first, second = ask(store, name, n=2)
    tell(store, name, [{"trial": first.number, "failed": "out of memory"}])
    tell(store, name, [{"trial": second.number, "diverged": "the loss became NaN"}])
    assert [(trial.state, trial.error) for trial in trials(store)] == [
        ("failed", "out of memory"),
        ("diverged", "the loss became NaN"),
    ]
    assert list(ask(store, name)[0].seen) == [0, 1]


def test_a_trial_that_nobody_will_train_is_taken_back_uncharged(store: Store, tmp_path: Path) -> None:
    name = outside(store, tmp_path)
    first, second = ask(store, name, n=2)
    assert wish(store, store.searches()[0], CANCEL, {"trial": first.number}) == "cancelled: trial 0"
    found = trials(store)
    assert (found[0].state, found[0].charged_flops) == ("cancelled", 0.0)
    assert found[1] == second
    with pytest.raises(SearchError, match="it is cancelled"):
        tell(store, name, [measured(first)])


def test_no_more_is_handed_out_than_the_budget_pays_for(store: Store, tmp_path: Path) -> None:
    name = outside(store, tmp_path, **{"5e19": "1e19"})
    assert [trial.fidelity for trial in ask(store, name, n=9)].count("150m") == 3
    with pytest.raises(SearchError, match="the budget is spent"):
        ask(store, name)


GOOD = {"web": 1.0, "accuracy/quiz": 0.5}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"trial": 7, "losses": GOOD}, "there is none; handed out: 1"),
        ({"trial": 0, "losses": GOOD}, "it is completed"),
        ({"trial": "1", "losses": GOOD}, "by its number"),
        ({"trial": 1, "losses": {"web": 1.0}}, "accuracy/quiz"),
        ({"trial": 1, "losses": GOOD | {"books": 1.0}}, "books"),
        ({"trial": 1, "losses": GOOD | {"web": math.nan}}, "nan"),
        ({"trial": 1, "losses": GOOD | {"web": 10**400}}, "got inf"),
        ({"trial": 1, "losses": GOOD | {"web": "1.0"}}, "must be a number"),
        ({"trial": 1, "losses": GOOD | {"accuracy/quiz": 63}}, "fraction from 0 to 1"),
        ({"trial": 1, "losses": GOOD, "items": {"quiz": 1.5}}, "items"),
        ({"trial": 1, "losses": GOOD, "failed": "too"}, "one of them"),
        ({"trial": 1, "loses": GOOD}, "loses"),
        ({"trial": 1}, "missing"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line_and_changes_nothing(
    store: Store, tmp_path: Path, told: dict[str, Any], words: str
) -> None:
    name = outside(store, tmp_path)
    first, _ = ask(store, name, n=2)
    tell(store, name, [measured(first)])
    before = trials(store)
    with pytest.raises(SearchError, match=words) as refused:
        tell(store, name, [told])
    assert "\n" not in str(refused.value)
    assert trials(store) == before


def test_one_bad_row_keeps_all_out(store: Store, tmp_path: Path) -> None:
    name = outside(store, tmp_path)
    first, second = ask(store, name, n=2)
    with pytest.raises(SearchError, match="trial 1"):
        tell(store, name, [measured(first), {"trial": second.number, "losses": {}}])
    assert {trial.state for trial in trials(store)} == {"running"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.sampled_from(["web", "accuracy/quiz", "x"]), each),
    max_leaves=4,
)
KEYS = st.sampled_from(["trial", "losses", "accuracies", "items", "failed", "diverged", "x"])


def test_no_input_is_a_traceback_or_changes_a_store_that_refuses_it(store: Store, tmp_path: Path) -> None:
    name = outside(store, tmp_path)
    waiting = [ask(store, name)[0].number]

    def refusal(told: dict[str, Any], text: str) -> str:
        try:
            tell(store, name, [told])
            waiting.append(ask(store, name)[0].number)  # what was drawn was fit to be recorded, by chance
            told_of_text(text)
        except MixoptError as error:
            return str(error)
        return ""

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(KEYS, VALUES), st.text(max_size=12))
    def refused(told: dict[str, Any], text: str) -> None:
        before, number = trials(store), waiting[-1]
        assert "\n" not in refusal({"trial": number} | told, text)
        assert trials(store) == before or waiting[-1] != number

    refused()


def test_a_table_and_a_file_tell_the_same_as_words(store: Store, tmp_path: Path) -> None:
    name = outside(store, tmp_path)
    first, second, third = ask(store, name, n=3)
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"losses": {"web": 1.25}, "accuracies": {"quiz": 0.5}, "items": {"quiz": 8}}))
    tell(store, name, [{"trial": first.number} | told_of_text(str(path))])
    tell(store, name, [{"trial": second.number} | told_of_text("web=1.25, accuracy/quiz=0.5")])
    table = tmp_path / "runs.csv"
    row = f"{third.number},{third.fidelity},1,0,{third.weights['web']},{third.weights['code']},1.25,0.5,8"
    head = "run_id,fidelity,cost,seed,weight/web,weight/code,loss/web,accuracy/quiz,items/quiz"
    table.write_text(f"{head}\n{row}\n", encoding="utf-8")
    tell(store, name, told_of_table(store, name, table))
    assert [dict(trial.losses) | dict(trial.accuracies) for trial in trials(store)] == [{"web": 1.25, "quiz": 0.5}] * 3
    assert [dict(trial.items) for trial in trials(store)] == [{"quiz": 8}, {}, {"quiz": 8}]
    with pytest.raises(SearchError, match="no trial that was handed out"):
        told_of_table(store, name, table)
    fourth = ask(store, name)[0]
    table.write_text(f"{head}\n{fourth.number},{fourth.fidelity},1,0,0.4001,0.5999,1.25,0.5,8\n", encoding="utf-8")
    with pytest.raises(SearchError, match="not of the rung and mixture"):
        told_of_table(store, name, table)


def test_a_search_that_starts_no_training_has_no_experts_and_no_proof(store: Store, tmp_path: Path) -> None:
    for section in ("experts: {rung: 20m}", "proof: {seeds: 3}"):
        with pytest.raises(ConfigError, match="starts no training"):
            outside(store, tmp_path, **{"name: outside": f"name: outside\n{section}"})
