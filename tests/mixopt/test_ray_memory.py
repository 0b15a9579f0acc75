"""A node short of memory: Ray ends the trainings there, and the search says so and does not go on for ever."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mixopt.config import SearchConfig, load
from mixopt.errors import SearchError
from mixopt.ray_room import Demand
from mixopt.ray_workers import RayWorkers
from mixopt.search import driver
from mixopt.search.launch import driving, prepare_text
from mixopt.search.setting import Setting
from mixopt.text import Folders
from mixopt.workers import Job, JobProgress, Outcome, Trainer
from store import Store

EXAMPLE = Path(__file__).parents[2] / "configs" / "command.yaml"


def sleeper() -> Trainer:
    """Return a trainer that would take minutes; made here, so that Ray sends it by value."""

    def train(job: Job, report: Callable[[JobProgress], None]) -> Outcome:
        import time

        time.sleep(300.0)
        return Outcome(key=job.key, state="completed")

    return train


@pytest.fixture
def starved(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayWorkers]:
    """Workers on a Ray whose nodes take 1 % of the memory for all there is."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    workers = RayWorkers(sleeper(), address="local", slots=1, demands={"small": Demand(resources={"CPU": 1.0})})
    yield workers
    workers.close()


def test_a_training_that_ray_ends_for_its_memory_is_tried_again_given_up_and_told(
    starved: RayWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "HOPELESS", 1)
    config = load(EXAMPLE)
    config = SearchConfig.from_plain(config.resolved() | {"experts": None}, root=config.root)
    folders = Folders.beside(str(tmp_path / "mixopt.db"))
    text = prepare_text(config, folders, report=lambda _: None)
    setting = Setting.of(config, text, artifacts=str(folders.artifacts))
    with Store(tmp_path / "mixopt.db") as store:
        with (
            pytest.raises(SearchError, match=r"OutOfMemoryError.*let rung 'small' occupy more"),
            driving(setting, store=store, workers=starved, elapsed_s=0.0) as running,
        ):
            list(running.drive())
        search = store.searches()[0]
        failed = next(trial for trial in store.trials(search.id) if trial.state == "failed")
        attempts = store.attempts(failed.id)
        assert [attempt.state for attempt in attempts] == ["lost", "lost", "failed"]
        assert all("OutOfMemoryError" in (attempt.error or "") for attempt in attempts)
        assert failed.charged_flops == pytest.approx(
            setting.flops("small", "search", setting.config.rung("small").tokens)
        )
        assert store.lease(search.id) is None
