"""The plan of a search: its budget, its ladder, how long it takes, how sure it will be, and what it cannot tell."""

import math
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from time import monotonic

from threadpoolctl import threadpool_limits

from mixopt.plan.domains import DomainPlan, plan_domains
from mixopt.plan.ladder import RungPlan, advice, elapsed_s, plan_ladder
from mixopt.plan.rehearsal import Money, Rehearsal, Rehearsed, money
from mixopt.replay.score import Mean, plain
from mixopt.search.setting import Setting
from mixopt.search.throughput import Throughput

ENOUGH_S = 40.0  # by which rehearsals are to end, so that a plan is there within a minute
BETTER = 0.0  # bits per byte by which the recommended mixture must beat the natural one


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a search would buy, from rehearsals on simulated laws.

    regret: the recommended mixture's true loss above the least; gain: below the natural one's (bits per byte; at the
    target where there is one). beats_natural: the share of rehearsals in which it is below; its interval is of 90 %.
    elapsed_s: of the trainings, without the time in which nothing trains.
    """

    name: str
    budget_flops: float
    budget_device_hours: float | None
    throughput: Throughput
    slots: int
    money: Money
    rungs: tuple[RungPlan, ...]
    domains: tuple[DomainPlan, ...]
    advice: tuple[str, ...]
    rehearsals: int
    noise_sd: float
    regret: Mean
    gain: Mean
    beats_natural: float
    beats_natural_interval: tuple[float, float]
    elapsed_s: float
    time_limit_s: float | None
    at_target: bool

    def plain(self) -> dict[str, object]:
        """Return the outlook as JSON holds it."""
        return {
            "search": self.name,
            "budget_flops": self.budget_flops,
            "budget_device_hours": self.budget_device_hours,
            "throughput": self.throughput.plain(),
            "slots": self.slots,
            "money": asdict(self.money),
            "rungs": [rung.plain() for rung in self.rungs],
            "domains": [domain.plain() for domain in self.domains],
            "advice": list(self.advice),
            "elapsed_s": self.elapsed_s,
            "time_limit_s": self.time_limit_s,
            "simulated": {
                "rehearsals": self.rehearsals,
                "at": "target" if self.at_target else "top rung",
                "noise_sd": self.noise_sd,
                "regret": self.regret.value,
                "regret_se": plain(self.regret.error),
                "gain": self.gain.value,
                "gain_se": plain(self.gain.error),
                "beats_natural": self.beats_natural,
                "beats_natural_interval": list(self.beats_natural_interval),
            },
        }


def look_ahead(
    setting: Setting,
    throughput: Throughput,
    *,
    slots: int,
    rehearsals: int,
    jobs: int,
    told: Callable[[str], None] = lambda _: None,
) -> Outlook:
    """Return the plan of the search of `setting` on `slots`, from at most so many rehearsals, over `jobs` processes.

    Fewer where they take long. Nothing is trained, and nothing is written.

    Raises:
        SearchError: the budget leaves nothing to search with.
    """
    spread = money(setting)
    played = _played(setting, rehearsals=rehearsals, jobs=jobs, told=told)
    config, problem = setting.config, setting.problem
    rungs = plan_ladder(setting, played, throughput.trial_s(config, problem.ladder))
    better = sum(each.gain > BETTER for each in played)
    return Outlook(
        name=config.name,
        budget_flops=config.budget_flops,
        budget_device_hours=config.budget_device_hours,
        throughput=throughput,
        slots=slots,
        money=spread,
        rungs=rungs,
        domains=plan_domains(setting, played),
        advice=advice(setting, rungs, spread),
        rehearsals=len(played),
        noise_sd=Rehearsal(setting=setting, seed=0).noise_sd,
        regret=Mean.of([each.regret for each in played]),
        gain=Mean.of([each.gain for each in played]),
        beats_natural=better / len(played),
        beats_natural_interval=share_interval(better, len(played)),
        elapsed_s=sum(elapsed_s(setting, rungs, each, slots=slots) for each in played) / len(played),
        time_limit_s=config.time_limit_s,
        at_target=problem.ladder.target is not None,
    )


def share_interval(count: int, of: int, *, z: float = 1.6449) -> tuple[float, float]:
    """Return the interval of a share seen `count` times `of` so many (Wilson, 1927; `z` of 90 %)."""
    share, spread = count / of, z * z / of
    middle = (share + spread / 2.0) / (1.0 + spread)
    half = z * math.sqrt(share * (1.0 - share) / of + spread / (4.0 * of)) / (1.0 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _played(setting: Setting, *, rehearsals: int, jobs: int, told: Callable[[str], None]) -> list[Rehearsed]:
    """Return what rehearsals bought, in the order of their seeds: so many, or as many as there is time for."""
    began_s, found, seeds = monotonic(), dict[int, Rehearsed](), iter(range(rehearsals))
    told(f"rehearsing on simulated laws, up to {rehearsals} times")
    with ProcessPoolExecutor(
        min(jobs, rehearsals), mp_context=get_context("spawn"), initializer=threadpool_limits, initargs=(1,)
    ) as pool:
        waiting = {pool.submit(_play, setting, seed) for seed, _ in zip(seeds, range(jobs), strict=False)}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                seed, took_s, played = future.result()
                found[seed] = played
                passed_s = monotonic() - began_s
                told(f"rehearsal {len(found)}, after {passed_s:.0f} s")
                if passed_s + took_s < ENOUGH_S and (following := next(seeds, None)) is not None:
                    waiting.add(pool.submit(_play, setting, following))
    return [found[seed] for seed in sorted(found)]


def _play(setting: Setting, seed: int) -> tuple[int, float, Rehearsed]:
    began_s = monotonic()
    played = Rehearsal(setting=setting, seed=seed).played()
    return seed, monotonic() - began_s, played
