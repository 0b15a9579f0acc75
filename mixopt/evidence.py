"""What has been seen, what is proposed, and the strategy that gets from one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mixopt.mixture import Mixture

Purpose = Literal["expert", "design", "search", "replicate", "proof"]
NO_ITEMS: Mapping[str, int] = {}
IMPORTED = "imported"  # the purpose of trials that no search asked for: their runs ended elsewhere


class Observation(NamedTuple):
    """A completed trial: what is minimized of every evaluation set measured; a tuple, as a history has very many.

    losses: bits per byte, and under `error/<set>` shares of wrong answers. items: how many answers these are shares of.
    stale: the fraction of its tokens from text that is another by now.
    """

    trial: int
    mixture: Mixture
    fidelity: str
    seed: int
    losses: Mapping[str, float]
    cost_flops: float
    items: Mapping[str, int] = NO_ITEMS
    stale: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A trial that gave no losses: it stopped with an error, or its training diverged."""

    trial: int
    mixture: Mixture
    fidelity: str
    kind: Literal["failed", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A trial proposed or running, not yet observed."""

    trial: int
    mixture: Mixture
    fidelity: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A mean and its standard deviation, in bits per byte."""

    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A trial worth running: why, and what was predicted for it (key `objective` and each set; may be empty)."""

    mixture: Mixture
    fidelity: str
    seed: int
    purpose: Purpose
    reason: str
    predicted: Mapping[str, Prediction] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class History:
    """All trials of a search, by what became of them."""

    observations: tuple[Observation, ...] = ()
    failures: tuple[Failure, ...] = ()
    pending: tuple[Pending, ...] = ()

    @property
    def seen(self) -> tuple[int, ...]:
        """The numbers of the trials with an end, in order: what a proposal made now knows."""
        return tuple(sorted([o.trial for o in self.observations] + [f.trial for f in self.failures]))

    def at(self, fidelity: str) -> tuple[Observation, ...]:
        """Return the observations at the rung `fidelity`."""
        return tuple(observation for observation in self.observations if observation.fidelity == fidelity)


class KnownLosses(Protocol):
    """Losses of any mixture, known without training."""

    @property
    def domains(self) -> tuple[str, ...]:
        """The order of weights."""
        ...

    @property
    def sets(self) -> tuple[str, ...]:
        """The order of losses."""
        ...

    def losses(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the losses of `weights` (`B x d`) on every evaluation set, `B x m`, bits per byte."""
        ...


class MixtureLosses(KnownLosses, Protocol):
    """Those that have slopes, too: the ensemble of the data experts."""

    def gradients(self, weights: NDArray[np.float64], set_weights: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the slopes of a weighted sum of losses in the weights, `B x d`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Experts:
    """What the data experts tell of mixtures that nobody trained.

    ensemble: all of it. sample: nearly the same many times faster, for the mixtures that are only weighed (None: the
    ensemble is quick itself, or no sample of it is close enough).
    """

    ensemble: MixtureLosses
    sample: KnownLosses | None = None


LastFit = Mapping[str, Mapping[str, NDArray[np.float64]]]  # rung, member of the surrogate, parameters of every set


@dataclass(frozen=True, kw_only=True)
class Purse:
    """The money of a search, in the unit of its rungs' costs: what its trials may cost in all, and what is left of it.

    The proof's part and the experts are not in it; pending trials are paid already.
    """

    total_flops: float
    left_flops: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a strategy may look at.

    history: all trials. experts: what they tell (None: no experts, or not yet trained). last_fit: where the next fit
    may start (None: from nothing); it changes how long a fit takes, and the fit itself by rounding and little more.
    purse: what may be spent (None: nobody counts).
    """

    history: History = History()
    experts: Experts | None = None
    last_fit: LastFit | None = None
    purse: Purse | None = None

    @property
    def seen(self) -> tuple[int, ...]:
        """The numbers of the trials with an end."""
        return self.history.seen


class Strategy(Protocol):
    """A pure function of (evidence, n, seed): the same again gives the same proposals, bit for bit."""

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        """Return `n` trials to run next; fewer where no more are worth their cost."""
        ...
