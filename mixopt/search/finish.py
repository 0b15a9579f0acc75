"""The end of a search: the recommendation, the trials of its proof, and what they say."""

from collections.abc import Mapping, Sequence

from mixopt.evidence import Evidence, Prediction, Proposal
from mixopt.mixture import Mixture
from mixopt.optimize.recommend import predict, recommend
from mixopt.search.proof import Proof, Rival, prove, rivals
from mixopt.search.setting import SEEDS_A_SEARCH, Setting
from store import Trial

PROOF_SHARE = 0.5  # of the time limit, at most, before the proof gives up seeds for the sake of the search
FEWEST_SEEDS = 3  # with two, a 95 % t interval is twelve standard errors wide to either side
PROOF_SEEDS_FROM = 1_000  # the search's own seeds are far below: the proof trains on fresh ones

Payload = dict[str, object]


def decide(evidence: Evidence, setting: Setting) -> tuple[Payload, Payload]:
    """Return the recommendation and the fit behind it, plain; the rivals of the proof stand in the former."""
    problem = setting.problem
    found = recommend(evidence, problem)
    wanted = setting.config.proof.mixtures if setting.config.proof else ()
    entries = rivals(problem, found.mixture, wanted=wanted, single=best_single(evidence, setting))
    predictions = predict(evidence, problem, [entry.mixture for entry in entries])
    rows = [
        {"names": list(e.names), "mixture": dict(e.mixture), "allowed": e.allowed, "mean": p.mean, "sd": p.sd}
        for e, p in zip(entries, predictions, strict=True)
    ]
    return found.plain() | {"rivals": rows, "proof": None}, dict(found.model)


def best_single(evidence: Evidence, setting: Setting) -> str:
    """Return the domain that did best alone: as observed where its corner was trained, else the one of most tokens."""
    objective = setting.problem.objective
    alone: dict[str, float] = {}
    for observation in evidence.history.observations:
        corner = next((name for name, weight in observation.mixture.items() if weight == 1.0), None)
        if corner is not None:
            alone[corner] = min(alone.get(corner, float("inf")), objective.value(observation.losses))
    if alone:
        return min(alone, key=lambda name: alone[name])
    return max(setting.names, key=lambda name: setting.text.available_tokens[name])


def proof_proposals(setting: Setting, payload: Mapping[str, object], *, seeds: int) -> list[Proposal]:
    """Return the trials of the proof: every rival at every seed, seed by seed, so that pairs end together."""
    return [
        Proposal(
            mixture=rival.mixture,
            fidelity=setting.problem.ladder.top.name,
            seed=PROOF_SEEDS_FROM + seed,
            purpose="proof",
            reason=f"the proof: {rival.label}",
            predicted={"objective": prediction},
        )
        for seed in range(seeds)
        for rival, prediction in _entries(payload)
    ]


def conclude(payload: Mapping[str, object], trials: Sequence[Trial], setting: Setting) -> Payload:
    """Return the recommendation with its proof; where that fails, with the best that was measured in its place."""
    entries = _entries(payload)
    losses = [_losses(rival, trials, setting) for rival, _ in entries]
    proof = prove([rival for rival, _ in entries], losses, [prediction for _, prediction in entries])
    concluded = dict(payload) | {"proof": proof.plain(), "searched": payload["mixture"]}
    if not proof.holds:
        concluded["mixture"] = _measured_best(proof)
    return concluded


def proof_size(setting: Setting, seconds: Mapping[str, float], *, slots: int) -> int:
    """Return how many trials the proof takes at most; `seconds` are what a trial of each rung takes here, if known."""
    return proof_seeds(setting, seconds, slots=slots) * _most_rivals(setting)


def proof_seeds(setting: Setting, seconds: Mapping[str, float], *, slots: int) -> int:
    """Return the seeds of the proof: the file's, or fewer where they would take most of the time limit here."""
    proof, limit_s = setting.config.proof, setting.config.time_limit_s
    if not proof:
        return 0
    top_s = seconds.get(setting.problem.ladder.top.name)
    if limit_s is None or top_s is None:
        return proof.seeds
    affordable = int(PROOF_SHARE * limit_s * slots / (top_s * _most_rivals(setting)))
    return min(proof.seeds, max(FEWEST_SEEDS, affordable))


def _most_rivals(setting: Setting) -> int:
    """Return the rows of the proof when the recommended mixture is none of its rivals."""
    proof = setting.config.proof
    assert proof
    problem = setting.problem
    others = rivals(problem, problem.natural, wanted=proof.mixtures, single=setting.names[-1])
    return len(others) + ("natural" in proof.mixtures)  # natural stood in for the recommended one


def _entries(payload: Mapping[str, object]) -> list[tuple[Rival, Prediction]]:
    rows = payload["rivals"]
    assert isinstance(rows, list)
    return [
        (
            Rival(names=tuple(row["names"]), mixture=Mixture(row["mixture"]), allowed=row["allowed"]),
            Prediction(mean=row["mean"], sd=row["sd"]),
        )
        for row in rows
    ]


def _losses(rival: Rival, trials: Sequence[Trial], setting: Setting) -> dict[int, float]:
    """Return the objective of the proof's trials of `rival`, by seed."""
    base = setting.config.seed * SEEDS_A_SEARCH
    return {
        trial.seed - base: setting.problem.objective.value(trial.losses)
        for trial in trials
        if trial.purpose == "proof" and trial.state == "completed" and Mixture(trial.weights) == rival.mixture
    }


def _measured_best(proof: Proof) -> dict[str, float]:
    return dict(next(row.mixture for row in proof.rows if row.name == proof.best_measured))
