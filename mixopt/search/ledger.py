"""Between the store and the search: rows to evidence, proposals to rows, outcomes to rows."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixopt.config import SearchConfig
from mixopt.errors import SearchError
from mixopt.evidence import IMPORTED, NO_ITEMS, Evidence, Experts, Failure, History, Observation, Pending, Proposal
from mixopt.mixture import Mixture, Recipe
from mixopt.objective import error_items, minimized
from mixopt.search.setting import SEEDS_A_SEARCH, Setting, content_hash, only_domain, part_of
from mixopt.workers import Outcome
from proxies.checkpoint import WEIGHTS, Checkpoint
from store import FAILED, Artifact, NewTrial, Store, Trial, without_sweeps

ExpertRuns = Mapping[str, str | None]  # every domain's data expert by the hash of its run; None: it could not be had

WAITING = ("queued", "running")
# Of the tokens from text that is another by now; an observation of more is left out. On four simulated laws of five
# domains of which one changed, 40 trials from before and 4 or 16 since: leaving out all that weigh it cost up to 0.018
# bits per byte where it had changed little, leaving out none up to 0.026 where it had changed much; this, up to 0.003.
STALE_LIMIT = 0.2


def new_trial(
    proposal: Proposal,
    setting: Setting,
    *,
    seen: tuple[int, ...],
    continues: str | None = None,
    experts: ExpertRuns | None = None,
) -> NewTrial:
    """Return the row that claims the run of `proposal`: its content, its charge, and the trials that it had seen.

    continues: the run that it goes on from, whose steps are not charged again. experts: the data experts that it starts
    from, charged once, as trials of their own.
    """
    content = setting.content(proposal) | ({} if continues is None else {"continues": continues})
    if experts is not None:
        content["experts"] = dict(experts)
    return NewTrial(
        purpose=proposal.purpose,
        fidelity=proposal.fidelity,
        seed=setting.config.seed * SEEDS_A_SEARCH + proposal.seed,
        part=part_of(proposal),
        recipe=Recipe.of(proposal.mixture).plain(),
        weights=dict(proposal.mixture),
        run_hash=content_hash(content),
        content=content,
        reason=proposal.reason,
        predicted={name: {"mean": p.mean, "sd": p.sd} for name, p in proposal.predicted.items()},
        seen=seen,
        charged_flops=setting.flops_of(proposal)
        - (0.0 if continues is None else setting.spared_flops(proposal.fidelity)),
    )


def begun(proposal: Proposal, trials: Sequence[Trial], setting: Setting, store: Store) -> str | None:
    """Return the run that the training of `proposal` goes on from: its mixture and seed, trained at another rung.

    None where its rung continues none, the text or the experts that it starts from are others by now, or what that
    training was before its rate fell is not there.
    """
    rung = setting.config.rung(setting.rung_of(proposal)).continues
    if rung is None or proposal.purpose in ("expert", "proof"):
        return None
    seed, recipe = setting.config.seed * SEEDS_A_SEARCH + proposal.seed, Recipe.of(proposal.mixture).plain()
    experts = expert_runs(proposal, trials, setting)
    for trial in trials:
        if (trial.state, trial.fidelity, trial.seed) != ("completed", rung, seed) or trial.purpose == IMPORTED:
            continue
        same = [(share, dict(weights)) for share, weights in trial.recipe] == [(s, dict(w)) for s, w in recipe]
        content = store.run(trial.run_hash).content if same else {}
        if (content.get("corpus"), content.get("experts")) != (setting.text.digest, experts):
            continue
        if Checkpoint(folder=setting.stable(trial.run_hash), every_s=0.0).exists:
            return trial.run_hash
    return None


def read_history(trials: Sequence[Trial], setting: Setting) -> History:
    """Return what strategies may see of `trials`: everything but the proof and fidelities that are on no rung."""
    observations, failures, pending = [], [], []
    first_seed, names = setting.config.seed * SEEDS_A_SEARCH, set(setting.names)
    rungs = {rung.name for rung in setting.problem.ladder}
    with without_sweeps():
        for trial in trials:
            if trial.purpose == "proof" or trial.fidelity not in rungs:
                continue
            if trial.stale > STALE_LIMIT or not trial.weights.keys() <= names:  # of text that is no more
                continue
            mixture = Mixture(trial.weights)
            seed = trial.seed if trial.purpose == IMPORTED else trial.seed - first_seed
            if trial.state == "completed":
                observations.append(
                    Observation(
                        trial=trial.number,
                        mixture=mixture,
                        fidelity=trial.fidelity,
                        seed=seed,
                        losses=minimized(trial.losses, trial.accuracies),
                        cost_flops=trial.charged_flops,
                        items=error_items(trial.items) if trial.items else NO_ITEMS,
                        stale=trial.stale,
                    )
                )
            elif trial.state in FAILED:
                failures.append(
                    Failure(
                        trial=trial.number,
                        mixture=mixture,
                        fidelity=trial.fidelity,
                        kind="diverged" if trial.state == "diverged" else "failed",
                    )
                )
            elif trial.state in WAITING:
                pending.append(Pending(trial=trial.number, mixture=mixture, fidelity=trial.fidelity, seed=seed))
    return History(observations=tuple(observations), failures=tuple(failures), pending=tuple(pending))


def expert_of(trial: Trial) -> str | None:
    """Return the domain whose data expert `trial` trained, on its text as it is now; None where it is no such."""
    if trial.purpose != "expert" or trial.state != "completed" or trial.stale:
        return None
    return next((name for name, weight in trial.weights.items() if weight == 1.0), None)


def trained_experts(trials: Sequence[Trial]) -> dict[str, str]:
    """Return the runs of the data experts by domain."""
    return {name: trial.run_hash for trial in trials if (name := expert_of(trial)) is not None}


def expert_runs(proposal: Proposal, trials: Sequence[Trial], setting: Setting) -> ExpertRuns | None:
    """Return the data experts that the training of `proposal` starts from; None where it starts from none.

    Raises:
        SearchError: there is not one of them.
    """
    rung = setting.config.rung(setting.rung_of(proposal))
    if not rung.merges_experts:
        return None
    found = trained_experts(trials)
    if not found.keys() & set(setting.names):
        raise SearchError(
            f"rung {rung.name!r} starts from the data experts, and none could be trained; `mixopt show` tells why"
        )
    return {name: found.get(name) for name in setting.names}


def expert_folders(store: Store, runs: ExpertRuns) -> list[str | None]:
    """Return for every domain the folder of its data expert's weights, None where it could not be trained.

    Raises:
        SearchError: one was trained, and its weights are gone.
    """
    folders: list[str | None] = []
    for name, run in runs.items():
        paths = [] if run is None else [Path(each.path) for each in store.artifacts(run) if each.name == WEIGHTS]
        if run is not None and not (paths and paths[0].is_file()):
            where = f" from {paths[0].parent}" if paths else ""
            raise SearchError(
                f"a trial starts from the data expert of {name!r}, whose weights are gone{where}; bring them back, or "
                "retract that expert's trial (`mixopt retract`), so that it is trained again"
            )
        folders.append(str(paths[0].parent) if paths else None)
    return folders


def read_evidence(trials: Sequence[Trial], setting: Setting, experts: Experts | None) -> Evidence:
    """Return what a strategy may look at."""
    return Evidence(history=read_history(trials, setting), experts=experts)


def lasting_recommendation(store: Store, search_id: int, config: SearchConfig) -> dict[str, Any] | None:
    """Return the recommendation of a search, None where there is none, or its file or trials are others now."""
    found = store.recommendation(search_id)
    if found is None or found.payload["config_hash"] != config.digest() or found.undermined:
        return None
    return dict(found.payload)


def record(store: Store, trial: Trial, outcome: Outcome, *, gold: str | None) -> None:
    """Write how a trial ended; what an expert leaves in the folder `gold` becomes artifacts of its run."""
    if outcome.state == "completed":
        store.complete(
            trial.id,
            losses=outcome.losses,
            accuracies=outcome.accuracies,
            items=outcome.items,
            curve=outcome.curve,
            epochs=outcome.epochs,
            spent_flops=outcome.spent_flops,
            elapsed_s=outcome.elapsed_s,
            artifacts=_artifacts(Path(gold)) if gold else [],
            details=outcome.details,
            node=outcome.node,
        )
        return
    store.fail(
        trial.id,
        state="diverged" if outcome.state == "diverged" else "failed",
        error=outcome.error or "no reason given",
        spent_flops=outcome.spent_flops,
        elapsed_s=outcome.elapsed_s,
        node=outcome.node,
    )


def gold_folders(store: Store, trials: Sequence[Trial], setting: Setting) -> dict[str, Path] | None:
    """Return for every domain the folder of its expert's gold-token files, or None while one is missing."""
    folders: dict[str, Path] = {}
    for trial in trials:
        if expert_of(trial) in setting.names:
            paths = [Path(artifact.path) for artifact in store.artifacts(trial.run_hash)]
            if paths and all(path.exists() for path in paths):
                folders[only_domain(trial.weights)] = paths[0].parent
    return folders if set(folders) == set(setting.names) else None


def _artifacts(folder: Path) -> list[Artifact]:
    return [
        Artifact(
            name=path.stem if path.suffix == ".npy" else path.name,
            path=str(path),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            bytes=path.stat().st_size,
        )
        for path in sorted([*folder.glob("*.npy"), *folder.glob(WEIGHTS)])
    ]


def take_back(store: Store, trials: Sequence[Trial], setting: Setting) -> str | None:
    """Take back what waits for another command or text than the file's: its run would not be what it says.

    Return in words how many trials of other commands count; None where there are none.
    """
    done = 0
    for trial in trials:
        waits = trial.state == "queued"
        if not waits and setting.config.command is None:
            continue  # what has begun stays, and only a command may be another than it was then
        content = store.run(trial.run_hash).content
        if waits and not setting.reads(content):
            store.fail(trial.id, state="cancelled", error="its domains changed before it was trained")
        elif not setting.trains(content):
            done += trial.state == "completed"
            if waits:
                store.fail(trial.id, state="cancelled", error="the command changed before it was trained")
    if not done:
        return None
    return f"the command changed: {done} trials of earlier ones count; if they should not, use another --name"
