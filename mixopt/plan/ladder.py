"""What a plan says of every rung: trials, cost and time; and advice where a rung is of the wrong size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from heapq import heapify, heapreplace
from itertools import pairwise

from mixopt.optimize.agreement import LEAST_JUDGED
from mixopt.plan.rehearsal import Money, Rehearsed
from mixopt.search.finish import proof_trials
from mixopt.search.setting import Setting

CLOSE = 0.5  # of the next rung's cost: a rung that is dearer saves little
FAR = 1e-3  # of the top rung's cost: a rung that is cheaper tells little of it; a guess
FEW_STEPS = 200  # of an optimizer, below which a proxy has hardly begun to learn; a guess
MANY_TRIALS = 600  # from which a dearer ladder would tell more
OTHER_RATIO = 5.0  # times the target's tokens a parameter, more or less: another regime


@dataclass(frozen=True, kw_only=True)
class RungPlan:
    """One rung: what a trial costs, how long it takes on its slot, and how many are bought, by purpose.

    search: mean over rehearsals, least and most. experts, proof: as the file has it.
    """

    name: str
    trial_flops: float
    trial_s: float
    search: float
    least: int
    most: int
    experts: int
    proof: int

    def plain(self) -> dict[str, object]:
        """Return the rung as JSON holds it."""
        return asdict(self)


def plan_ladder(setting: Setting, played: Sequence[Rehearsed], seconds: Mapping[str, float]) -> tuple[RungPlan, ...]:
    """Return what rehearsals bought at every rung; `seconds`: of a trial, by rung."""
    config, found = setting.config, []
    for rung in setting.problem.ladder:
        counts = [each.rungs.count(rung.name) for each in played]
        is_top = rung.name == setting.problem.ladder.top.name
        experts = config.experts is not None and config.experts.rung == rung.name
        found.append(
            RungPlan(
                name=rung.name,
                trial_flops=rung.cost_flops,
                trial_s=seconds[rung.name],
                search=sum(counts) / len(counts),
                least=min(counts),
                most=max(counts),
                experts=len(setting.names) if experts else 0,
                proof=proof_trials(setting, seeds=config.proof.seeds) if is_top and config.proof else 0,
            )
        )
    return tuple(found)


def elapsed_s(setting: Setting, rungs: Sequence[RungPlan], played: Rehearsed, *, slots: int) -> float:
    """Return how long the trainings of a rehearsed search take, one after another on whichever slot is free.

    Experts first, the proof last, which each wait for all that came before.
    """
    seconds = {rung.name: rung.trial_s for rung in rungs}
    top = setting.problem.ladder.top.name
    parts = [
        [rung.trial_s for rung in rungs for _ in range(rung.experts)],
        [seconds[name] for name in played.rungs],
        [seconds[top]] * sum(rung.proof for rung in rungs),
    ]
    return sum(_makespan(part, slots) for part in parts)


def _makespan(durations_s: Sequence[float], slots: int) -> float:
    ends = [0.0] * slots
    heapify(ends)
    for duration_s in durations_s:
        heapreplace(ends, ends[0] + duration_s)
    return max(ends)


def advice(setting: Setting, rungs: Sequence[RungPlan], money: Money) -> tuple[str, ...]:
    """Return what to change about the ladder, in words; nothing where it fits."""
    return (*_sizes(rungs, money), *_trainings(setting))


def _sizes(rungs: Sequence[RungPlan], money: Money) -> Iterator[str]:
    top = rungs[-1]
    affords = int(money.search_flops / top.trial_flops)
    if affords < LEAST_JUDGED:
        yield (
            f"rung {top.name!r} is too large for this budget: the search could train {affords} mixtures there, and "
            f"from {LEAST_JUDGED} on it is known whether the cheap rungs rank as it does; make it "
            f"{2 * LEAST_JUDGED / max(affords, 0.5):.0f} times cheaper, or give more"
        )
    for rung, dearer in pairwise(rungs):
        if rung.trial_flops > CLOSE * dearer.trial_flops:
            share = rung.trial_flops / dearer.trial_flops
            yield (
                f"rung {rung.name!r} costs {share:.0%} of {dearer.name!r} and saves little; make it 5 to 20 times "
                "cheaper, or remove it"
            )
        if rung.trial_flops < FAR * top.trial_flops:
            yield (
                f"rung {rung.name!r} costs {rung.trial_flops / top.trial_flops:.1e} of the top rung's trials and may "
                "rank mixtures otherwise; put a rung between, or make it larger"
            )
    for rung in rungs:
        if rung.most == 0:
            yield f"rung {rung.name!r} is bought by no rehearsal; remove it, or make it cheaper"
    if sum(rung.search for rung in rungs) > MANY_TRIALS:
        yield (
            f"the budget buys {sum(rung.search for rung in rungs):.0f} trials; fewer, larger ones, nearer to the "
            "target, would tell more"
        )


def _trainings(setting: Setting) -> Iterator[str]:
    for rung in setting.config.rungs:
        if rung.proxy is not None and (steps := rung.tokens // rung.model.batch_tokens) < FEW_STEPS:
            yield (
                f"rung {rung.name!r} trains for {steps} steps only, and hardly begins to learn; give it more tokens, "
                f"or smaller batches (now {rung.model.batch_tokens:,} tokens)"
            )
    target = setting.problem.ladder.target
    for fidelity in setting.problem.ladder if target is not None else ():
        assert target is not None
        ratio = (fidelity.tokens / fidelity.parameters) / (target.tokens / target.parameters)
        if not 1.0 / OTHER_RATIO <= ratio <= OTHER_RATIO:
            yield (
                f"rung {fidelity.name!r} has {fidelity.tokens / fidelity.parameters:.3g} tokens a parameter, the "
                f"target {target.tokens / target.parameters:.3g}: what it says of repeating text may not hold there; "
                f"about {fidelity.parameters * target.tokens / target.parameters:.2g} tokens would match it"
            )
