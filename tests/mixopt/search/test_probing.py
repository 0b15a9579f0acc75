"""Device-hours to FLOPs: what short trainings say of whole ones, what is remembered, and what a search keeps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mixopt.command_workers import command_text
from mixopt.config import SearchConfig, load
from mixopt.errors import ConfigError, SearchError
from mixopt.search.launch import find_or_create, prepare_text
from mixopt.search.probing import measured, with_recorded
from mixopt.search.setting import Setting
from mixopt.search.throughput import counted
from mixopt.simulated_workers import SimulatedWorkers, simulated_text
from mixopt.text import Folders
from mixopt.workers import Job, JobProgress, LocalWorkers, Outcome
from store import Store
from tests.cli.small_search import write_search

CONFIG = Path(__file__).parents[3] / "configs" / "simulated.yaml"
PACE = {"small": 1e5, "large": 5e4}  # tokens a second
REST_S = 3.0  # of a training, however long it is


def setting_of(**sections: object) -> Setting:
    plain = load(CONFIG).resolved() | {"budget_flops": None, "budget_device_hours": 2} | sections
    config = SearchConfig.from_plain(plain)
    return Setting.of(config, simulated_text(config), artifacts="")


class Paced(SimulatedWorkers):
    """Workers that train so many tokens a second, and take their time besides."""

    def __init__(self, config: SearchConfig, *, device: str = "a device") -> None:
        super().__init__(config)
        self.device = device
        self.jobs: list[Job] = []
        self.waiting: list[Job] = []

    def submit(self, *jobs: Job) -> None:
        self.jobs += jobs
        self.waiting += jobs

    def wait(self, timeout_s: float) -> list[Outcome | JobProgress]:
        job = self.waiting.pop(0)
        pace = PACE[job.rung]
        return [
            JobProgress(key=job.key, tokens=1, loss=1.0),
            Outcome(
                key=job.key,
                state="completed",
                curve=[(job.tokens, 1.0)],
                elapsed_s=REST_S + job.tokens / pace,
                details={"device_name": self.device, "tokens_per_s": pace},
            ),
        ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "mixopt.db") as opened:
        yield opened


def silent(_: str) -> None:
    """Say nothing."""


def test_the_throughput_is_a_whole_trials_and_is_remembered_for_the_device_and_the_proxy(store: Store) -> None:
    setting = setting_of()
    workers = Paced(setting.config)
    found = measured(setting, workers, store, told=silent)
    ladder = setting.problem.ladder
    assert found.rungs["small"] == pytest.approx(ladder["small"].cost_flops / (REST_S + 500_000 / 1e5))
    assert found.rungs["large"] == pytest.approx(ladder["large"].cost_flops / (REST_S + 2_000_000 / 5e4))
    assert len(workers.jobs) == 2 * (1 + workers.slots)
    assert max(job.tokens for job in workers.jobs if job.rung == "small") == pytest.approx(
        4e5, rel=0.01
    )  # four seconds
    again = Paced(setting.config)
    assert measured(setting, again, store, told=silent).rungs == found.rungs
    assert len(again.jobs) == 2  # the device is looked at, nothing is measured
    measured(setting, elsewhere := Paced(setting.config, device="another"), store, told=silent)
    assert len(elsewhere.jobs) == len(workers.jobs)


def test_half_of_a_device_does_twice_as_much_a_device(store: Store) -> None:
    rungs = load(CONFIG).resolved()["ladder"]
    assert isinstance(rungs, list)
    half = setting_of(ladder=[rung | {"gpus": 0.5} for rung in rungs])
    whole = setting_of(ladder=[rung | {"gpus": 1} for rung in rungs])
    found = [measured(each, Paced(each.config), store, told=silent).rungs["small"] for each in (half, whole)]
    assert found[0] == pytest.approx(2.0 * found[1])


def test_a_resumed_search_keeps_its_flops_and_more_hours_are_counted_alike(store: Store) -> None:
    setting = setting_of()
    with pytest.raises(ConfigError, match="not known in FLOPs"):
        find_or_create(store, setting)
    known = counted(setting, measured(setting, Paced(setting.config), store, told=silent))
    find_or_create(store, known)
    assert with_recorded(setting.config, store).budget_flops == known.config.budget_flops
    assert with_recorded(setting.config, store).digest() == known.config.digest()
    more = with_recorded(setting_of(budget_device_hours=3).config, store)
    assert more.budget_flops == pytest.approx(1.5 * known.config.budget_flops)


def test_a_trainer_of_the_users_own_is_not_guessed_at(store: Store) -> None:
    config = load(CONFIG.with_name("command.yaml"))
    setting = Setting.of(config, command_text(config), artifacts="")
    with pytest.raises(SearchError, match="state `throughput_flops`"):
        measured(setting, LocalWorkers(), store, told=silent)


def test_a_real_rung_is_measured_by_training_it(tmp_path: Path, store: Store) -> None:
    config = load(write_search(tmp_path))
    text = prepare_text(config, Folders.beside(str(tmp_path / "x.db")), report=silent)
    setting = Setting.of(config, text, artifacts=str(tmp_path / "artifacts"))
    found = measured(setting, LocalWorkers(), store, told=silent)
    assert set(found.rungs) == {rung.name for rung in config.rungs}
    assert all(1e5 < speed < 1e14 for speed in found.rungs.values())
    assert found.source.startswith("measured on ")
