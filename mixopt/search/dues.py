"""What a search must train and pay before it may search: its data experts, a trial at the top rung, its proof."""

from collections.abc import Sequence

from mixopt.errors import SearchError
from mixopt.evidence import Proposal
from mixopt.search.finish import proof_flops, proof_trials
from mixopt.search.ledger import WAITING
from mixopt.search.setting import Setting, only_domain
from store import Trial

MAX_EXPERT_FAILURES = 2  # after so many the search goes on without an ensemble


def expert_proposals(setting: Setting, trials: Sequence[Trial]) -> list[Proposal]:
    """Return a proposal for every domain without an expert, unless it failed too often or diverged."""
    if setting.config.experts is None:
        return []
    # Of the domains as they are: an expert of one that was split, or whose text is another, is none of theirs.
    asked = [t for t in trials if t.purpose == "expert" and not t.stale and 1.0 in t.weights.values()]
    failures = [only_domain(trial.weights) for trial in asked if trial.state in ("failed", "cancelled")]
    gone = ("failed", "cancelled", "retracted", "outdated")
    done = {only_domain(trial.weights) for trial in asked if trial.state not in gone}
    return [
        setting.expert_proposal(name)
        for name in setting.names
        if name not in done and failures.count(name) < MAX_EXPERT_FAILURES
    ]


def awaits_experts(setting: Setting, trials: Sequence[Trial]) -> bool:
    """Say whether nothing else can be asked for yet: some rung starts from data experts, and one is not over."""
    if not any(rung.merges_experts for rung in setting.config.rungs):
        return False
    return bool(expert_proposals(setting, trials)) or any(t.purpose == "expert" and t.state in WAITING for t in trials)


def check_budget(setting: Setting) -> None:
    """Refuse, with a SearchError, a search whose budget does not pay for what it must train."""
    proof, experts = setting.config.proof, expert_proposals(setting, [])
    experts_flops = sum(setting.flops_of(proposal) for proposal in experts)
    proof_cost = proof_flops(setting) * proof_trials(setting, seeds=proof.seeds) if proof else 0.0
    top_flops = setting.problem.ladder.top.cost_flops
    needed = experts_flops + top_flops + proof_cost
    if needed > setting.config.budget_flops:
        raise SearchError(
            f"budget_flops {setting.config.budget_flops:.3g} does not pay for {len(experts)} experts "
            f"({experts_flops:.3g}), one trial at the top rung ({top_flops:.3g}) and the proof ({proof_cost:.3g}); "
            f"give at least {needed:.3g} and something to search with, or ask for fewer proof seeds or no proof"
        )
