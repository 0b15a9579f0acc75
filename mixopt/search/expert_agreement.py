"""Which of the two ways to know mixtures without training does better: data experts as an ensemble, or merged into one.

Both are asked for the order of mixtures that were trained, and compared with the order that training found. Mixtures
that a strategy chose are no fair judges of what it chose by: it takes those that the ensemble thinks good, among which
the ensemble sees little difference. So those that open the search, chosen by nothing, are asked for by themselves.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from mixopt.evidence import Evidence, KnownLosses, Observation
from mixopt.mixture import Mixture
from mixopt.objective import Objective
from mixopt.search.setting import Setting
from proxies.corpus import open_corpus
from proxies.errors import ProxyError
from proxies.merged_experts import MergedExperts

FEWEST = 5  # mixtures, below which a rank correlation says nothing
MOST = 16  # of a rung, evenly among those that were trained: each is one evaluation of the merged model


def expert_agreement(
    evidence: Evidence, setting: Setting, folders: Mapping[str, Path] | None, *, opening: Collection[int]
) -> list[dict[str, object]]:
    """Return for every rung the rank agreement of the experts with its trials, single domains left out, plain.

    First of the trials in `opening`, by their numbers, then, where there are others, of all (`chosen`). `ensemble`,
    `merged`: Spearman's rho over `mixtures` mixtures, the same for both; None where there is no order. No `merged`
    where the weights, in `folders`, were not kept. Nothing without experts, or where the objective counts more than
    losses.
    """
    experts, objective = evidence.experts, setting.problem.objective
    ensemble = None if experts is None else experts.ensemble
    if ensemble is None or not set(objective.sets) <= set(ensemble.sets):
        return []
    merged = _merged(setting, folders)
    found: list[dict[str, object]] = []
    for rung in setting.problem.ladder:
        observations = evidence.history.at(rung.name)
        every = _measured(observations, setting)
        unchosen = _measured([each for each in observations if each.trial in opening], setting)
        for measured, chosen in ((unchosen, False), (every, True)):
            if len(measured) < FEWEST or (chosen and len(every) == len(unchosen)):
                continue
            places = np.linspace(0, len(measured) - 1, min(MOST, len(measured))).astype(int)
            kept = {mixture: measured[mixture] for mixture in [list(measured)[i] for i in places]}
            rho = _rho(ensemble, objective, kept)
            of_merged = None if merged is None else _rho(merged, objective, kept)
            entry = {"rung": rung.name, "chosen": chosen, "mixtures": len(kept)}
            found.append(entry | {"ensemble": rho, "merged": of_merged})
    return found


def _rho(known: KnownLosses, objective: Objective, measured: Mapping[Mixture, float]) -> float | None:
    """Return Spearman's rank correlation of the objective as known and as measured; None where it has no order."""
    weights = np.array([[mixture[name] for name in known.domains] for mixture in measured])
    told = objective.of_array(known.losses(weights), known.sets)
    values = np.array(list(measured.values()))
    if not np.isfinite(told).all() or np.ptp(told) == 0.0 or np.ptp(values) == 0.0:
        return None
    return float(spearmanr(told, values).statistic)


def _merged(setting: Setting, folders: Mapping[str, Path] | None) -> MergedExperts | None:
    experts = setting.config.experts
    if experts is None or folders is None or setting.config.command is not None:
        return None
    config = setting.config.rung(experts.rung).model
    try:
        return MergedExperts.load(folders, config, open_corpus(Path(setting.text.folder)), part="search")
    except ProxyError:  # experts of earlier versions, whose weights nobody kept
        return None


def _measured(observations: Sequence[Observation], setting: Setting) -> dict[Mixture, float]:
    """Return the mean objective of every mixture, in the order of their trials."""
    values: dict[Mixture, list[float]] = {}
    for observation in observations:
        if max(observation.mixture.values()) < 1.0:
            values.setdefault(observation.mixture, []).append(setting.problem.objective.value(observation.losses))
    return {mixture: float(np.mean(each)) for mixture, each in values.items()}
