"""The throughput of the devices that trainings run on, by short trainings there, remembered in the store.

Every slot trains at once, for trainings side by side slow each other down.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

from mixopt.config import SearchConfig
from mixopt.errors import SearchError
from mixopt.search.setting import Setting, content_hash
from mixopt.search.throughput import Throughput, devices
from mixopt.sections import RungSection
from mixopt.text import Say
from mixopt.workers import Job, Outcome, Workers
from store import Store

FIRST_STEPS = 4  # that tell the device, and about how fast it is
PROBE_S = 4.0  # of training at a rung; a guess of what steadies it
LEAST_STEPS = 8
EVALUATION_SHARE = 3.0  # a forward pass costs a third of a training step
POLL_S = 0.5


def with_recorded(config: SearchConfig, store: Store) -> SearchConfig:
    """Return `config` with the throughput that its search counts with, where it has begun in device-hours."""
    found = store.find_search(config.name)
    said = None if found is None else found.config.get("throughput_flops")
    return config if config.counts_flops or said is None else config.with_throughput(float(str(said)))


def measured(setting: Setting, workers: Workers, store: Store, *, told: Say) -> Throughput:
    """Return what a device does at every rung: remembered of this device and this proxy, or else measured now.

    Raises:
        SearchError: nobody but the user can know it (a command trains, or somebody else), or a training failed.
    """
    config = setting.config
    if config.command is not None or config.trained_outside:
        raise SearchError(
            "mixopt cannot train for a moment what your own trainer trains; state `throughput_flops`, the FLOPs a "
            "second of one device, or give --throughput to `mixopt plan`"
        )
    rungs, sources = {}, []
    for rung in config.rungs:
        told(f"rung {rung.name}: a short training, to see how fast it is here")
        (first,) = _trained(workers, _jobs(setting, rung, steps=FIRST_STEPS, count=1))
        device, identity = str(first.details["device_name"]), _identity(setting, rung, slots=workers.slots)
        remembered = store.throughput(device=device, identity=identity)
        if remembered is None:
            batch_tokens = rung.model.batch_tokens
            steps = int(PROBE_S * _tokens_per_s(first) / batch_tokens)
            steps = min(max(steps, LEAST_STEPS), rung.tokens // batch_tokens)
            probes = _trained(workers, _jobs(setting, rung, steps=steps, count=workers.slots))
            remembered = median(_flops_per_s(setting, rung, probe) for probe in probes)
            store.add_throughput(device=device, identity=identity, flops_per_s=remembered)
            sources.append(f"measured on {device}")
        else:
            sources.append(f"measured before on {device}")
        rungs[rung.name] = remembered
        told(f"rung {rung.name}: {remembered:.3g} FLOPs a second of one device, {sources[-1]}")
    return Throughput(rungs=rungs, source=" and ".join(dict.fromkeys(sources)))


def _jobs(setting: Setting, rung: RungSection, *, steps: int, count: int) -> list[Job]:
    """Return `count` short trainings of `rung` on the natural mixture; what it starts from is left out."""
    folder = f"{setting.artifacts}/throughput-{uuid.uuid4().hex}"
    proxy = {key: value for key, value in (rung.proxy or {}).items() if key != "init"}
    first = Job(
        key=-1,
        recipe=[(1.0, dict(setting.problem.natural))],
        proxy=proxy,
        tokens=min(steps * rung.model.batch_tokens, rung.tokens),
        seed=0,
        corpus=setting.text.folder,
        part="search",
        rung=rung.name,
        slice_tokens=rung.tokens,
        folder=folder,
        checkpoint=f"{folder}/checkpoint",
        checkpoint_s=float("inf"),
        target_tokens=setting.config.target.tokens if setting.config.target else None,
        cpus=rung.cpus,
        gpus=rung.gpus,
        resources=rung.resources,
        processes=rung.processes,
    )
    return [replace(first, key=-1 - number, seed=number) for number in range(count)]


def _trained(workers: Workers, jobs: Sequence[Job]) -> list[Outcome]:
    """Return what came of `jobs`, trained side by side."""
    for job in jobs:
        workers.submit(job)
    found: list[Outcome] = []
    while len(found) < len(jobs):
        found += [event for event in workers.wait(POLL_S) if isinstance(event, Outcome)]
    for failed in _failures(found):
        raise SearchError(
            f"a short training of rung {jobs[0].rung!r} failed, with: {(failed.error or 'no reason').splitlines()[0]}; "
            "mend it, or state `throughput_flops`"
        )
    return found


def _failures(outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """Yield what did not train; one that seems to diverge after a few steps has."""
    return (outcome for outcome in outcomes if outcome.state not in ("completed", "diverged"))


def _tokens_per_s(probe: Outcome) -> float:
    return float(str(probe.details["tokens_per_s"]))


def _flops_per_s(setting: Setting, rung: RungSection, probe: Outcome) -> float:
    """Return what a device does at `rung`: a whole trial's FLOPs by the seconds that it would take.

    These are the probe's, with the training alone as many times as long.
    """
    pace, done = _tokens_per_s(probe), probe.curve[-1][0]
    if probe.state == "completed":
        rest_s = probe.elapsed_s - done / pace
    else:  # nothing was evaluated
        rest_s = setting.text.evaluation_tokens["search"] / (EVALUATION_SHARE * pace)
    trial_s = rest_s + rung.tokens / pace
    return setting.problem.ladder[rung.name].cost_flops / (trial_s * devices(rung))


def _identity(setting: Setting, rung: RungSection, *, slots: int) -> str:
    """Return what names a rung's proxy and what a trial of it does, beside the device."""
    occupied = rung.model_dump(mode="json", include={"tokens", "proxy", "cpus", "gpus", "processes"})
    text = setting.text
    read = {"vocabulary": text.vocabulary, "evaluation_tokens": text.evaluation_tokens["search"]}
    return content_hash(occupied | read | {"slots": slots})
