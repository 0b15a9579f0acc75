"""The sections of a search's file: keys, types and every default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from mixopt.config_wording import WRONG_PROXY
from proxies.config import ProxyConfig, trial_flops
from proxies.errors import ProxyError
from proxies.plain_values import meant
from proxies.schedules import stable_steps
from proxies.simulated import SimulatedLaw

HOUR_S = 3_600.0
NOMINAL_VOCABULARY = 32_768  # of a tokenizer file not opened yet; only to see whether the rungs rise in cost

StrategyName = Literal[
    "random",
    "natural",
    "uniform",
    "temperature",
    "unimax",
    "regmix",
    "log-linear",
    "mde",
    "marin",
    "scheffe",
    "admire",
    "admire-raw",
    "botorch",
    "bayesian",
]
AcquisitionName = Literal["knowledge_gradient", "expected_improvement", "max_value_entropy"]
RivalName = Literal["natural", "uniform", "unimax", "single"]


def _whole(value: object) -> object:
    """Return a count that was written as a float or like `4e6` (which YAML reads as text) as the int that it means."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "not a whole number")
    number = meant(value)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number if isinstance(number, int) else value


def _proxy(value: object) -> object:
    """Return the proxy with every default of its own; ProxyError says what is wrong with it."""
    try:
        return ProxyConfig.from_plain(value).to_plain() if isinstance(value, dict) else value
    except ProxyError as error:
        raise PydanticCustomError(WRONG_PROXY, "{message}", {"message": str(error)}) from None


def unless_false(value: object) -> object:
    """Return None for false, the defaults for true, anything else as it is."""
    return {} if value is True else None if value is False else value


Count = Annotated[int, BeforeValidator(_whole), Field(gt=0)]
Whole = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Positive = Annotated[float, Field(gt=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Plain = dict[str, object]


class Section(BaseModel):
    """What every section is: frozen, unknown keys refused, numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CorpusSection(Section):
    """How text becomes tokens; `folder` is where what is prepared lies, None for `corpora/` beside the store."""

    tokenizer: Plain = {"kind": "bytes"}
    folder: str | None = None
    seed: Whole = 0

    @property
    def nominal_vocabulary(self) -> int:
        """The entries of the tokenizer, as far as the file tells: nothing is opened."""
        stated = self.tokenizer.get("vocabulary")
        if isinstance(stated, int):
            return stated
        return 256 if self.tokenizer.get("kind") == "bytes" else NOMINAL_VOCABULARY


class DomainSection(Section):
    """One domain: where its text comes from, and the bounds of its weight (`weight` pins it).

    held_out: share of the documents kept for evaluation; None is a twentieth, or more where the domain is small.
    revision: how often its text was revised since the search began, see `mixopt domains`.
    """

    name: str
    source: Plain | None = None
    available_tokens: Count | None = None
    held_out: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    min_weight: Fraction = 0.0
    max_weight: Fraction = 1.0
    max_epochs: Positive | None = None
    weight: Fraction | None = None
    revision: Whole = 0

    def text_plain(self) -> dict[str, object]:
        """Return what a corpus needs to know of it."""
        return self.model_dump(include={"name", "source", "available_tokens", "held_out"}, exclude_none=True)


class EvaluationSection(Section):
    """One evaluation set: the held-out part of a domain, text of its own, or `kept` as in that prepared corpus."""

    domain: str | None = None
    source: Plain | None = None
    kept: str | None = None
    max_bytes: Count = 32_768
    excerpt_tokens: Count = 256
    max_items: Count = 256

    def text_plain(self, name: str) -> dict[str, object]:
        """Return what a corpus needs to know of the set `name`."""
        return {"name": name, **self.model_dump(exclude_none=True)}


class GuardSection(Section):
    """No set worse than with the natural mixture by more than `delta`; `sets` () is all of them."""

    delta: Annotated[float, Field(ge=0.0)] = 0.0
    sets: tuple[str, ...] = ()
    probability: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9


class ObjectiveSection(Section):
    """The weighted mean of losses (`weights`), or the worst of some (`kind: worst`, `sets`).

    `accuracy/<set>` of multiple choice counts as 1 - accuracy.
    """

    kind: Literal["mean", "worst"] = "mean"
    weights: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    sets: tuple[str, ...] = ()
    no_worse_than_natural: GuardSection | None = None


class TargetSection(Section):
    """The training that the mixture is for."""

    parameters: Count
    tokens: Count


class RungSection(Section):
    """One rung of the ladder: what is trained on how many tokens, and what one training occupies.

    What is trained is a `proxy` of mixopt's own, or for the user's own command its (active) `parameters`;
    cost_flops: of one trial, None is 6 a parameter and token. steps: what {steps} stands for. values: further
    placeholders of the command. resources: of Ray, beside CPUs and GPUs. processes: that share a training, each
    occupying that much. timeout_s: a training that takes longer fails.
    noise_sd: of the objective over seeds, where it is known. continues: a rung of the same proxy on fewer tokens; a
    trial whose mixture and seed were trained there goes on from there, and is charged the steps that it adds.
    """

    name: str
    tokens: Count
    proxy: Annotated[Plain | None, BeforeValidator(_proxy)] = None
    parameters: Count | None = None
    cost_flops: Positive | None = None
    steps: Count | None = None
    continues: str | None = None
    noise_sd: Annotated[float, Field(ge=0.0)] | None = None
    values: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str | int | float] = {}
    cpus: Positive = 1.0
    gpus: Annotated[float, Field(ge=0.0)] = 0.0
    resources: dict[str, Positive] = {}
    processes: Count = 1
    timeout_s: Positive | None = None

    @property
    def model(self) -> ProxyConfig:
        """The proxy of a rung that has one."""
        assert self.proxy is not None
        return ProxyConfig.from_plain(self.proxy)

    @property
    def merges_experts(self) -> bool:
        """Whether its trainings start from the data experts of the search."""
        return self.proxy is not None and self.model.merges_experts

    def trial_flops(self, *, tokens: int, vocabulary: int, evaluation_tokens: int) -> float:
        """Return the nominal cost of a trial on `tokens`; a command's is stated, or 6 FLOPs a parameter and token."""
        if self.proxy is not None:
            return trial_flops(self.model, tokens=tokens, vocabulary=vocabulary, evaluation_tokens=evaluation_tokens)
        assert self.parameters is not None
        return (self.cost_flops or 6.0 * self.parameters * self.tokens) * (tokens / self.tokens)


def continued_tokens(rung: RungSection) -> int:
    """Return how many tokens a longer training is spared that goes on from one of `rung`."""
    model = rung.model
    return stable_steps(model, rung.tokens // model.batch_tokens) * model.batch_tokens


class ExpertsSection(Section):
    """One data expert a domain, trained like the rung `rung`, with at most `max_passes` over the domain's text."""

    rung: str
    max_passes: Positive = 8.0


class StrategySection(Section):
    """How trials are chosen, and the mixtures that open the search.

    acquisition, stop_below: of the strategy `bayesian`: what it values trials by, and the expected gain (bits per byte
    for what a trial at the top rung costs) below which it ends the search before its budget; 0 never does.
    """

    name: StrategyName = "bayesian"
    natural_seeds: Count = 4
    spread: Whole = 12
    acquisition: AcquisitionName = "knowledge_gradient"
    stop_below: Annotated[float, Field(ge=0.0)] = 0.0


class ProofSection(Section):
    """How the recommendation is proved: rivals trained beside it at the top rung, with the same seeds."""

    seeds: Annotated[int, BeforeValidator(_whole), Field(ge=2)] = 4
    mixtures: tuple[RivalName, ...] = ("natural", "uniform", "unimax", "single")


class SimulatedSection(Section):
    """The law that stands for the trainings of a rehearsal, and the evaluation sets that it has."""

    sets: tuple[str, ...] = ()
    seed: Whole = SimulatedLaw.seed
    noise: Annotated[float, Field(ge=0.0)] = SimulatedLaw.noise
    bias: Annotated[float, Field(ge=0.0)] = SimulatedLaw.bias
    reference_tokens: Count = SimulatedLaw.reference_tokens
    harm: Annotated[float, Field(ge=0.0)] = SimulatedLaw.harm
    onset: Positive = SimulatedLaw.onset
    limits: dict[str, Fraction] = {}
    device_flops: Positive = SimulatedLaw.device_flops


class WorkersSection(Section):
    """Where proxies train, and with what; `slots` None is as many at a time as the place has room for.

    kind: `outside` starts no training, see `mixopt ask`.
    command: the user's own trainer in place of mixopt's, as one text or word by word, with placeholders; shell: it is
    handed to /bin/sh. environment: names of variables that it gets as `mixopt run` has them; their values are kept
    nowhere. paths: where it keeps the text of every domain, as exporters take them. checkpoints: a folder or URL for
    those of trainings that run, None for one beside the store; checkpoint_s: how often they are saved.
    together: how many trials of a rung train as one program, and are proposed at once for it; None: those that wait
    anyhow, as many as is fastest by measuring; 1: none.
    """

    kind: Literal["ray", "local", "simulated", "outside"] = "ray"
    slots: Count | None = None
    address: str = "local"
    command: str | tuple[str, ...] | None = None
    shell: bool = False
    environment: tuple[str, ...] = ()
    paths: Plain = {}
    checkpoints: str | None = None
    checkpoint_s: Positive = 60.0
    together: Count | None = None
