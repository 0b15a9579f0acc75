"""The loop on simulated proxies: budgets, resumption, failures, proof."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mixopt.config import SearchConfig, load
from mixopt.errors import SearchError, SearchStopped
from mixopt.mixture import Mixture
from mixopt.search.driver import Driver
from mixopt.search.launch import driving, prepare_text, start_workers
from mixopt.search.setting import Setting
from mixopt.search.snapshot import Snapshot
from mixopt.search.wishes import CANCEL
from mixopt.simulated_workers import SimulatedWorkers
from mixopt.text import Folders
from mixopt.workers import Job, JobProgress, LocalWorkers, Outcome, Sample, Workers, run_job
from proxies.pace import ALONE, Pace
from store import LeaseHeld, Store, Trial
from tests.cli.small_search import write_search

CONFIG = Path(__file__).parents[3] / "configs" / "simulated.yaml"


def changed(**sections: object) -> SearchConfig:
    config = load(CONFIG)
    return config.from_plain(config.resolved() | sections, root=config.root)


SMALL = {"budget_flops": 1.2e14, "strategy": {"name": "random"}, "proof": {"seeds": 2}}


def begin(config: SearchConfig, store: Store, *, workers: Workers | None = None) -> AbstractContextManager[Driver]:
    folders = Folders.beside("mixopt.db")
    text = prepare_text(config, folders, report=lambda _: None)
    setting = Setting.of(config, text, artifacts=str(folders.artifacts))
    return driving(setting, store=store, workers=workers or start_workers(config), elapsed_s=0.0)


def finish(config: SearchConfig, store: Store, *, workers: Workers | None = None) -> list[Snapshot]:
    with begin(config, store, workers=workers) as driver:
        return list(driver.drive())


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


@pytest.mark.parametrize("strategy", ["random", "bayesian"])
def test_every_searched_mixture_keeps_the_constraints(store: Store, strategy: str) -> None:
    config = changed(**SMALL | {"strategy": {"name": strategy}}, constraints=["code + math >= 0.2"])
    finish(config, store)
    space = config.space()
    assert all(Mixture(t.weights) in space for t in trials(store) if t.purpose not in ("expert", "proof"))


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
    with begin(config, store) as driver:
        for count, _ in enumerate(driver.drive()):
            if count == stop_after:
                break  # as if killed: running trials stay as they are
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
    with pytest.raises(SearchError, match="out of memory"):
        finish(changed(**SMALL), store, workers=Broken())
    assert sum(trial.state == "failed" for trial in trials(store)) == 4
    assert store.searches()[0].state == "failed"


def test_experts_that_failed_are_tried_again_when_the_search_is_resumed(store: Store) -> None:
    with pytest.raises(SearchError):
        finish(changed(**SMALL), store, workers=Broken())
    finish(changed(**SMALL), store)
    experts = [trial for trial in trials(store) if trial.purpose == "expert" and trial.state == "completed"]
    assert len(experts) == len(load(CONFIG).domains)


class Broken:
    """Workers on which every training fails."""

    slots = 2

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, *jobs: Job) -> None:
        self.jobs += jobs

    def pace(self, sample: Sample) -> Pace:
        return ALONE

    def cancel(self, key: int) -> None:
        self.jobs = [job for job in self.jobs if job.key != key]

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        return [Outcome(key=self.jobs.pop(0).key, state="failed", error="RuntimeError: out of memory")]

    def finished(self) -> list[Outcome]:
        return []

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
    finish(changed(**SMALL | {"strategy": {"name": "natural"}}), store, workers=Losing())
    assert all(trial.state == "completed" and trial.attempts == 2 for trial in trials(store) if trial.attempts)


def test_a_trial_is_cancelled_uncharged_and_a_search_is_stopped_by_message(store: Store) -> None:
    config = changed(**SMALL)
    asked: list[int | None] = []

    def run_and_ask() -> None:
        with begin(config, store) as driver:
            for count, _ in enumerate(driver.drive()):
                if count in (5, 8):
                    running = next(trial.number for trial in trials(store) if trial.state == "running")
                    asked.append(running if count == 5 else None)
                    store.post(driver.search.id, CANCEL, {"trial": asked[-1]})

    with pytest.raises(SearchStopped, match="run the same command again"):
        run_and_ask()
    number = asked[0]
    assert number is not None
    assert store.searches()[0].state == "stopped"
    assert {trial.state for trial in trials(store)} == {"completed", "queued", "cancelled"}
    cancelled = trials(store)[number]
    assert (cancelled.state, cancelled.charged_flops) == ("cancelled", 0.0)
    finish(config, store)
    assert trials(store)[number] == cancelled
    assert store.searches()[0].state == "finished"


def test_a_cancelled_expert_is_not_taken_for_done(store: Store) -> None:
    config = changed(**SMALL)
    with begin(config, store) as driver:
        for count, _ in enumerate(driver.drive()):
            if count == 0:
                store.post(driver.search.id, CANCEL, {"trial": 2})
    experts = [trial for trial in trials(store) if trial.purpose == "expert"]
    assert [trial.state for trial in experts].count("cancelled") == 1
    assert [trial.state for trial in experts].count("completed") == len(load(CONFIG).domains)


def test_an_expert_that_is_taken_back_tells_nothing_more_and_is_trained_again(store: Store) -> None:
    config = changed(**SMALL)
    told: list[object] = []
    with begin(config, store) as driver:
        for _ in driver.drive():
            experts = driver._evidence(driver._trials()).experts
            if experts is not None and not told:
                store.post(driver.search.id, "retract", {"trial": 2, "reason": "wrong text"})
            told += [experts] if told or experts is not None else []
    assert None in told
    assert told[0] is not told[-1] is not None
    experts = [trial for trial in trials(store) if trial.purpose == "expert"]
    assert [trial.number for trial in experts if trial.state == "retracted"] == [2]
    assert experts[-1].weights == experts[2].weights
    assert experts[-1].state == "completed"


def test_what_ended_while_the_search_was_interrupted_is_recorded(store: Store) -> None:
    config = changed(**SMALL)
    workers = Interrupted(config)
    with pytest.raises(KeyboardInterrupt), begin(config, store, workers=workers) as driver:
        list(driver.drive())
    states = [trial.state for trial in trials(store)]
    assert "completed" in states
    assert "running" not in states
    assert store.searches()[0].state == "stopped"


class Interrupted(SimulatedWorkers):
    """Workers during whose first wait somebody presses Ctrl-C, after a training has ended."""

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        raise KeyboardInterrupt

    def finished(self) -> list[Outcome]:
        return [event for event in super().wait(0.0) if isinstance(event, Outcome)]


def test_a_second_driver_is_refused_while_the_first_lives(store: Store) -> None:
    with begin(changed(**SMALL), store) as driver, pytest.raises(LeaseHeld):
        store.acquire_lease(driver.search.id, owner="other", host="elsewhere", pid=1, ttl_s=60.0)
    store.acquire_lease(driver.search.id, owner="other", host="elsewhere", pid=1, ttl_s=60.0)


def test_another_ladder_is_refused_and_other_bounds_are_recorded(store: Store) -> None:
    finish(changed(**SMALL), store)
    ladder = load(CONFIG).resolved()["ladder"]
    assert isinstance(ladder, list)
    with pytest.raises(SearchError, match="ladder"):
        finish(changed(**SMALL, ladder=ladder[1:], experts={"rung": "large"}), store)
    domains = load(CONFIG).resolved()["domains"]
    assert isinstance(domains, list)
    finish(changed(**SMALL, domains=[domains[0] | {"min_weight": 0.1}, *domains[1:]]), store)
    assert len(store.revisions(store.searches()[0].id)) == 2


def test_a_larger_budget_lets_a_finished_search_go_on(store: Store) -> None:
    finish(changed(**SMALL), store)
    before = len(trials(store))
    finish(changed(**SMALL | {"budget_flops": 1.8e14}), store)
    assert len(trials(store)) > before
    spent = sum(trial.charged_flops for trial in trials(store))
    assert 1.2e14 < spent <= 1.8e14


def test_a_revised_objective_gets_a_recommendation_and_a_proof_of_its_own(store: Store) -> None:
    finish(changed(**SMALL | {"strategy": {"name": "bayesian"}}), store)
    first = store.recommendation(store.searches()[0].id)
    revised = SMALL | {"budget_flops": 2.2e14, "strategy": {"name": "bayesian"}, "objective": {"weights": {"code": 1}}}
    finish(changed(**revised), store)
    second = store.recommendation(store.searches()[0].id)
    assert first is not None
    assert second is not None
    assert second.payload["mixture"]["code"] > first.payload["mixture"]["code"]
    assert second.payload["proof"]["rows"][0]["seeds"] == 2


def test_a_search_ends_before_its_budget_where_no_trial_is_expected_to_gain_enough(store: Store) -> None:
    strategy = {"stop_below": 0.05, "natural_seeds": 2, "spread": 4}
    config = changed(budget_flops=3e14, strategy=strategy, proof={"seeds": 2})
    news = [line for snapshot in finish(config, store) for line in snapshot.news]
    assert any("before its budget: no other is expected to gain 0.05 bits per byte" in line for line in news)
    search = store.searches()[0]
    assert search.state == "finished"
    found = store.recommendation(search.id)
    assert found is not None
    assert found.payload["proof"]["rows"][0]["seeds"] == 2
    assert sum(trial.charged_flops for trial in trials(store)) < 0.7 * config.budget_flops
    before = trials(store)
    finish(config, store)
    assert trials(store) == before


def test_a_search_without_a_proof_ends_with_its_recommendation(store: Store) -> None:
    finish(changed(**SMALL | {"proof": False}), store)
    found = store.recommendation(store.searches()[0].id)
    assert found is not None
    assert found.payload["proof"] is None
    assert not any(trial.purpose == "proof" for trial in trials(store))


def test_a_budget_that_pays_not_even_for_the_proof_is_refused_with_its_numbers(store: Store) -> None:
    with pytest.raises(SearchError, match=r"1e\+13"):
        finish(changed(**SMALL | {"budget_flops": 1e13}), store)
    assert not trials(store)


def test_one_domain_has_one_mixture_and_every_trial_its_own_seed(store: Store) -> None:
    domains = load(CONFIG).resolved()["domains"]
    assert isinstance(domains, list)
    finish(changed(**SMALL | {"budget_flops": 4e13, "domains": domains[:1], "proof": False}), store)
    seeds = [(trial.fidelity, trial.seed) for trial in trials(store) if trial.purpose != "expert"]
    assert len(seeds) == len(set(seeds))
    assert len(seeds) > 4


def test_the_same_runs_are_not_trained_twice_across_searches(store: Store) -> None:
    finish(changed(**SMALL), store)
    finish(changed(**SMALL, name="again"), store)
    again = store.trials(store.searches()[1].id)
    assert all(not store.attempts(trial.id) for trial in again if trial.purpose == "expert")
    assert sum(t.charged_flops for t in again) == pytest.approx(sum(t.charged_flops for t in trials(store)))


class TornOnce(LocalWorkers):
    """Workers that train for real and lose every training once, in its middle."""

    def __init__(self) -> None:
        super().__init__(self.tear)
        self.steps: dict[int, list[int]] = {}

    def tear(self, job: Job, report: Callable[[JobProgress], None]) -> Outcome:
        first = job.key not in self.steps
        seen = self.steps.setdefault(job.key, [])

        def watch(progress: JobProgress) -> None:
            seen.append(progress.tokens)
            if first and progress.tokens >= job.tokens // 2:
                raise KeyboardInterrupt

        try:
            return run_job(job, watch)
        except KeyboardInterrupt:
            return Outcome(key=job.key, state="lost", error="worker lost")


def test_a_lost_training_goes_on_from_its_checkpoint_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    config = load(write_search(tmp_path, budget=1.5e9))
    plain = config.resolved() | {"experts": None, "proof": False, "strategy": {"name": "random", "natural_seeds": 1}}
    found = {}
    torn_workers = TornOnce()
    places: dict[str, Workers] = {"torn": torn_workers, "whole": LocalWorkers()}
    for name, workers in places.items():
        changed = SearchConfig.from_plain(
            plain | {"name": name, "workers": {"kind": "local", "checkpoint_s": 1e-9}}, root=config.root
        )
        folders = Folders.beside(str(tmp_path / f"{name}.db"))
        with Store(tmp_path / f"{name}.db") as store:
            text = prepare_text(changed, folders, report=lambda _: None)
            setting = Setting.of(changed, text, artifacts=str(tmp_path / name))
            with driving(setting, store=store, workers=workers, elapsed_s=0.0) as driver:
                list(driver.drive())
            found[name] = trials(store)
    torn, whole = found["torn"], found["whole"]
    assert [trial.losses for trial in torn] == [trial.losses for trial in whole]
    assert {trial.attempts for trial in torn} == {2}
    assert not list((tmp_path / "torn").rglob("training.pt*"))
    # The point at which it was torn was told before it was saved; nothing else is told twice.
    assert all(len(steps) == len(set(steps)) + 1 for steps in torn_workers.steps.values())
