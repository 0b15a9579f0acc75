"""The end of a search: the recommendation, the trials of its proof, and what they say."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from mixopt.evidence import Evidence, Prediction, Proposal
from mixopt.mixture import Mixture
from mixopt.optimize.recommend import Recommendation, predict, recommend
from mixopt.search.proof import Proof, Rival, lasting, most_rivals, prove, rivals
from mixopt.search.setting import SEEDS_A_SEARCH, Setting, only_domain
from store import Trial

PROOF_SHARE = 0.5  # of the time limit, at most, before the proof gives up seeds for the sake of the search
FEWEST_SEEDS = 3  # with two, a 95 % t interval is twelve standard errors wide to either side
LEAST_PAIRS = 2  # differences of which a spread can be had at all
PROOF_SEEDS_FROM = 1_000  # the search's own seeds are far below: the proof trains on fresh ones

SOFTWARE = ("mixopt", "torch", "numpy", "ray")

Payload = dict[str, Any]


def decide(evidence: Evidence, setting: Setting, *, proof_seeds: int) -> tuple[Payload, Payload]:
    """Return the recommendation and the fit behind it, plain; the former says all that its proof needs."""
    problem = setting.problem
    found = recommend(evidence, problem)
    wanted = setting.config.proof.mixtures if setting.config.proof else ()
    entries = rivals(problem, found.mixture, wanted=wanted, single=best_single(found, setting))
    predictions = predict(found.fitted, problem, [entry.mixture for entry in entries])
    rows = [
        {"names": list(e.names), "mixture": dict(e.mixture), "allowed": e.allowed, "mean": p.mean, "sd": p.sd}
        for e, p in zip(entries, predictions, strict=True)
    ]
    fallbacks = [found.fallback, _without_ensemble(evidence, setting)]
    return found.plain() | {
        "rivals": rows,
        "proof": None,
        "proof_seeds": proof_seeds,
        "fallback": "; ".join(reason for reason in fallbacks if reason) or None,
        "config_hash": setting.config.digest(),
        "versions": {package: version(package) for package in SOFTWARE},
    }, dict(found.model)


def _without_ensemble(evidence: Evidence, setting: Setting) -> str | None:
    """Return why there is no ensemble of experts although the file asks for one."""
    if setting.config.experts is None or evidence.experts is not None:
        return None
    trained = [only_domain(o.mixture) for o in evidence.history.observations if max(o.mixture.values()) == 1.0]
    missing = [name for name in setting.names if name not in trained]
    files = "their gold-token files are gone, or were not written for every evaluation set"
    return f"no ensemble of experts: {f'none trained for {missing}' if missing else files}"


def best_single(found: Recommendation, setting: Setting) -> str:
    """Return the domain whose corner the surrogate expects to do best at the top rung."""
    corners = [Mixture({name: float(name == only) for name in setting.names}) for only in setting.names]
    predictions = predict(found.fitted, setting.problem, corners)
    return min(zip(setting.names, predictions, strict=True), key=lambda pair: pair[1].mean)[0]


def proof_proposals(setting: Setting, payload: Mapping[str, Any], trials: Sequence[Trial]) -> list[Proposal]:
    """Return the trials that the proof still lacks: rivals by seeds, seed by seed, so that pairs end together."""
    base = setting.config.seed * SEEDS_A_SEARCH
    asked = {(Mixture(trial.weights), trial.seed - base) for trial in trials if _is_of_proof(trial)}
    return [
        Proposal(
            mixture=rival.mixture,
            fidelity=setting.problem.ladder.top.name,
            seed=seed,
            purpose="proof",
            reason=f"the proof: {rival.label}",
            predicted={"objective": prediction},
        )
        for seed in range(PROOF_SEEDS_FROM, PROOF_SEEDS_FROM + payload["proof_seeds"])
        for rival, prediction in _entries(payload)
        if (rival.mixture, seed) not in asked
    ]


def conclude(payload: Mapping[str, Any], trials: Sequence[Trial], setting: Setting) -> Payload:
    """Return the recommendation with its proof; where that fails, with the best that was measured in its place."""
    entries = _entries(payload)
    losses = [_losses(rival, trials, setting) for rival, _ in entries]
    proof = prove([rival for rival, _ in entries], losses, [prediction for _, prediction in entries])
    concluded = dict(payload) | {"proof": proof.plain(), "searched": payload["mixture"]}
    if not proof.holds:
        concluded["mixture"] = _measured_best(proof)
    return concluded


def proof_trials(setting: Setting, *, seeds: int, trials: Sequence[Trial] = ()) -> int:
    """Return how many trials a proof of so many seeds takes at most; rivals among `trials` are not trained again.

    An earlier proof leaves at most two mixtures to train: the recommended one and another single domain.
    """
    proof = setting.config.proof
    if not proof:
        return 0
    known = lasting(setting.problem, wanted=proof.mixtures)  # where domains have changed, so may these have
    trained = sum(_is_of_proof(trial) and Mixture(trial.weights) in known for trial in trials)
    changing = 1 + ("single" in proof.mixtures)
    return max(seeds * changing, seeds * most_rivals(setting.problem, wanted=proof.mixtures) - trained)


def proof_flops(setting: Setting) -> float:
    """Return the charge of one trial of the proof."""
    top = setting.problem.ladder.top
    return setting.flops(top.name, "proof", top.tokens)


def proof_seeds(
    setting: Setting, trials: Sequence[Trial], *, top_s: float | None, slots: int, left_flops: float
) -> int:
    """Return the seeds of the proof: the file's, or fewer where the time limit or `left_flops` do not pay for them.

    top_s: seconds of a trial at the top rung, None where none was timed. 0 where not even two seeds are paid.
    """
    proof, limit_s = setting.config.proof, setting.config.time_limit_s
    if not proof:
        return 0
    seeds = proof.seeds
    if limit_s is not None and top_s is not None:
        rows = most_rivals(setting.problem, wanted=proof.mixtures)
        seeds = min(seeds, max(FEWEST_SEEDS, int(PROOF_SHARE * limit_s * slots / (top_s * rows))))
    most = left_flops / proof_flops(setting)
    counts = range(seeds, LEAST_PAIRS - 1, -1)
    return next((count for count in counts if proof_trials(setting, seeds=count, trials=trials) <= most), 0)


def _is_of_proof(trial: Trial) -> bool:
    gone = ("retracted", "cancelled", "outdated")
    return trial.purpose == "proof" and trial.state not in gone and not trial.stale


def _entries(payload: Mapping[str, Any]) -> list[tuple[Rival, Prediction]]:
    rows = payload["rivals"]
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
        trial.seed - base: setting.problem.objective.of(trial.losses, trial.accuracies)
        for trial in trials
        if _is_of_proof(trial) and trial.state == "completed" and Mixture(trial.weights) == rival.mixture
    }


def _measured_best(proof: Proof) -> dict[str, float]:
    return dict(next(row.mixture for row in proof.rows if row.name == proof.best_measured))
