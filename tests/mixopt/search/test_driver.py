"""The loop on simulated proxies: budgets, resumption, failures, proof."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mixopt.config import SearchConfig, load
from mixopt.errors import SearchError
from mixopt.mixture import Mixture
from mixopt.search.driver import Driver
from mixopt.search.launch import driver, owner, prepare_text, start_workers
from mixopt.search.setting import Setting
from mixopt.text import Folders
from mixopt.workers import Job, JobProgress, Outcome
from store import LeaseHeld, Store, Trial

CONFIG = Path(__file__).parents[3] / "configs" / "simulated.yaml"


def changed(**sections: object) -> SearchConfig:
    config = load(CONFIG)
    return config.from_plain(config.resolved() | sections, root=config.root)


SMALL = {"budget_flops": 1.2e14, "strategy": {"name": "random"}, "proof": {"seeds": 2}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.chdir(tmp_path)  # artifacts lie beside the store
    with Store(tmp_path / "mixopt.db") as opened:
        yield opened


def begin(config: SearchConfig, store: Store) -> Driver:
    folders = Folders.beside("mixopt.db")
    text = prepare_text(config, folders, report=lambda _: None)
    setting = Setting.of(config, text, artifacts=str(folders.artifacts))
    return driver(setting, store=store, workers=start_workers(config), elapsed_s=0.0)


def finish(config: SearchConfig, store: Store) -> Driver:
    begun = begin(config, store)
    for _ in begun.drive():
        pass
    return begun


def trials(store: Store) -> list[Trial]:
    return store.trials(store.searches()[0].id)


def test_a_search_spends_its_budget_and_no_more(store: Store) -> None:
    finish(changed(**SMALL), store)
    spent = sum(trial.charged_flops for trial in trials(store))
    dearest = max(trial.charged_flops for trial in trials(store))
    assert spent <= SMALL["budget_flops"]
    assert spent > SMALL["budget_flops"] - 4 * dearest  # rivals that are one mixture were kept for and not trained


def test_the_experts_come_first_and_once_a_domain(store: Store) -> None:
    finish(changed(**SMALL), store)
    experts = [trial for trial in trials(store) if trial.purpose == "expert"]
    assert [trial.number for trial in experts] == list(range(len(load(CONFIG).domains)))
    assert [max(trial.weights.values()) for trial in experts] == [1.0] * len(experts)


def test_every_searched_mixture_keeps_the_constraints(store: Store) -> None:
    begun = finish(changed(**SMALL, constraints=["code + math >= 0.2"]), store)
    searched = [Mixture(t.weights) for t in trials(store) if t.purpose not in ("expert", "proof")]
    inside = [mixture in begun.setting.problem.space for mixture in searched]
    natural = begun.setting.problem.natural
    assert all(good or mixture == natural for good, mixture in zip(inside, searched, strict=True))


def test_the_proof_trains_every_rival_on_the_same_fresh_seeds(store: Store) -> None:
    finish(changed(**SMALL), store)
    found = store.recommendation(store.searches()[0].id)
    assert found is not None
    rows = found.payload["proof"]["rows"]
    assert rows[0]["name"].startswith("recommended")
    assert {row["seeds"] for row in rows} == {2}
    searched = {trial.seed for trial in trials(store) if trial.purpose != "proof"}
    assert not searched & {trial.seed for trial in trials(store) if trial.purpose == "proof"}


@pytest.mark.parametrize("stop_after", [1, 5, 17, 30])
def test_an_interrupted_search_goes_on_where_it_was(store: Store, stop_after: int) -> None:
    config = changed(**SMALL)
    for count, _ in enumerate(begin(config, store).drive()):
        if count == stop_after:
            break  # as if killed: nothing is tidied up
    before = {trial.number: trial for trial in trials(store) if trial.state == "completed"}
    finish(config, store)
    after = {trial.number: trial for trial in trials(store)}
    assert before
    assert all(after[number] == trial for number, trial in before.items())
    assert all(trial.state == "completed" for trial in after.values())
    runs = [trial.run_hash for trial in after.values()]
    assert all(len([a for a in store.attempts(t.id) if a.state == "completed"]) <= 1 for t in after.values())
    assert len(runs) == len(after)


def test_a_finished_search_is_not_run_again(store: Store) -> None:
    config = changed(**SMALL)
    finish(config, store)
    before = trials(store)
    finish(config, store)
    assert trials(store) == before


def test_diverged_trials_are_charged_and_the_search_goes_on(store: Store) -> None:
    finish(changed(**SMALL, simulated=load(CONFIG).resolved()["simulated"] | {"limits": {"web": 0.5}}), store)
    diverged = [trial for trial in trials(store) if trial.state == "diverged"]
    assert diverged
    assert all(trial.charged_flops > 0 and not trial.losses for trial in diverged)
    assert store.recommendation(store.searches()[0].id) is not None


def test_a_proxy_that_always_fails_ends_the_search_with_its_error(store: Store) -> None:
    begun = begin(changed(**SMALL), store)
    begun.workers = Broken()
    with pytest.raises(SearchError, match="out of memory"):
        for _ in begun.drive():
            pass
    assert sum(trial.state == "failed" for trial in trials(store)) == 4


class Broken:
    """Workers on which every training fails."""

    slots = 2

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def cancel(self, key: int) -> None:
        self.jobs = [job for job in self.jobs if job.key != key]

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        return [Outcome(key=self.jobs.pop(0).key, state="failed", error="RuntimeError: out of memory")]

    def clock(self) -> float:
        return 0.0

    def close(self) -> None:
        self.jobs.clear()


class Losing(Broken):
    """Workers that die with the job, the first time each is tried."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: set[int] = set()

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        job = self.jobs.pop(0)
        if job.key not in self.tried:
            self.tried.add(job.key)
            return [Outcome(key=job.key, state="lost", error="worker lost: it was killed")]
        losses = dict.fromkeys(["web", "code", "books", "math"], 1.0 + job.seed / 1e6)
        return [Outcome(key=job.key, state="completed", losses=losses, spent_flops=1.0, elapsed_s=1.0)]


def test_a_trial_whose_worker_died_is_trained_again_as_another_attempt(store: Store) -> None:
    begun = begin(changed(**SMALL | {"strategy": {"name": "natural"}}), store)
    begun.workers = Losing()
    for _ in begun.drive():
        pass
    assert all(trial.state == "completed" and trial.attempts == 2 for trial in trials(store) if trial.attempts)


def test_a_second_driver_is_refused_while_the_first_lives(store: Store) -> None:
    config = changed(**SMALL)
    first = begin(config, store)
    with pytest.raises(LeaseHeld):
        store.acquire_lease(first.search.id, owner="other", host="elsewhere", pid=1, ttl_s=60.0)
    store.release_lease(first.search.id, owner=owner())


def test_another_ladder_is_refused_and_another_budget_recorded(store: Store) -> None:
    finish(changed(**SMALL), store)
    ladder = load(CONFIG).resolved()["ladder"]
    assert isinstance(ladder, list)
    with pytest.raises(SearchError, match="ladder"):
        begin(changed(**SMALL, ladder=ladder[1:], experts={"rung": "large"}), store)
    begin(changed(**SMALL | {"budget_flops": 2e14}), store)
    domains = load(CONFIG).resolved()["domains"]
    assert isinstance(domains, list)
    begin(changed(**SMALL, domains=[domains[0] | {"min_weight": 0.1}, *domains[1:]]), store)
    assert len(store.revisions(store.searches()[0].id)) == 3


def test_the_same_runs_are_not_trained_twice_across_searches(store: Store) -> None:
    finish(changed(**SMALL), store)
    finish(changed(**SMALL, name="again"), store)
    again = store.trials(store.searches()[1].id)
    assert all(not store.attempts(trial.id) for trial in again if trial.purpose == "expert")
    assert sum(t.charged_flops for t in again) == pytest.approx(sum(t.charged_flops for t in trials(store)))
