"""What fits on a cluster, by counting; and on a small one of Ray's, how jobs end that do not end well."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mixopt import ray_workers
from mixopt.errors import WorkerError
from mixopt.ray_room import Demand, check_demands, room
from mixopt.ray_workers import RayWorkers
from mixopt.workers import Job, JobProgress, Outcome, Sample, Trainer
from proxies.pace import ALONE, COUNTS
from proxies.parallel import Ranks, joined

Report = Callable[[JobProgress], None]
PATIENCE_S = 180.0  # for processes to start beside all else that runs here


@pytest.mark.parametrize(
    ("nodes", "resources", "slots"),
    [
        ([{"CPU": 16.0, "GPU": 1.0}], {"CPU": 1.0, "GPU": 1.0}, 1),
        ([{"CPU": 16.0, "GPU": 4.0}], {"CPU": 1.0, "GPU": 0.5}, 8),
        ([{"CPU": 16.0, "GPU": 1.0}], {"CPU": 0.1, "GPU": 0.1}, 10),
        ([{"CPU": 16.0}], {"CPU": 3.0, "GPU": 0.0}, 5),
        ([{"CPU": 3.0}, {"CPU": 3.0}], {"CPU": 2.0, "GPU": 0.0}, 2),  # no job is cut in two
        ([{"CPU": 8.0, "fast": 2.0}, {"CPU": 8.0}], {"CPU": 1.0, "fast": 1.0}, 2),
        ([{"CPU": 1.0}], {"CPU": 2.0}, 1),
    ],
)
def test_as_many_jobs_run_at_once_as_fit(
    nodes: list[Mapping[str, float]], resources: Mapping[str, float], slots: int
) -> None:
    assert room(nodes, Demand(resources=resources)) == slots


def test_a_rung_that_fits_on_no_node_is_refused_with_what_the_nodes_have() -> None:
    nodes = [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}, {"CPU": 8.0}]
    check_demands({"large": Demand(resources={"CPU": 2.0, "GPU": 1.0})}, nodes)
    small, large = Demand(resources={"CPU": 1.0}), Demand(resources={"CPU": 4.0, "GPU": 1.0})
    with pytest.raises(WorkerError, match="'large' asks for 4 CPU, 1 GPU, for which no node has room") as error:
        check_demands({"small": small, "large": large}, nodes)
    assert "they have 8 CPU, 0 GPU; 2 CPU, 1 GPU; lower" in str(error.value)
    with pytest.raises(WorkerError, match="1 CPU, 1 TPU"):
        check_demands({"small": Demand(resources={"CPU": 1.0, "TPU": 1.0})}, nodes)


def test_processes_of_one_training_may_lie_on_several_nodes() -> None:
    nodes = [{"CPU": 3.0}, {"CPU": 3.0}]
    assert room(nodes, Demand(resources={"CPU": 1.0}, processes=3)) == 2
    check_demands({"large": Demand(resources={"CPU": 1.5}, processes=4)}, nodes)
    with pytest.raises(WorkerError, match="asks for 4 processes of 2 CPU each"):
        check_demands({"large": Demand(resources={"CPU": 2.0}, processes=4)}, nodes)


JOB = Job(
    key=0,
    recipe=[(1.0, {"a": 1.0})],
    proxy={},
    tokens=1,
    seed=0,
    corpus="",
    part="search",
    rung="large",
    slice_tokens=1,
    folder="",
    checkpoint="",
)


def trainer() -> Trainer:
    """Return a trainer that does what the job's `folder` says; made here, so that Ray sends it by value."""

    def together(job: Job, ranks: Ranks) -> Outcome:
        try:
            with joined(ranks) as group:
                if ranks.rank and job.folder == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if job.folder == "sleep":
                    time.sleep(600.0)
                total = group.sum(torch.tensor([float(ranks.rank + 1)]))
        except RuntimeError as error:
            return Outcome(key=job.key, state="failed", error=str(error))
        return Outcome(key=job.key, state="completed", losses={"x": float(total)})

    def train(job: Job, report: Report) -> Outcome:
        if job.ranks is not None:
            return together(job, job.ranks)
        if job.folder == "kill":
            time.sleep(0.5)  # for its node to have been told
            os.kill(os.getpid(), signal.SIGKILL)
        if job.folder == "sleep":
            time.sleep(600.0)
        report(JobProgress(key=job.key, tokens=1, loss=2.5))
        return Outcome(key=job.key, state="completed", losses={"x": float(job.key)}, details={"a": 1})

    return train


@pytest.fixture(scope="module")
def workers() -> Iterator[RayWorkers]:
    made = RayWorkers(trainer(), address="local", slots=2, demands={"large": Demand(resources={"CPU": 1.0})})
    yield made
    made.close()


def outcomes(workers: RayWorkers, count: int) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < deadline:
        found |= {event.key: event for event in workers.wait(0.2) if isinstance(event, Outcome)}
    return found


def test_an_outcome_comes_after_its_progress_and_names_the_node(workers: RayWorkers) -> None:
    workers.submit(replace(JOB, key=3))
    events: list[Outcome | JobProgress] = []
    while not any(isinstance(event, Outcome) for event in events):
        events += workers.wait(1.0)
    progress, outcome = events
    assert progress == JobProgress(key=3, tokens=1, loss=2.5)
    assert isinstance(outcome, Outcome)
    assert outcome.losses == {"x": 3.0}
    assert (outcome.details, outcome.node) == ({"a": 1}, os.uname().nodename)


def test_a_killed_worker_is_a_lost_job_and_the_others_go_on(workers: RayWorkers) -> None:
    workers.submit(replace(JOB, key=1, folder="kill"))
    workers.submit(replace(JOB, key=2))
    found = outcomes(workers, 2)
    assert (found[1].state, found[2].state) == ("lost", "completed")
    assert f"worker lost on {os.uname().nodename}" in (found[1].error or "")


def test_jobs_of_one_task_end_each_by_itself_and_are_lost_together(workers: RayWorkers) -> None:
    workers.submit(replace(JOB, key=20), replace(JOB, key=21))  # no proxies: they train one after another
    found = outcomes(workers, 2)
    assert {key: outcome.losses["x"] for key, outcome in found.items()} == {20: 20.0, 21: 21.0}
    workers.submit(replace(JOB, key=22), replace(JOB, key=23, folder="kill"))
    assert {key: outcome.state for key, outcome in outcomes(workers, 2).items()} == {22: "lost", 23: "lost"}


def test_the_pace_of_trainings_is_measured_on_the_cluster(workers: RayWorkers) -> None:
    tiny = {"layers": 1, "width": 8, "heads": 1, "sequence_tokens": 8, "batch_sequences": 1}
    found = workers.pace(Sample(rung="large", proxy=tiny, vocabulary=16))
    assert tuple(found.step_s) == COUNTS
    broken = Sample(rung="large", proxy={}, vocabulary=16)
    for _ in range(20):  # Ray would abort this process if what has just failed were cancelled
        assert workers.pace(broken) == ALONE


def test_a_measurement_that_takes_too_long_is_ended(workers: RayWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "PACE_S", 0.0)
    assert workers.pace(Sample(rung="large", proxy={}, vocabulary=16)) == ALONE


def test_a_cancelled_job_is_not_heard_of_and_its_company_goes_on(workers: RayWorkers) -> None:
    workers.submit(replace(JOB, key=24), replace(JOB, key=25))
    workers.cancel(24)
    assert list(outcomes(workers, 1)) == [25]
    assert workers.wait(0.5) == []


def test_a_job_that_hangs_is_ended_when_its_time_is_over(workers: RayWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "OVERTIME_S", 0.1)
    workers.submit(replace(JOB, key=4, folder="sleep", timeout_s=0.2))
    found = outcomes(workers, 1)[4]
    assert found.state == "failed"
    assert "took longer than the 0.2 s that `timeout_s` of rung 'large'" in (found.error or "")
    assert workers.wait(0.0) == []


def test_a_cancelled_job_is_not_heard_of_again_and_leaves_its_slot(workers: RayWorkers) -> None:
    workers.submit(replace(JOB, key=5, folder="sleep"))
    workers.submit(replace(JOB, key=6, folder="sleep"))
    time.sleep(0.3)
    for key in (5, 6):
        workers.cancel(key)
    workers.submit(replace(JOB, key=7))
    assert list(outcomes(workers, 1)) == [7]
    assert workers.wait(0.5) == []


def test_what_has_ended_is_there_without_waiting(workers: RayWorkers) -> None:
    workers.submit(replace(JOB, key=8))
    workers.submit(replace(JOB, key=9, folder="sleep"))
    deadline = time.monotonic() + PATIENCE_S
    found: list[Outcome] = []
    while not found and time.monotonic() < deadline:
        found = workers.finished()
    assert [outcome.key for outcome in found] == [8]
    workers.cancel(9)


def test_the_text_is_looked_for_on_every_node_before_a_job_goes_there(workers: RayWorkers, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    workers.submit(replace(JOB, key=10, corpus=str(tmp_path)))
    assert outcomes(workers, 1)[10].state == "completed"


def test_the_processes_of_a_job_find_each_other_and_give_their_places_back(workers: RayWorkers) -> None:
    for key in (11, 12):
        workers.submit(replace(JOB, key=key, processes=2))
        found = outcomes(workers, 1)[key]
        assert (found.state, found.losses) == ("completed", {"x": 3.0}), found.error


def test_a_cancelled_job_of_several_processes_gives_its_places_back(workers: RayWorkers) -> None:
    workers.submit(replace(JOB, key=14, processes=2, folder="sleep"))
    time.sleep(1.0)
    workers.cancel(14)
    workers.submit(replace(JOB, key=15, processes=2))
    assert list(outcomes(workers, 1)) == [15]


def test_a_job_one_of_whose_processes_was_killed_is_lost_and_not_failed(
    workers: RayWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "LAST_WORDS_S", 30.0)
    workers.submit(replace(JOB, key=13, processes=2, folder="kill"))
    found = outcomes(workers, 1)[13]
    assert found.state == "lost"
