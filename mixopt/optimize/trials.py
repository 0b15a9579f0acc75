"""Trials as strategies propose them, and the seed that each gets."""

from collections.abc import Mapping, Sequence

from mixopt.evidence import Evidence, History, Observation, Pending, Prediction, Proposal, Purpose
from mixopt.mixture import Mixture


def next_seed(evidence: Evidence, mixture: Mixture, fidelity: str, taken: Sequence[Proposal]) -> int:
    """Return the first seed that `mixture` was not tried with at `fidelity`, nor in `taken`: 0 for all that are new."""
    history = evidence.history
    trials: list[Observation | Pending | Proposal] = [*history.observations, *history.pending, *taken]
    used = [trial.seed for trial in trials if trial.mixture == mixture and trial.fidelity == fidelity]
    failures = sum(f.mixture == mixture and f.fidelity == fidelity for f in history.failures)
    return max(used, default=-1) + 1 + failures


def tried(history: History) -> list[tuple[Mixture, str]]:
    """Return mixture and rung of every trial, whatever became of it."""
    return [
        *((trial.mixture, trial.fidelity) for trial in history.observations),
        *((trial.mixture, trial.fidelity) for trial in history.failures),
        *((trial.mixture, trial.fidelity) for trial in history.pending),
    ]


def search_trial(
    mixture: Mixture,
    fidelity: str,
    seed: int,
    reason: str,
    *,
    replicate: bool = False,
    predicted: Mapping[str, Prediction] | None = None,
) -> Proposal:
    """Return the proposal of a trial that searches, or that replicates one before it."""
    purpose: Purpose = "replicate" if replicate else "search"
    return Proposal(
        mixture=mixture, fidelity=fidelity, seed=seed, purpose=purpose, reason=reason, predicted=predicted or {}
    )


def replicates(
    evidence: Evidence, mixture: Mixture, fidelity: str, reason: str, *, taken: Sequence[Proposal], n: int
) -> list[Proposal]:
    """Return `taken`, and further seeds of `mixture` until there are `n` proposals."""
    proposals = list(taken)
    while len(proposals) < n:
        seed = next_seed(evidence, mixture, fidelity, proposals)
        proposals.append(search_trial(mixture, fidelity, seed, reason, replicate=seed > 0))
    return proposals
