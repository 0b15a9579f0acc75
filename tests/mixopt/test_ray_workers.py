"""What fits on a cluster, by counting; the workers themselves run in the end-to-end tests."""

import pytest

from mixopt.errors import WorkerError
from mixopt.ray_workers import check_resources, room
from mixopt.workers import Job


def job(*, cpus: float, gpus: float) -> Job:
    return Job(
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
        cpus=cpus,
        gpus=gpus,
    )


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "slots"),
    [
        ({"CPU": 16.0, "GPU": 1.0}, 1.0, 1.0, 1),
        ({"CPU": 16.0, "GPU": 4.0}, 1.0, 0.5, 8),
        ({"CPU": 16.0}, 3.0, 0.0, 5),
        ({"CPU": 1.0}, 2.0, 0.0, 1),
    ],
)
def test_as_many_jobs_run_at_once_as_fit(resources: dict[str, float], cpus: float, gpus: float, slots: int) -> None:
    assert room(resources, cpus=cpus, gpus=gpus) == slots


def test_a_job_that_fits_on_no_node_is_refused_with_what_the_nodes_have() -> None:
    with pytest.raises(WorkerError, match="'large' asks for 4 CPUs and 1 GPUs") as error:
        check_resources(job(cpus=4.0, gpus=1.0), [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}])
    assert "8 CPUs and 0 GPUs" in str(error.value)
    check_resources(job(cpus=2.0, gpus=1.0), [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}])
