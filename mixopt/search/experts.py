"""What the trained data experts tell the strategy: their ensemble, and a sample of its tokens where there are many."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixopt.evidence import Experts
from mixopt.search.ledger import expert_of, gold_folders
from mixopt.search.setting import Setting, only_domain
from proxies.coreset import Coreset, coreset_within
from proxies.experts import Ensemble, GoldTokens
from store import Store, Trial

SAMPLE_ERROR = 1e-3  # bits per byte, the largest; the usual one is a quarter of it, and seeds differ by .005 and more
SAMPLED_FROM = 100_000  # tokens: fewer are asked as quickly as a proposal's own arithmetic goes


def experts_of(setting: Setting, store: Store) -> Callable[[Sequence[Trial]], Experts | None]:
    """Return the function from trials to what their experts tell, None while experts are missing."""

    def experts(trials: Sequence[Trial]) -> Experts | None:
        ensemble = _ensemble(setting, store, trials)
        return None if ensemble is None else Experts(ensemble=ensemble, sample=sample_of(ensemble))

    return experts


def _ensemble(setting: Setting, store: Store, trials: Sequence[Trial]) -> Ensemble | None:
    if setting.config.experts is None:
        return None
    folders = gold_folders(store, trials, setting)
    if folders is None:
        return None
    if setting.config.command is None:
        return Ensemble.load(folders, setting.text.scored_bytes["search"])
    return commands_ensemble(folders, trials, setting.config.sets)


def commands_ensemble(folders: Mapping[str, Path], trials: Sequence[Trial], sets: Sequence[str]) -> Ensemble | None:
    """Return the ensemble of experts that a command trained, in the units of its losses; None where a set lacks files.

    What a nat of a token adds to a set's loss follows from the experts' own losses.
    """
    losses = {only_domain(t.weights): t.losses for t in trials if expert_of(t) is not None}
    gold = {}
    for name in sets:
        files = [folder / f"{name}.npy" for folder in folders.values()]
        if not all(file.is_file() for file in files):
            return None
        logs = [np.load(file, allow_pickle=False) for file in files]
        shares = [losses[d][name] / -float(each.sum(dtype=np.float64)) for d, each in zip(folders, logs, strict=True)]
        gold[name] = GoldTokens.from_logs(logs, scored_bytes=1.0 / (math.log(2.0) * float(np.mean(shares))))
    return Ensemble(domains=tuple(folders), gold=gold)


class Sampled:
    """The losses of an ensemble by a sample of its tokens, or by all where that would gain little.

    It takes seconds to draw from millions of tokens, which a search that weighs no mixture any more is spared.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble

    @cached_property
    def way(self) -> Coreset | Ensemble:
        """The sample, or the ensemble itself; drawn when first asked for."""
        return coreset_within(self._ensemble, error=SAMPLE_ERROR, seed=0) or self._ensemble

    @property
    def domains(self) -> tuple[str, ...]:
        """The order of weights."""
        return self._ensemble.domains

    @property
    def sets(self) -> tuple[str, ...]:
        """The order of losses."""
        return self._ensemble.sets

    def losses(self, weights_Bd: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the losses of every mixture on every set, `B x m`, bits per byte."""
        return self.way.losses(weights_Bd)


def sample_of(ensemble: Ensemble) -> Sampled | None:
    """Return a sample that stands for the ensemble where mixtures are only weighed; None where that is quick itself."""
    return Sampled(ensemble) if ensemble.tokens >= SAMPLED_FROM else None
