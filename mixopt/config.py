"""A search's YAML file to typed values, or an error that names file, line and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mixopt.command import Command
from mixopt.config_checks import check
from mixopt.config_command import command_of
from mixopt.config_wording import WRONG, path_of, shown, unknown, wording, wrong
from mixopt.errors import ConfigError, EmptySpace
from mixopt.fidelity import Fidelity, Ladder, Target
from mixopt.located_yaml import read_yaml
from mixopt.mixture import Domain
from mixopt.objective import ERROR, Objective, set_minimized
from mixopt.sections import (
    HOUR_S,
    CorpusSection,
    DomainSection,
    EvaluationSection,
    ExpertsSection,
    ObjectiveSection,
    Positive,
    ProofSection,
    RungSection,
    Section,
    SimulatedSection,
    StrategySection,
    TargetSection,
    Whole,
    WorkersSection,
    unless_false,
)
from mixopt.space import LinearConstraint, SearchSpace
from mixopt.url_secrets import secret_places

IN_THE_OPEN = (
    "a URL here holds a password or key, which the store would keep and show; leave it out of the URL, and put it into "
    "variables of the file system where trainings run (FSSPEC_S3_KEY and FSSPEC_S3_SECRET or those of AWS, "
    "FSSPEC_FTP_PASSWORD, ...), or for a command into one that workers.environment names"
)


class SearchConfig(Section):
    """One search: everything that decides its trials, and nothing else."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
    seed: Whole = 0
    corpus: CorpusSection = CorpusSection()
    domains: Annotated[tuple[DomainSection, ...], Field(min_length=1)]
    evaluation: dict[str, EvaluationSection] = Field(default_factory=dict)
    objective_section: ObjectiveSection = Field(alias="objective")
    constraints: tuple[str, ...] = ()
    max_epochs: Positive | None = None
    target_section: TargetSection | None = Field(default=None, alias="target")
    rungs: Annotated[tuple[RungSection, ...], Field(min_length=1)] = Field(alias="ladder")
    experts: ExpertsSection | None = None
    strategy: StrategySection = StrategySection()
    stated_flops: Positive | None = Field(default=None, alias="budget_flops")
    budget_device_hours: Positive | None = None
    throughput_flops: Positive | None = None
    time_limit_s: Positive | None = None
    proof: Annotated[ProofSection | None, BeforeValidator(unless_false)] = ProofSection()
    workers: WorkersSection = WorkersSection()
    simulated: SimulatedSection | None = None
    _root: Path = PrivateAttr(default_factory=Path.cwd)

    @classmethod
    def from_plain(cls, plain: Mapping[str, object], *, root: Path | None = None) -> Self:
        """Return the configuration that `resolved` wrote or a program made; `root` is where relative paths start."""
        try:
            return cls.model_validate(dict(plain), context=root)
        except ValidationError as error:
            first = error.errors()[0]
            keys = ".".join(map(str, path_of(first)))
            raise _error(first, ": ".join(filter(None, [keys, wording(first, cls)]))) from None

    def model_post_init(self, context: Path | None, /) -> None:
        """Keep the folder where relative paths start, which is no part of what the search means."""
        self._root = Path.cwd() if context is None else context

    @property
    def root(self) -> Path:
        """The folder where relative paths start: the file's own."""
        return self._root

    @property
    def objective(self) -> Objective:
        """The number to minimize."""
        return Objective.from_plain(self.objective_section.model_dump(), every=self.sets)

    @property
    def target(self) -> Target | None:
        """The training that the mixture is for, None where the top rung is all that is wanted."""
        section = self.target_section
        return None if section is None else Target(parameters=section.parameters, tokens=section.tokens)

    @property
    def counts_flops(self) -> bool:
        """Whether the budget is known in FLOPs; one in device-hours is, once the throughput of a device is."""
        return self.stated_flops is not None or self.throughput_flops is not None

    @property
    def budget_flops(self) -> float:
        """What all trials may cost; ConfigError where it is given in hours and nobody has measured the throughput."""
        if self.stated_flops is not None:
            return self.stated_flops
        if self.budget_device_hours is None or self.throughput_flops is None:
            raise ConfigError(
                f"budget_device_hours {self.budget_device_hours:g} are not known in FLOPs; give `throughput_flops`, "
                "the FLOPs a second of one device; `mixopt run` measures them"
            )
        return self.budget_device_hours * HOUR_S * self.throughput_flops

    def with_throughput(self, throughput_flops: float) -> Self:
        """Return the search of a budget in device-hours with what a device does in a second."""
        plain = self.resolved() | {"throughput_flops": throughput_flops, "budget_flops": None}
        return self.from_plain(plain, root=self.root)

    @property
    def command(self) -> Command | None:
        """The user's own trainer, None where mixopt's trains."""
        if self.workers.command is None:
            return None
        return command_of(self.workers, self.rungs)

    @property
    def trained_outside(self) -> bool:
        """Whether mixopt starts no training: it is asked for trials, and told of their losses."""
        return self.workers.kind == "outside"

    @property
    def has_own_text(self) -> bool:
        """Whether mixopt prepares the text: a simulated search has none, and other trainers bring their own."""
        return self.simulated is None and not self.is_foreign

    @property
    def revisions(self) -> str:
        """Which domains were revised how often since the search began, as part of a digest; empty where none was."""
        return "".join(f"-{each.name}.{each.revision}" for each in self.domains if each.revision)

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else's trainer trains, started by mixopt or not."""
        return self.workers.command is not None or self.trained_outside

    @property
    def sets(self) -> tuple[str, ...]:
        """Every evaluation set, whether or not the objective counts it: of losses, then of errors (`error/<set>`)."""
        if self.simulated is not None:
            return self.simulated.sets
        asked = [name for name, each in self.evaluation.items() if (each.source or {}).get("choices") is not None]
        return (*map(set_minimized, self.evaluation), *(ERROR + name for name in asked))

    @property
    def tokens(self) -> int:
        """The tokens that max_epochs refers to: the target's, or else the top rung's."""
        return self.rungs[-1].tokens if self.target_section is None else self.target_section.tokens

    def space(self, available_tokens: Mapping[str, int] | None = None) -> SearchSpace:
        """Return the mixtures allowed; caps by epochs need `available_tokens`, stated in the file or given here.

        Raises:
            EmptySpace: no mixture is allowed.
        """
        names = [section.name for section in self.domains]
        return SearchSpace(
            domains=tuple(self.domain_of(section, available_tokens or {}) for section in self.domains),
            constraints=tuple(c for text in self.constraints for c in LinearConstraint.parse(text, names)),
            tokens=self.tokens,
        )

    def rung(self, name: str) -> RungSection:
        """Return the rung `name` as the file has it."""
        for rung in self.rungs:
            if rung.name == name:
                return rung
        raise ConfigError(unknown("rung", name, [rung.name for rung in self.rungs]))

    def ladder(self, vocabulary: int, evaluation_tokens: int) -> Ladder:
        """Return the rungs with their costs, for a corpus of that vocabulary and so many tokens to evaluate."""
        return Ladder(
            rungs=tuple(_fidelity(rung, vocabulary, evaluation_tokens) for rung in self.rungs), target=self.target
        )

    def corpus_plain(self) -> dict[str, object]:
        """Return the plain corpus configuration: tokenizer, domains with their sources, evaluation sets, seed."""
        return {
            "tokenizer": dict(self.corpus.tokenizer),
            "domains": [section.text_plain() for section in self.domains],
            "evaluation": [section.text_plain(name) for name, section in self.evaluation.items()],
            "seed": self.corpus.seed,
        }

    def simulated_plain(self) -> dict[str, object]:
        """Return the plain simulated law: the file's section, and the domains in their order."""
        assert self.simulated is not None
        plain = {"domains": [section.name for section in self.domains]} | self.simulated.model_dump(mode="json")
        if self.revisions:
            plain["revisions"] = self.revisions
        if self.simulated.harm:  # what repeats decides losses too
            plain["available_tokens"] = [section.available_tokens for section in self.domains]
            plain["target_tokens"] = None if self.target is None else self.target.tokens
        return plain

    def resolved(self) -> dict[str, object]:
        """Return the configuration as plain JSON values, every default written out; `from_plain` reads it."""
        plain = self.model_dump(mode="json", by_alias=True)
        plain |= {"budget_flops": self.budget_flops if self.counts_flops else None}
        # What was resolved before there were such keys stays the same; nearly always they are not there.
        for key in ("budget_device_hours", "throughput_flops"):
            if plain[key] is None:
                del plain[key]
        for key, sections in (("revision", plain["domains"]), ("kept", plain["evaluation"].values())):
            for section in sections:
                if not section[key]:
                    del section[key]
        return plain

    def file_text(self) -> str:
        """Return a YAML file that means the same, without what it need not say; for the folder that `root` is."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        plain |= {"budget_flops": self.resolved()["budget_flops"]}
        return yaml.safe_dump({"name": self.name} | plain, sort_keys=False, allow_unicode=True, width=120)

    def digest(self) -> str:
        """Return the sha256 of what is resolved: equal for files that mean the same."""
        text = json.dumps(self.resolved(), sort_keys=True, allow_nan=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def renamed(self, *, name: str | None = None, seed: int | None = None) -> Self:
        """Return the same search under another name or with another seed."""
        plain = self.resolved() | ({} if name is None else {"name": name}) | ({} if seed is None else {"seed": seed})
        return self.from_plain(plain, root=self.root)

    def domain_of(self, section: DomainSection, counted: Mapping[str, int]) -> Domain:
        """Return a domain with its bounds and caps; `counted` says how many tokens of it there are."""
        available = section.available_tokens or counted.get(section.name)
        epochs = section.max_epochs if section.max_epochs is not None else self.max_epochs
        return Domain(
            name=section.name,
            available_tokens=available,
            min_weight=section.min_weight,
            max_weight=section.max_weight,
            max_epochs=epochs if available is not None else None,  # before the text is counted, nothing to cap
            weight=section.weight,
        )

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_prove_outside(cls, plain: object) -> object:
        """Leave the proof out of a search that starts no training, unless its file asks for one."""
        if isinstance(plain, dict) and isinstance(workers := plain.get("workers"), dict):
            return ({"proof": False} if workers.get("kind") == "outside" else {}) | plain
        return plain

    @model_validator(mode="before")
    @classmethod
    def _without_secrets(cls, plain: object) -> object:
        """Refuse passwords before anything else is looked at, whose message might show them."""
        if (path := next(secret_places(plain), None)) is not None:
            raise wrong(path, IN_THE_OPEN)
        return plain

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check(self)
        return self


def load(path: Path | str) -> SearchConfig:
    """Return the search of a YAML file; relative paths in it start at its folder.

    Raises:
        ConfigError: file, line, key, what was got and what is allowed; of several things wrong, the first in the file.
        EmptySpace: bounds and constraints that leave no mixture.
    """
    located = read_yaml(Path(path))
    if not isinstance(located.plain, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values; got {shown(located.plain)}")
    try:
        return SearchConfig.model_validate(located.plain, context=Path(path).resolve().parent)
    except ValidationError as error:
        first = min(error.errors(), key=lambda e: located.line(path_of(e)))
        keys = path_of(first)
        place = f"{path}:{located.line(keys)}: {'.'.join(map(str, keys))}" if keys else str(path)
        rest = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise _error(first, f"{place}: {wording(first, SearchConfig)}{rest}") from None


def objective_of(resolved: Mapping[str, object]) -> Objective:
    """Return the objective of a configuration as `resolved` wrote it, such as the store keeps."""
    plain = resolved["objective"]
    assert isinstance(plain, dict), "a resolved configuration has an objective"
    return Objective.from_plain(plain)


def _fidelity(rung: RungSection, vocabulary: int, evaluation_tokens: int) -> Fidelity:
    parameters = rung.parameters if rung.proxy is None else rung.model.active_parameters(vocabulary)
    assert parameters is not None
    cost_flops = rung.trial_flops(tokens=rung.tokens, vocabulary=vocabulary, evaluation_tokens=evaluation_tokens)
    return Fidelity(
        name=rung.name, tokens=rung.tokens, parameters=parameters, cost_flops=cost_flops, noise_sd=rung.noise_sd
    )


def _error(error: ErrorDetails, message: str) -> ConfigError | EmptySpace:
    empty = error["type"] == WRONG and error["ctx"]["kind"] == "empty"
    return EmptySpace(message) if empty else ConfigError(message)
