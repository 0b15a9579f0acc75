"""Trials that train as one program: which, and that each ends by itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from mixopt.config import SearchConfig, load
from mixopt.search.launch import driving, prepare_text
from mixopt.search.packing import most_together, paces, packs, told
from mixopt.search.setting import Setting
from mixopt.text import Folders
from mixopt.workers import Job, JobProgress, LocalWorkers, run_job, run_jobs
from proxies.pace import Pace
from store import Store, Trial
from tests.cli.small_search import write_search

EXACT = ", optimizer: adamw, precision: float32, learning_rate: 0.01"


@pytest.mark.parametrize(
    ("rungs", "slots", "free", "expected"),
    [
        ("sssssss", 2, 2, [[0, 1, 2, 3], [4, 5, 6]]),  # shared out over the slots
        ("sssssss", 1, 1, [[0, 1, 2, 3]]),  # no more than train fast together
        ("lslss", 3, 3, [[0], [1], [2]]),
        ("slsls", 2, 2, [[0, 2], [1]]),  # a rung alone in a program
        ("ssss", 2, 1, [[0, 1]]),
        ("s", 2, 2, [[0]]),
        ("", 2, 2, []),
    ],
)
def test_trials_of_a_rung_are_shared_out_over_slots(
    rungs: str, slots: int, free: int, expected: list[list[int]]
) -> None:
    assert packs(list(rungs), {"s": 4, "l": 1}, slots=slots, free=free) == expected


class Measured(LocalWorkers):
    """Workers whose paces are given."""

    def pace(self, sample: object) -> Pace:
        return Pace(step_s={1: 1.0, 4: 0.5})


def search(folder: Path, together: int | None) -> tuple[list[Trial], list[dict[str, object]], dict[str, object]]:
    """The trials of a real search on local workers, the details of their runs, and what its driver recorded."""
    folder.mkdir()
    config = load(write_search(folder, budget=3.5e9, routed=EXACT))
    plain = config.resolved() | {"proof": False, "strategy": {"name": "random"}}
    config = SearchConfig.from_plain(plain | {"workers": {"kind": "local", "together": together}}, root=config.root)
    with Store(folder / "mixopt.db") as store:
        text = prepare_text(config, Folders.beside(str(folder / "mixopt.db")), report=lambda _: None)
        setting = Setting.of(config, text, artifacts=str(folder / "artifacts"))
        with driving(setting, store=store, workers=Measured(), elapsed_s=0.0) as driver:
            list(driver.drive())
        found = store.trials(store.searches()[0].id)
        details = [dict(store.run(trial.run_hash).details) for trial in found]
        return found, details, dict(store.sessions(store.searches()[0].id)[0].provenance)


def test_data_experts_train_together_and_end_as_they_do_alone(tmp_path: Path) -> None:
    alone, apart, _ = search(tmp_path / "alone", 1)
    packed, company, recorded = search(tmp_path / "packed", None)
    assert [each["together"] for each in company[:3]] == [3, 3, 3]
    assert {each["together"] for each in apart} == {1}
    assert recorded["together"]["small"] == {"together": 4, "gain": 2.0, "step_s": {"1": 1.0, "4": 0.5}}  # type: ignore[index]
    for found, expected in zip(packed[:3], alone[:3], strict=True):
        assert found.state == "completed"
        assert found.losses == pytest.approx(expected.losses, rel=1e-3)
        assert (found.charged_flops, found.run_hash) == (expected.charged_flops, expected.run_hash)
    assert [(t.weights, t.fidelity) for t in packed] == [(t.weights, t.fidelity) for t in alone]


def test_a_file_that_says_how_many_train_together_has_nothing_measured(tmp_path: Path) -> None:
    config = load(write_search(tmp_path))
    plain = config.resolved() | {"workers": {"kind": "local", "together": 5}}
    config = SearchConfig.from_plain(plain, root=config.root)
    text = prepare_text(config, Folders.beside(str(tmp_path / "mixopt.db")), report=lambda _: None)
    setting = Setting.of(config, text, artifacts="")
    assert paces(setting, LocalWorkers()) == {}
    assert most_together(setting, {}) == {"small": 5, "large": 5}
    (line,) = told({"small": Pace(step_s={1: 1.0, 4: 0.5}), "large": Pace(step_s={1: 1.0})})
    assert line.startswith("trainings at rung small: 4 as one program are 2.00 times as fast here")


def test_one_that_cannot_train_fails_alone(tmp_path: Path) -> None:
    config = load(write_search(tmp_path, routed=EXACT))
    text = prepare_text(config, Folders.beside(str(tmp_path / "mixopt.db")), report=lambda _: None)
    sound = Job(
        key=1,
        recipe=[(1.0, {"letters": 1.0})],
        proxy=config.rungs[0].proxy,
        tokens=1_024,
        seed=0,
        corpus=text.folder,
        part="search",
        rung="small",
        slice_tokens=1_024,
        folder="",
        checkpoint=str(tmp_path / "c1"),
    )
    lost = replace(sound, key=2, recipe=[(1.0, {"runes": 1.0})], checkpoint=str(tmp_path / "c2"))
    late = [replace(sound, key=key, timeout_s=1e-9, checkpoint=str(tmp_path / f"c{key}")) for key in (3, 4)]
    events: list[JobProgress] = []
    states = {each.key: each for each in run_jobs([sound, lost], events.append, trainer=run_job)}
    assert states[1].state == "completed"
    assert {event.key for event in events} == {1}
    assert states[2].state == "failed"
    assert "unknown domains ['runes']" in (states[2].error or "")
    assert [o.state for o in run_jobs(late, events.append, trainer=run_job)] == ["failed", "failed"]
