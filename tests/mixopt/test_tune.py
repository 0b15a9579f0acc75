"""The searcher as Ray Tune calls it, without Ray: asked, told, saved, restored, and with everything going wrong."""

import math
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from mixopt.errors import ConfigError
from mixopt.evidence import Evidence, Proposal
from mixopt.optimize.strategies import STRATEGIES
from mixopt.search.asking import open_search
from mixopt.text import Folders
from mixopt.tune import MixtureSearcher
from store import Store, StoreUnavailable, Trial
from tests.mixopt.search.test_asking import OUTSIDE

WAIT_S = 60.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store of a search that its file began."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "outside.yaml"
    path.write_text(OUTSIDE, encoding="utf-8")
    with Store("mixopt.db") as store:
        open_search(store, str(path), Folders.beside("mixopt.db"), report=lambda _: None)
    return str(tmp_path / "mixopt.db")


def trials(place: str) -> list[Trial]:
    with Store(place, read_only=True) as store:
        return store.trials(store.searches()[0].id)


def next_of(searcher: MixtureSearcher, trial_id: str) -> dict[str, Any]:
    """Ask as Tune does, again and again."""
    deadline = time.monotonic() + WAIT_S
    while (found := searcher.suggest(trial_id)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert isinstance(found, dict), found
    return found


def report(config: dict[str, Any], **changed: object) -> dict[str, Any]:
    """What Tune hands on of a last report: flat."""
    loss = 1.0 + (config["weights"]["code"] - 0.33) ** 2
    flat = {"config/trial": config["trial"], "losses/web": loss, "losses/accuracy/quiz": 0.5}
    return flat | changed


def test_what_tune_is_given_is_what_the_search_proposed_and_what_it_reports_is_recorded(place: str) -> None:
    searcher = MixtureSearcher("outside", store=place)
    first, second = next_of(searcher, "a"), next_of(searcher, "b")
    assert [trial.state for trial in trials(place)] == ["running", "running"]
    for config, trial in zip((first, second), trials(place), strict=True):
        assert config["weights"] == dict(trial.weights)
        assert (config["trial"], config["fidelity"], config["seed"]) == (trial.number, trial.fidelity, trial.seed)
        assert config["tokens"] == {"20m": 4e8, "150m": 3e9}[trial.fidelity]
    searcher.on_trial_complete("b", result=report(second))
    told = trials(place)[second["trial"]]
    assert told.losses == {"web": report(second)["losses/web"]}
    assert told.accuracies == {"quiz": 0.5}
    third = next_of(searcher, "c")
    assert list(trials(place)[third["trial"]].seen) == [second["trial"]]


@pytest.mark.parametrize(
    ("reported", "error", "state", "words"),
    [
        ({}, True, "failed", "raised an error"),
        (None, False, "failed", "without losses"),
        ({"training_iteration": 3}, False, "failed", "without losses"),
        ({"losses/web": 1.0}, False, "failed", "accuracy/quiz"),
        ({"losses": {"web": math.nan, "accuracy/quiz": 0.5}}, False, "diverged", "no finite"),
        ({"losses/web": math.inf, "losses/accuracy/quiz": 0.5}, False, "diverged", "no finite"),
        ({"losses/web": "low", "losses/accuracy/quiz": 0.5}, False, "failed", "no number"),
        ({"losses/web": 1.0, "losses/accuracy/quiz": 63}, False, "failed", "fraction from 0 to 1"),
    ],
)
def test_however_a_trial_ends_its_end_is_recorded_and_the_run_goes_on(
    place: str, reported: dict[str, Any] | None, error: bool, state: str, words: str
) -> None:
    searcher = MixtureSearcher("outside", store=place)
    next_of(searcher, "a")
    searcher.on_trial_complete("a", result=reported, error=error)
    (ended,) = trials(place)
    assert ended.state == state
    assert words in (ended.error or "")
    next_of(searcher, "b")


def test_a_search_with_no_budget_left_ends_the_run(place: str) -> None:
    text = (
        OUTSIDE.replace("5e19", "6e17")
        .replace("name: outside", "name: small")
        .replace("150m, parameters: 1.5e8, tokens: 3e9", "21m, parameters: 2.1e7, tokens: 4e8")
    )
    Path("small.yaml").write_text(text, encoding="utf-8")
    searcher = MixtureSearcher("small.yaml", store=place)
    for k in range(99):
        deadline = time.monotonic() + WAIT_S
        while (found := searcher.suggest(str(k))) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if not isinstance(found, dict):
            break
        searcher.on_trial_complete(str(k), result=report(found))
    assert found == Searcher.FINISHED
    with Store(place, read_only=True) as store:
        mine = store.trials(store.find_search("small").id)  # type: ignore[union-attr]
    assert {trial.state for trial in mine} == {"completed"}
    assert 10 <= len(mine) <= 12  # 6e17 FLOPs at 4.8e16 or 5.04e16 each


def test_a_fit_that_fails_is_replaced_by_chance_and_ends_nothing(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "bayesian", Broken)  # type: ignore[arg-type]
    text = OUTSIDE.replace("name: outside", "name: broken").replace("name: random", "name: bayesian")
    Path("broken.yaml").write_text(text, encoding="utf-8")
    searcher = MixtureSearcher("broken.yaml", store=place)
    assert sum(next_of(searcher, "a")["weights"].values()) == pytest.approx(1.0)


class Broken:
    """A strategy whose fit always fails."""

    def __init__(self, problem: object) -> None:
        pass

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        raise ZeroDivisionError


def test_what_could_not_be_recorded_is_kept_until_it_can_be(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = MixtureSearcher("outside", store=place)
    config = next_of(searcher, "a")
    with monkeypatch.context() as patch:
        patch.setattr("mixopt.tune.Store", refuse)
        searcher.on_trial_complete("a", result=report(config))
        searcher.save("state.json")
    assert trials(place)[0].state == "running"
    again = pickle.loads(pickle.dumps(searcher))
    again.restore("state.json")
    next_of(again, "b")
    assert trials(place)[0].state == "completed"


def refuse(_: str) -> Store:
    raise StoreUnavailable("the server is away")


def test_what_tune_forgot_in_its_last_snapshot_is_handed_out_again(place: str) -> None:
    searcher = MixtureSearcher("outside", store=place)
    known = next_of(searcher, "a")
    searcher.save("state.json")
    forgotten = next_of(searcher, "b")
    over = next_of(searcher, "c")
    searcher.on_trial_complete("c", result=report(over))
    again = pickle.loads(pickle.dumps(searcher))
    again.restore("state.json")
    assert next_of(again, "d") == forgotten
    fresh = next_of(again, "e")
    assert fresh["trial"] not in {known["trial"], forgotten["trial"], over["trial"]}
    for trial_id, config in (("a", known), ("d", forgotten), ("e", fresh)):
        again.on_trial_complete(trial_id, result=report(config))
    again.on_trial_complete("a", result=report(known, **{"losses/web": 9.0}))  # Tune does some things twice
    assert [trial.state for trial in trials(place)] == ["completed"] * 4
    assert trials(place)[known["trial"]].losses["web"] == report(known)["losses/web"]


def test_no_password_is_pickled_and_the_variable_is_read_where_it_is_needed(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="MIXOPT_STORE"):
        MixtureSearcher("outside", store="postgresql://me:s3cret@db.example/searches")
    monkeypatch.setenv("MIXOPT_STORE", place)
    searcher = MixtureSearcher("outside")
    assert place.encode() not in pickle.dumps(searcher)
    assert next_of(pickle.loads(pickle.dumps(searcher)), "a")["trial"] == 0
