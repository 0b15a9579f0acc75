"""What a search may still spend: FLOPs against the budget, seconds against the time limit, the proof's part kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mixopt.evidence import IMPORTED
from mixopt.fidelity import Fidelity
from store import Trial

MARGIN_S = 10.0  # for the last fit and the end of the process; a guess


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """A budget and what stands against it.

    budget_flops, charged_flops: nominal FLOPs; reserve_flops: kept for proof trials not yet proposed.
    limit_s: None without a time limit; elapsed_s: spent so far; slots: trials that run at once;
    trial_s: seconds that a trial of each rung takes here (empty: not known yet);
    pending_s: seconds of work still in flight; reserve_s: seconds of work of the proof.
    """

    budget_flops: float
    charged_flops: float
    reserve_flops: float
    limit_s: float | None
    elapsed_s: float
    slots: int
    trial_s: Mapping[str, float]
    pending_s: float
    reserve_s: float

    def refusal(self, fidelity: str, cost_flops: float) -> str | None:
        """Return why a trial of `cost_flops` at `fidelity` cannot be paid, in words, or None where it can."""
        left = self.budget_flops - self.charged_flops - self.reserve_flops
        if cost_flops > left:
            return (
                f"the budget is spent: beside the proof's part, {max(left, 0.0):.3g} of {self.budget_flops:.3g} FLOPs "
                "are left"
            )
        if self.limit_s is None:
            return None
        if fidelity not in self.trial_s:
            is_over = self.elapsed_s >= self.limit_s
            return f"no time is left: {self.elapsed_s:.0f} of {self.limit_s:.0f} s are over" if is_over else None
        needed = (self.pending_s + self.trial_s[fidelity] + self.reserve_s) / self.slots + MARGIN_S
        if self.elapsed_s + needed <= self.limit_s:
            return None
        return (
            f"no time is left for another: {self.elapsed_s:.0f} of {self.limit_s:.0f} s are over, and what runs and "
            f"the proof take about {(self.pending_s + self.reserve_s) / self.slots:.0f} s more on this machine"
        )

    def search_flops(self, top: Fidelity) -> float:
        """Return what may still go to trials of the search: money, or what the time left buys at the rung `top`."""
        money = max(self.budget_flops - self.charged_flops - self.reserve_flops, 0.0)
        if self.limit_s is None or top.name not in self.trial_s:
            return money
        seconds = (self.limit_s - MARGIN_S - self.elapsed_s) * self.slots - self.pending_s - self.reserve_s
        return min(money, max(seconds, 0.0) / self.trial_s[top.name] * top.cost_flops)

    @property
    def left_s(self) -> float | None:
        """Seconds to the time limit; without one, to the end of the budget at the speed seen (None: no trial yet)."""
        if self.limit_s is not None:
            return max(0.0, self.limit_s - self.elapsed_s)
        if not self.charged_flops or not self.elapsed_s:
            return None
        return self.elapsed_s * (self.budget_flops / self.charged_flops - 1.0)


def seconds_a_trial(trials: Sequence[Trial], costs: Mapping[str, float]) -> dict[str, float]:
    """Return the median seconds of a trial at each rung of `costs` (FLOPs a trial), once the dearest rung was timed.

    Nothing before that: small models reach far fewer FLOPs a second; scaling them up would end a search at once.
    An unseen rung's seconds follow from its FLOPs. What was imported or told took its time elsewhere.
    """
    seen: dict[str, list[float]] = {}
    for trial in trials:
        if trial.purpose == IMPORTED:
            continue
        if trial.state == "completed" and trial.elapsed_s and trial.fidelity in costs:
            seen.setdefault(trial.fidelity, []).append(trial.elapsed_s)
    known = {name: median(values) for name, values in seen.items()}
    dearest = max(costs, key=lambda name: costs[name])
    if dearest not in known:
        return {}
    return {name: known.get(name, known[dearest] * costs[name] / costs[dearest]) for name in costs}
