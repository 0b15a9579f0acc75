"""Frozen records: what goes into the store and what comes out of it. No row or session leaves with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from store.errors import InvalidRecord
from store.plain import finite, named, not_negative, plain_mapping

SEARCH_STATES = ("running", "finished", "stopped", "failed")
FAILED = ("failed", "diverged")  # states of a trial that ended without a result, and was not given up
TRIAL_STATES = ("queued", "running", "completed", "failed", "diverged", "cancelled")
RETRACTED = "retracted"  # how a finished trial reads once it is taken back; its row stays as it was
OUTDATED = "outdated"  # and once it weighs a domain that was removed
SHARE_TOLERANCE = 1e-9  # of the shares of a domain that was split, to their sum
OPEN_STATES = ("queued", "running")
ATTEMPT_STATES = ("running", "completed", "duplicate", "failed", "diverged", "cancelled", "lost")
MEASUREMENT_KINDS = ("loss", "accuracy")
WASTED_STATES = ("duplicate", "cancelled", "lost")
MAX_BIGINT = 2**63 - 1  # the widest integer that every database holds

Stages = Sequence[tuple[float, Mapping[str, float]]]


class CurvePoint(NamedTuple):
    """The training loss, in nats per token, after `tokens`; NaN where it was not finite."""

    tokens: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search, with its configuration as last revised and the available tokens of each domain, in order.

    explored: with this configuration there is nothing more to propose.
    """

    id: int
    name: str
    seed: int
    state: str
    config: Mapping[str, Any]
    config_hash: str
    corpus: Mapping[str, Any]
    domains: Mapping[str, int]
    explored: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A configuration of a search; number 0 is the one that it began with."""

    search_id: int
    number: int
    config: Mapping[str, Any]
    config_hash: str
    note: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class DomainChange:
    """What became of the domains of a search, and the text that they stand for from then on.

    parts: for a domain that is no longer called so, the shares of its tokens by what they belong to now: one for a
    rename, several for a split, none where it was removed. revised: for a domain of the new ones, the fraction (above
    0, to 1) of its text that is another than it was. domains: the available tokens of every domain, in order.
    """

    parts: Mapping[str, Mapping[str, float]]
    revised: Mapping[str, float]
    domains: Mapping[str, int]
    corpus: Mapping[str, object]

    def __post_init__(self) -> None:
        if not self.domains:
            raise InvalidRecord("a search needs a domain; keep one")
        for name, tokens in self.domains.items():
            named(name, what="the name of a domain")
            not_negative(tokens, what=f"the available tokens of {name!r}")
        for old, shares in self.parts.items():
            total = sum(not_negative(share, what=f"the share of {new!r} in {old!r}") for new, share in shares.items())
            if unknown := sorted(set(shares) - set(self.domains)):
                raise InvalidRecord(f"{old!r} became {unknown}, which are no domains; known: {list(self.domains)}")
            if shares and abs(total - 1.0) > SHARE_TOLERANCE:
                raise InvalidRecord(f"the shares of {old!r} sum to {total}; they must to 1")
        for name, fraction in self.revised.items():
            if name not in self.domains or not _in_unit_interval(fraction, what=f"what changed of {name!r}") > 0.0:
                raise InvalidRecord(f"{fraction} of domain {name!r} changed; give a fraction above 0 of one there is")


@dataclass(frozen=True, kw_only=True)
class NewTrial:
    """A trial to add. `content` is what `run_hash` names; `weights` average the recipe's stages over its tokens.

    `predicted` maps the objective and evaluation sets to `{"mean": ..., "sd": ...}`; `seen` numbers the trials it was
    proposed from.
    """

    purpose: str
    fidelity: str
    seed: int
    part: str
    recipe: Sequence[tuple[float, Mapping[str, float]]]
    weights: Mapping[str, float]
    run_hash: str
    content: Mapping[str, object]
    charged_flops: float
    reason: str = ""
    predicted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seen: Sequence[int] = ()

    def __post_init__(self) -> None:
        for what in ("purpose", "fidelity", "part", "run_hash"):
            named(getattr(self, what), what=what)
        if not 0 <= self.seed <= MAX_BIGINT:
            raise InvalidRecord(f"seed is {self.seed}; give one from 0 to {MAX_BIGINT}")
        if not self.recipe:
            raise InvalidRecord("the recipe of a trial is empty; give at least one stage")
        not_negative(self.charged_flops, what="charged_flops")
        for domain, weight in self.weights.items():
            _in_unit_interval(weight, what=f"the weight of {domain!r}")
        for share, weights in self.recipe:
            _in_unit_interval(share, what="the share of a stage")
            for domain, weight in weights.items():
                _in_unit_interval(weight, what=f"the weight of {domain!r} in a stage")
        for name, prediction in self.predicted.items():
            if set(prediction) != {"mean", "sd"}:
                raise InvalidRecord(f"the prediction of {name!r} has {sorted(prediction)}; give 'mean' and 'sd'")
            finite(prediction["mean"], what=f"the predicted mean of {name!r}")
            not_negative(prediction["sd"], what=f"the predicted sd of {name!r}")


class Trial(NamedTuple):
    """A run as one search asked for it, with what was measured on its part: losses (bits per byte), and accuracies.

    A trial that was taken back reads as "retracted", has no measurements, and says why in `error`; likewise one that
    weighs a domain that was removed since as "outdated". `weights` are of the search's domains as they are now,
    whatever they were called then; `stale` is the fraction of its tokens from text that is another by now.
    `recipe` and `seen` are as it was proposed. `items` counts the questions behind an accuracy, where that is known.
    `elapsed_s` is None until something has ended; a trial that took over a finished run has no attempts.
    """

    id: int
    search_id: int
    number: int
    run_hash: str
    purpose: str
    fidelity: str
    seed: int
    part: str
    weights: Mapping[str, float]
    recipe: Stages
    state: str
    reason: str
    seen: Sequence[int]
    charged_flops: float
    losses: Mapping[str, float]
    accuracies: Mapping[str, float]
    items: Mapping[str, int]
    error: str | None
    attempts: int
    elapsed_s: float | None
    stale: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrialDetail:
    """What else is recorded of a trial: what was predicted for it, its passes over its domains, and when it was what.

    predicted: mean and sd by the objective's name and those of evaluation sets. epochs: of the search's domains as they
    are now, of unchanged text only; empty until it is completed. A trial that took over a finished run never started.
    """

    number: int
    predicted: Mapping[str, Mapping[str, float]]
    epochs: Mapping[str, float]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that a run left behind, by path; `bytes` is its size."""

    name: str
    path: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        named(self.name, what="the name of an artifact")
        named(self.path, what=f"the path of artifact {self.name!r}")
        not_negative(self.bytes, what=f"the bytes of artifact {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a completed training measured, its curve, and what it took.

    At least one of losses (bits per byte, finite) and accuracies (in [0, 1]; `items` counts their questions).
    """

    losses: Mapping[str, float]
    curve: Sequence[tuple[int, float]]
    epochs: Mapping[str, float]
    spent_flops: float
    elapsed_s: float
    artifacts: Sequence[Artifact] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    accuracies: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.losses and not self.accuracies:
            raise InvalidRecord("a completed trial measured nothing; record it as failed, or measure an evaluation set")
        for name, loss in self.losses.items():
            finite(loss, what=f"the loss on {name!r}")
        for name, accuracy in self.accuracies.items():
            _in_unit_interval(accuracy, what=f"the accuracy on {name!r}")
        for name, items in self.items.items():
            if name not in self.accuracies or items < 1:
                raise InvalidRecord(f"{name!r} has {items} items; give a number above 0 to a set with an accuracy")
        for domain, epochs in self.epochs.items():
            not_negative(epochs, what=f"the epochs of {domain!r}")
        not_negative(self.spent_flops, what="spent_flops")
        not_negative(self.elapsed_s, what="elapsed_s")
        plain_mapping(self.details, what="details")
        if len({tokens for tokens, _ in self.curve}) < len(self.curve):
            raise InvalidRecord("a training curve has two losses at the same count of tokens; keep one")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, named by its content. `wasted_flops` and `wasted_s` went to attempts that led to nothing."""

    run_hash: str
    content: Mapping[str, Any]
    epochs: Mapping[str, float]
    details: Mapping[str, Any]
    spent_flops: float
    wasted_flops: float
    wasted_s: float
    elapsed_s: float | None
    completed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a trial on a worker; `seen_at` is when it was last known to live, `node` None where nobody said.

    began_s: the seconds for which its search had been driven when it began, None where nobody said.
    """

    trial_id: int
    number: int
    worker: str
    node: str | None
    state: str
    error: str | None
    spent_flops: float
    elapsed_s: float | None
    began_s: float | None
    started_at: datetime
    seen_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fit of the surrogate and the numbers of the trials that it had seen."""

    id: int
    search_id: int
    seen: Sequence[int]
    payload: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What a search recommended, when; `undermined` numbers the trials known then that were retracted since."""

    id: int
    search_id: int
    payload: Mapping[str, Any]
    created_at: datetime
    undermined: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write a search, held by one driver until it expires."""

    search_id: int
    owner: str
    host: str
    pid: int
    acquired_at: datetime
    renewed_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Retraction:
    """That trial `number` is wrong, and why."""

    trial_id: int
    number: int
    reason: str
    retracted_at: datetime


class Tally(NamedTuple):
    """How many trials of one fidelity, purpose and state a search has, what they are charged and how long they took."""

    fidelity: str
    purpose: str
    state: str
    trials: int
    charged_flops: float
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """The trials of a search by columns, as they were at `mark`, an entry each, by number; see `Trial` for the words.

    of: the search, its configuration, and whose prediction it holds. weights: by domain; losses (bits per byte) and
    accuracies: by evaluation set. What a trial does not say is nan, and of text and moments None.
    """

    of: tuple[int, str, str | None]
    mark: int
    numbers: Sequence[int]
    purposes: Sequence[str]
    fidelities: Sequence[str]
    parts: Sequence[str]
    seeds: Sequence[int]
    states: Sequence[str]
    reasons: Sequence[str]
    errors: Sequence[str | None]
    started_at: Sequence[datetime | None]
    finished_at: Sequence[datetime | None]
    charged_flops: Sequence[float]
    elapsed_s: Sequence[float]
    weights: Mapping[str, Sequence[float]]
    stale: Sequence[float]
    losses: Mapping[str, Sequence[float]]
    accuracies: Mapping[str, Sequence[float]]
    predicted_means: Sequence[float]
    predicted_sds: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The trials of a search, counted: all of them, and the FLOPs charged for those that were not cancelled."""

    trials: int
    charged_flops: float


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The trials of a search that were altered since some mark, as they are now; `mark` is where to go on from."""

    mark: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class DriverSession:
    """A driver that ran a search: its software, its machine and its text, as it said when it began."""

    search_id: int
    provenance: Mapping[str, Any]
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class Message:
    """A wish left in a search's inbox for its driver."""

    id: int
    search_id: int
    kind: str
    payload: Mapping[str, Any]
    posted_at: datetime


def _in_unit_interval(value: float, *, what: str) -> float:
    if not 0 <= not_negative(value, what=what) <= 1:
        raise InvalidRecord(f"{what} is {value}; give a fraction from 0 to 1")
    return float(value)
