"""Thinking apart from the driver: the same thoughts, slots that stay busy, and what happens where it dies."""

import os
import time
from pathlib import Path

import pytest

from mixopt.config import SearchConfig, load
from mixopt.errors import BrainError
from mixopt.evidence import Evidence, Experts, History, Observation, Proposal, Purse
from mixopt.optimize.strategies import STRATEGIES
from mixopt.search.brain import Brain, Fault, Question
from mixopt.search.launch import driving, prepare_text
from mixopt.search.setting import Setting
from mixopt.simulated_workers import SimulatedWorkers, simulated_law
from mixopt.text import Folders
from mixopt.workers import Job, JobProgress, Outcome
from proxies.config import ProxyConfig
from store import Store
from tests.mixopt.search.strange_strategies import Drawing

CONFIG = Path(__file__).parents[3] / "configs" / "simulated.yaml"
LONG_S = 120.0  # for a process to start on a busy machine


def setting_of(**sections: object) -> Setting:
    plain = load(CONFIG).resolved() | {"experts": None, "proof": False} | sections
    config = SearchConfig.from_plain(plain)
    text = prepare_text(config, Folders.beside("mixopt.db"), report=lambda _: None)
    return Setting.of(config, text, artifacts="")


def thought_of(brain: Brain, question: Question) -> list[Proposal]:
    brain.ask(question)
    until_s = time.monotonic() + LONG_S
    while (found := brain.answer(1.0)) is None:
        assert time.monotonic() < until_s
    return found


def apart(question: Question) -> Brain:
    """Return a brain whose process is ready."""
    brain = Brain(patience_s=0.0)
    thought_of(brain, question)
    until_s = time.monotonic() + LONG_S
    while not brain.is_apart:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    return brain


def seen_so_far(setting: Setting, count: int) -> Evidence:
    """Return what the law of `setting` says of mixtures drawn at the cheap rung, and of its experts."""
    law, problem = simulated_law(setting.config), setting.problem
    rung = setting.config.rungs[0]
    parameters = ProxyConfig.from_plain(rung.proxy or {}).active_parameters(256)
    drawn = Drawing(problem=problem).propose(Evidence(), n=count, seed=3)
    observations = [
        Observation(
            trial=number,
            mixture=proposal.mixture,
            fidelity=rung.name,
            seed=0,
            losses=law.losses(proposal.mixture, parameters=parameters, tokens=rung.tokens, seed=0),
            cost_flops=1.0,
        )
        for number, proposal in enumerate(drawn)
    ]
    ensemble = law.ensemble(parameters=parameters, tokens=rung.tokens)
    purse = Purse(total_flops=3e14, left_flops=2e14)
    return Evidence(history=History(observations=tuple(observations)), experts=Experts(ensemble=ensemble), purse=purse)


def test_what_is_thought_apart_is_what_would_be_thought_here_bit_for_bit() -> None:
    setting = setting_of(strategy={"natural_seeds": 1, "spread": 1})
    strategy = STRATEGIES["bayesian"](setting.problem)
    question = Question(strategy=strategy, evidence=seen_so_far(setting, 9), n=6, seed=5)
    brain = apart(Question(strategy=strategy, evidence=Evidence(), n=1, seed=0))
    try:
        found = thought_of(brain, question)
    finally:
        brain.close()
    assert found == strategy.propose(question.evidence, n=6, seed=5)
    assert found[-1].predicted  # a model was asked, the ensemble among its members


def test_a_process_that_died_is_replaced_and_asked_again_and_driver_and_child_are_two(tmp_path: Path) -> None:
    setting, marks = setting_of(), tmp_path / "marks"
    calm = Drawing(problem=setting.problem)
    brain = apart(Question(strategy=calm, evidence=Evidence(), n=1, seed=0))
    told: list[Fault | str] = []
    brain.told = told.append
    dying = Drawing(problem=setting.problem, fatal=str(marks))
    try:
        found = thought_of(brain, Question(strategy=dying, evidence=Evidence(), n=2, seed=7))
    finally:
        brain.close()
    assert found == calm.propose(Evidence(), n=2, seed=7)
    assert [fault.line for fault in told if isinstance(fault, Fault)] == ["its process died, exit code 9"]
    assert int(marks.read_text(encoding="utf-8")) != os.getpid()


def test_a_brain_that_thinks_is_closed_at_once() -> None:
    setting = setting_of()
    brain = apart(Question(strategy=Drawing(problem=setting.problem), evidence=Evidence(), n=1, seed=0))
    brain.ask(Question(strategy=Drawing(problem=setting.problem, pause_s=600.0), evidence=Evidence(), n=1, seed=0))
    assert brain.answer(0.1) is None
    began_s = time.monotonic()
    brain.close()
    assert time.monotonic() - began_s < 3.0


def test_a_strategy_that_always_fails_ends_the_search_with_what_ended_on_record(store: Store, tmp_path: Path) -> None:
    setting = setting_of()
    with pytest.raises(BrainError, match="twice on the same question, with: ValueError: no thought came"):
        fail_after_four(setting, store, str(tmp_path / "marks"))
    search = store.searches()[0]
    assert search.state == "failed"
    states = [trial.state for trial in store.trials(search.id)]
    assert states.count("completed") >= 4
    assert "running" not in states
    faults = [str(each.provenance["brain"]) for each in store.sessions(search.id) if "brain" in each.provenance]
    assert len(faults) == 2
    assert all("Traceback" in fault for fault in faults)


def fail_after_four(setting: Setting, store: Store, marks: str) -> None:
    with driving(setting, store=store, workers=SimulatedWorkers(setting.config), elapsed_s=0.0) as driver:
        driver.strategy = Drawing(problem=setting.problem)
        for snapshot in driver.drive():
            if snapshot.counts["completed"] == 4:  # what was handed out since goes on
                driver.strategy = Drawing(problem=setting.problem, fatal=marks, last=0, always=True)


class Timed(SimulatedWorkers):
    """Slots on a virtual clock that also moves where nothing ends; `idle_s` counts free slots times seconds."""

    def __init__(self, config: SearchConfig) -> None:
        super().__init__(config)
        self.idle_s = 0.0
        self.taken: list[tuple[float, float]] = []

    def submit(self, job: Job) -> None:
        super().submit(job)
        self.taken.append((self._now_s, self.idle_s))

    def pass_by(self, seconds: float) -> None:
        """Let time pass in which nobody takes what ends."""
        now_s = self._now_s + seconds
        self.idle_s += seconds * (self.slots - len(self._ends))
        self.idle_s += sum(now_s - max(end_s, self._now_s) for end_s in self._ends if end_s < now_s)
        self._now_s = now_s

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        now_s = max(self._now_s, min([self._now_s + timeout_s, *self._ends]))
        self.pass_by(now_s - self._now_s)
        found = super().wait(0.0) if min(self._ends, default=now_s + 1.0) <= now_s else []
        self._now_s = now_s  # not when it ended, but when it was heard of
        return found

    @property
    def busy(self) -> int:
        """How many slots are."""
        return len(self._ends)

    @property
    def idle(self) -> float:
        """The share of the slots' time that they were idle, until the last trial was handed out."""
        last_s, idle_s = self.taken[-1]
        return idle_s / (last_s * self.slots)


class Pondering(Brain):
    """A brain that takes `takes_s` of the workers' virtual time for every question, apart or not."""

    def __init__(self, workers: Timed, takes_s: float, *, apart: bool) -> None:
        super().__init__(clock=workers.clock)
        self.workers, self.takes_s, self.apart = workers, takes_s, apart
        self.asked: Question | None = None
        self.ready_s = 0.0

    @property
    def is_apart(self) -> bool:
        return self.apart

    def ask(self, question: Question) -> None:
        self.asked, fits = question, bool(question.evidence.history.observations)
        self.ready_s = self.workers.clock() + self.takes_s * fits

    def answer(self, wait_s: float) -> list[Proposal] | None:
        assert self.asked is not None
        if not self.apart:  # the driver does nothing else meanwhile
            self.workers.pass_by(self.ready_s - self.workers.clock())
        elif not self.workers.busy:  # else it is the workers that are waited for
            self.workers.pass_by(min(wait_s, max(0.0, self.ready_s - self.workers.clock())))
        if self.workers.clock() < self.ready_s:
            return None
        self.thought_s = self.takes_s
        asked = self.asked
        return asked.strategy.propose(asked.evidence, n=asked.n, seed=asked.seed)


def idle_share(store: Store, *, apart: bool, takes: float, slots: int) -> float:
    """Return the idle share of slots in 60 trials, where a thought, once there is a fit, takes `takes` of a trial."""
    cost_flops = setting_of().problem.ladder.cheapest.cost_flops
    simulated = setting_of().config.resolved()["simulated"]
    assert isinstance(simulated, dict)
    setting = setting_of(
        simulated=simulated | {"device_flops": cost_flops},  # a second a trial
        name=f"{apart}-{takes}-{slots}",
        budget_flops=60.5 * cost_flops,
        workers={"kind": "simulated", "slots": slots},
    )
    workers = Timed(setting.config)
    brain = Pondering(workers, takes, apart=apart)
    with driving(setting, store=store, workers=workers, elapsed_s=0.0, brain=brain) as driver:
        driver.strategy = Drawing(problem=setting.problem)
        for _ in driver.drive():
            if len(workers.taken) == 60:
                break
    return workers.idle


@pytest.mark.parametrize(("takes", "slots"), [(0.4, 8), (0.9, 4)])
def test_slots_are_idle_for_less_than_a_twentieth_of_sixty_trials(store: Store, takes: float, slots: int) -> None:
    assert idle_share(store, apart=True, takes=takes, slots=slots) < 0.05


def test_thinking_in_the_drivers_process_leaves_slots_idle(store: Store) -> None:
    assert idle_share(store, apart=False, takes=0.4, slots=4) > 0.1
