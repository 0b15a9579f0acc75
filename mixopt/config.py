"""A search's YAML file to typed values, or an error that names file, line and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from math import isclose
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mixopt.command import Command
from mixopt.config_command import check_command, check_outside, check_rung, command_of
from mixopt.config_wording import WRONG, path_of, shown, unknown, wording, wrong
from mixopt.errors import ConfigError, EmptySpace
from mixopt.fidelity import EXPERT_FIDELITY, Fidelity, Ladder, Target
from mixopt.located_yaml import read_yaml
from mixopt.mixture import Domain, check_name
from mixopt.objective import ERROR, Objective, set_minimized, shown_set
from mixopt.sections import (
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
    continued_tokens,
    unless_false,
)
from mixopt.space import LinearConstraint, SearchSpace
from mixopt.url_secrets import secret_places
from proxies.corpus_config import CorpusConfig
from proxies.errors import ProxyError, SourceError
from proxies.starts import check_merging

RESERVED_SET = "objective"  # the key of the objective among predictions, beside the sets
HOUR_S = 3_600.0
SAME_BUDGET = 1e-9  # of it: float error of hours times throughput
IN_THE_OPEN = (
    "a URL here holds a password or key, which the store would keep and show; leave it out of the URL, and put it into "
    "variables of the file system where trainings run (FSSPEC_S3_KEY and FSSPEC_S3_SECRET or those of AWS, "
    "FSSPEC_FTP_PASSWORD, ...), or for a command into one that workers.environment names"
)
NOMINAL_VOCABULARY = 32_768  # of a tokenizer file not opened yet; only to see whether the rungs rise in cost


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
        return self.simulated is None and not self._foreign

    @property
    def revisions(self) -> str:
        """Which domains were revised how often since the search began, as part of a digest; empty where none was."""
        return "".join(f"-{each.name}.{each.revision}" for each in self.domains if each.revision)

    @property
    def _foreign(self) -> bool:
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
            domains=tuple(self._domain(section, available_tokens or {}) for section in self.domains),
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
            "domains": [_plain_domain(section) for section in self.domains],
            "evaluation": [_plain_set(name, section) for name, section in self.evaluation.items()],
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

    def _domain(self, section: DomainSection, counted: Mapping[str, int]) -> Domain:
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

    @property
    def _kind(self) -> str:
        if self.simulated is not None:
            return "simulated"
        return "outside" if self.trained_outside else "a command's"

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
        self._check_domains()
        self._check_evaluation()
        self._check_objective()
        self._check_rungs()
        self._check_ladder()
        self._check_budget()
        self._check_proof()
        self._check_space()
        if self.trained_outside:
            asked = {"command": self.workers.command, "simulated": self.simulated}
            check_outside(asked | {"experts": self.experts, "proof": self.proof})
        elif self.workers.command is not None:
            if self.simulated is not None or self.workers.kind == "simulated":
                message = "a simulated search trains nothing; remove the command, or `simulated`"
                raise wrong(("workers", "command"), message)
            available = {section.name: section.available_tokens or 0 for section in self.domains}
            check_command(self.workers, self.rungs, search=self.name, available_tokens=available)
        if self.has_own_text:
            self._check_corpus()
        return self

    def _check_domains(self) -> None:
        for i, section in enumerate(self.domains):
            if section.name in [earlier.name for earlier in self.domains[:i]]:
                raise wrong(("domains", i, "name"), f"domain {section.name!r} is there twice; rename one")
            if self.has_own_text and section.source is None:
                raise wrong(("domains", i), f"domain {section.name!r} has no source; say where its text comes from")
            if not self.has_own_text and section.available_tokens is None:
                raise wrong(("domains", i), f"{self._kind} domain {section.name!r} needs available_tokens; state them")
            if self._foreign and section.source is not None:
                message = f"domain {section.name!r} has a source, but another trainer reads its own text; remove it"
                raise wrong(("domains", i, "source"), message)
            _check_name(("domains", i, "name"), "domain", section.name)
            try:
                self._domain(section, {})
            except ConfigError as error:
                raise wrong(("domains", i), str(error)) from None

    def _check_evaluation(self) -> None:
        if self.workers.kind == "simulated" and self.simulated is None:
            raise wrong(("workers", "kind"), "simulated workers need a section `simulated`; add it, or use ray")
        if not self.sets:
            where, what = (
                ("simulated", "`sets`, a list of names") if self.simulated is not None else ("evaluation", "a set")
            )
            raise wrong((where,), f"nothing to evaluate on; {where} needs {what}")
        for i, name in enumerate(self.evaluation if self.simulated is None else self.sets):
            path = ("evaluation", name) if self.simulated is None else ("simulated", "sets", i)
            has_accuracies = self._foreign
            _check_name(path, "evaluation set", set_minimized(name).removeprefix(ERROR) if has_accuracies else name)
            if name == RESERVED_SET:
                message = f"{name!r} is what predictions of the objective are called; name the set otherwise"
                raise wrong(path, message)
        names = [section.name for section in self.domains]
        for name in {} if self.simulated is None else self.simulated.limits:
            if name not in names:
                raise wrong(("simulated", "limits", name), unknown("domain", name, names))
        if self._foreign:
            return
        for name, section in self.evaluation.items():
            if sum(each is not None for each in (section.domain, section.source, section.kept)) != 1:
                raise wrong(
                    ("evaluation", name), f"evaluation set {name!r} needs either a domain or a source; give one"
                )
            if section.domain is not None and section.domain not in names:
                raise wrong(("evaluation", name, "domain"), unknown("domain", section.domain, names))

    def _check_objective(self) -> None:
        section = self.objective_section
        named, other = ("sets", "weights") if section.kind == "worst" else ("weights", "sets")
        if getattr(section, other) or not getattr(section, named):
            message = f"an objective of kind {section.kind!r} needs {named!r} and no {other!r}"
            raise wrong(("objective",), message)
        self._check_sets(("objective", named), getattr(section, named))
        if section.no_worse_than_natural is not None:
            self._check_sets(("objective", "no_worse_than_natural", "sets"), section.no_worse_than_natural.sets)
        try:
            self.objective.array(self.sets)
        except ConfigError as error:
            raise wrong(("objective", named), str(error)) from None

    def _check_sets(self, path: tuple[str, ...], names: Iterable[str]) -> None:
        """Refuse an evaluation set that is named at `path`, a list or a mapping by name, and that there is none of."""
        for place, name in enumerate(names):
            if set_minimized(name) not in self.sets:
                at = (*path, place if path[-1] == "sets" else name)
                raise wrong(at, unknown("evaluation set", name, [shown_set(known) for known in self.sets]))

    def _check_rungs(self) -> None:
        for i, rung in enumerate(self.rungs):
            if self._foreign:
                check_rung(("ladder", i), rung)
                continue
            if rung.proxy is None:
                raise wrong(("ladder", i, "proxy"), "key 'proxy' is missing; add it")
            for key in ("parameters", "cost_flops", "steps", "values"):
                if getattr(rung, key):
                    raise wrong(
                        ("ladder", i, key), f"{key!r} is for a command; a proxy is counted by mixopt: remove it"
                    )
            if rung.continues is not None:
                self._check_continued(i, rung, rung.continues)
            if rung.merges_experts:
                self._check_merged(i, rung)
            step = rung.model.batch_tokens
            if rung.tokens < step:
                message = f"{rung.tokens} tokens are less than one batch of rung {rung.name!r}, {step}; give more"
                raise wrong(("ladder", i, "tokens"), message)
            if rung.processes > 1 and self.workers.kind != "ray":
                raise wrong(("ladder", i, "processes"), "only Ray places several processes; use `workers: {kind: ray}`")
            if rung.model.batch_sequences % rung.processes:
                message = f"{rung.model.batch_sequences} sequences of a batch do not divide among {rung.processes}"
                raise wrong(("ladder", i, "processes"), f"{message}; choose other batch_sequences, or processes")

    def _check_continued(self, i: int, rung: RungSection, name: str) -> None:
        """Refuse a rung whose trainings do not come by where those of the other are before their rate falls."""
        at, names = ("ladder", i, "continues"), [each.name for each in self.rungs]
        if name not in names:
            raise wrong(at, unknown("rung", name, names))
        shorter = self.rung(name)
        if shorter.proxy != rung.proxy or shorter.tokens >= rung.tokens:
            raise wrong(at, f"rung {name!r} must have the same proxy as {rung.name!r}, and fewer tokens")
        model = rung.model
        if model.schedule != "wsd" or model.warmup_tokens is None:
            raise wrong(
                at, "a training goes on from a shorter one with `schedule: wsd` and `warmup_tokens` in the proxy"
            )
        if self.target is not None:
            raise wrong(at, "with a `target` every rung has its own slices of text; drop `continues`, or the target")
        if continued_tokens(shorter) < model.warmup_tokens:
            raise wrong(at, f"the rate of rung {name!r} falls before it has warmed up; lower `warmup_tokens`")

    def _check_merged(self, i: int, rung: RungSection) -> None:
        """Refuse a rung that starts from data experts which there are none of, or which do not fit."""
        at, experts = ("ladder", i, "proxy", "init"), self.experts
        if experts is None:
            raise wrong(at, "init merge-experts starts from data experts; add `experts: {rung: ...}`, or drop init")
        theirs = next((each for each in self.rungs if each.name == experts.rung), None)
        if theirs is None or theirs.proxy is None:  # is said of the experts, or of their rung
            return
        if theirs.merges_experts:
            raise wrong(at, f"rung {theirs.name!r} trains the data experts, which start from nothing else; drop init")
        try:
            check_merging(theirs.model, rung.model, domains=len(self.domains))
        except ProxyError as error:
            raise wrong(at, str(error)) from None

    def _check_ladder(self) -> None:
        vocabulary = self.corpus.tokenizer.get("vocabulary", NOMINAL_VOCABULARY)
        nominal = 256 if self.corpus.tokenizer.get("kind") == "bytes" else vocabulary
        try:
            self.ladder(nominal if isinstance(nominal, int) else NOMINAL_VOCABULARY, 0)
        except ConfigError as error:
            raise wrong(("ladder",), str(error)) from None
        names = [rung.name for rung in self.rungs]
        if EXPERT_FIDELITY in names:
            path = ("ladder", names.index(EXPERT_FIDELITY), "name")
            raise wrong(path, f"{EXPERT_FIDELITY!r} is what data experts are called; name the rung otherwise")
        if self.experts is not None and self.experts.rung not in names:
            raise wrong(("experts", "rung"), unknown("rung", self.experts.rung, names))

    def _check_budget(self) -> None:
        """Refuse no budget, and two that are not the same."""
        hours, speed, stated = self.budget_device_hours, self.throughput_flops, self.stated_flops
        if hours is None and stated is None:
            raise wrong(("budget_flops",), "key 'budget_flops' is missing; add it, or 'budget_device_hours'")
        if hours is None or stated is None:
            if hours is None and speed is not None:
                message = "a throughput turns 'budget_device_hours' into FLOPs; give these, or remove it"
                raise wrong(("throughput_flops",), message)
            return
        if speed is None or not isclose(stated, hours * HOUR_S * speed, rel_tol=SAME_BUDGET):
            raise wrong(("budget_flops",), "the budget is given twice, in FLOPs and in device-hours; remove one")

    def _check_proof(self) -> None:
        if self.proof is not None and not self.proof.mixtures:
            message = "a proof without mixtures proves nothing; name some, or say `proof: false`"
            raise wrong(("proof", "mixtures"), message)

    def _check_corpus(self) -> None:
        """Let the corpus judge every domain, every evaluation set and the tokenizer; nothing is looked up yet."""
        domains = [_plain_domain(section) for section in self.domains]
        for i, domain in enumerate(domains):
            _check_text(("domains", i), {"domains": [domain]}, root=self.root)
        for name, section in self.evaluation.items():
            plain = {"domains": domains, "evaluation": [_plain_set(name, section)]}
            _check_text(("evaluation", name), plain, root=self.root)
        _check_text(("corpus", "tokenizer"), self.corpus_plain(), root=self.root)

    def _check_space(self) -> None:
        names = [section.name for section in self.domains]
        for i, text in enumerate(self.constraints):
            try:
                LinearConstraint.parse(text, names)
            except ConfigError as error:
                raise wrong(("constraints", i), str(error)) from None
        try:
            self.space()
        except EmptySpace as error:
            raise wrong((), str(error), kind="empty") from None


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


def _plain_domain(section: DomainSection) -> dict[str, object]:
    return section.model_dump(include={"name", "source", "available_tokens", "held_out"}, exclude_none=True)


def _plain_set(name: str, section: EvaluationSection) -> dict[str, object]:
    return {"name": name, **section.model_dump(exclude_none=True)}


def _check_name(path: tuple[str | int, ...], what: str, name: str) -> None:
    try:
        check_name(what, name)
    except ConfigError as error:
        raise wrong(path, str(error)) from None


def _check_text(path: tuple[str | int, ...], plain: Mapping[str, object], *, root: Path) -> None:
    """Refuse, at `path`, what no corpus could be made of."""
    try:
        CorpusConfig.from_plain(plain, root=root)
    except SourceError as error:
        raise wrong((*path, "source"), str(error)) from None
    except ProxyError as error:
        raise wrong(path, str(error)) from None


def _error(error: ErrorDetails, message: str) -> ConfigError | EmptySpace:
    empty = error["type"] == WRONG and error["ctx"]["kind"] == "empty"
    return EmptySpace(message) if empty else ConfigError(message)
