"""Which trials train as one program, and how many: as many as is fastest where they train, by measuring.

Only trials that wait anyhow are packed: data experts, the opening, the proof. A strategy is asked for more at once than
there are slots only where the file says how many train together: what it would learn in between is worth more.
"""

from collections.abc import Mapping, Sequence
from math import ceil

from mixopt.search.setting import Setting
from mixopt.workers import Sample, Workers
from proxies.pace import Pace


def paces(setting: Setting, workers: Workers) -> dict[str, Pace]:
    """Return the pace of every rung whose trainings may have company, measured by `workers`.

    None of them where the file says how many train together, or something else than mixopt's proxies trains. A compiled
    program is one of so many models: company that comes and goes would have it compiled anew.
    """
    config = setting.config
    if config.command is not None or config.trained_outside or config.simulated is not None:
        return {}
    if config.workers.together is not None:
        return {}
    return {
        rung.name: workers.pace(
            Sample(rung=rung.name, proxy=rung.proxy, vocabulary=setting.text.vocabulary, cpus=rung.cpus)
        )
        for rung in config.rungs
        if rung.proxy is not None and rung.processes == 1 and not rung.model.compiled
    }


def most_together(setting: Setting, found: Mapping[str, Pace]) -> dict[str, int]:
    """Return how many trainings of each rung make up one program: as the file says, or as `found`; one elsewhere."""
    given = setting.config.workers.together
    own = {rung.name: rung.proxy is not None and rung.processes == 1 for rung in setting.config.rungs}
    return {
        name: (given if given is not None else found[name].count if name in found else 1) if fits else 1
        for name, fits in own.items()
    }


def told(found: Mapping[str, Pace]) -> list[str]:
    """Return what was measured, a line a rung."""
    return [
        f"trainings at rung {name}: {pace.count} as one program are {pace.gain:.2f} times as fast here as one after "
        "another, so those that wait train together"
        for name, pace in found.items()
        if pace.count > 1
    ]


def packs(rungs: Sequence[str], most: Mapping[str, int], *, slots: int, free: int) -> list[list[int]]:
    """Return which of the waiting trials, given by their rungs, start now: a program for each of `free` slots at most.

    In their order; those of a rung are shared out over all slots before programs grow to their most.
    """
    left = list(range(len(rungs)))
    share = {rung: ceil(rungs.count(rung) / slots) for rung in set(rungs)}
    found: list[list[int]] = []
    while left and len(found) < free:
        rung = rungs[left[0]]
        pack = [place for place in left if rungs[place] == rung][: min(most[rung], share[rung])]
        found.append(pack)
        left = [place for place in left if place not in pack]
    return found
