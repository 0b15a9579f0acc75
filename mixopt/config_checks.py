"""Whether the parts of a search's file fit together; what each may hold by itself, their types say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.config_command import check_command, check_outside, check_rung
from mixopt.config_wording import unknown, wrong
from mixopt.errors import ConfigError, EmptySpace
from mixopt.fidelity import EXPERT_FIDELITY
from mixopt.mixture import check_name
from mixopt.objective import ERROR, set_minimized, shown_set
from mixopt.sections import HOUR_S, RungSection, continued_tokens
from mixopt.space import LinearConstraint
from proxies.corpus_config import CorpusConfig
from proxies.errors import ProxyError, SourceError
from proxies.starts import check_merging

if TYPE_CHECKING:
    from mixopt.config import SearchConfig

RESERVED_SET = "objective"  # the key of the objective among predictions, beside the sets
SAME_BUDGET = 1e-9  # of it: float error of hours times throughput


def check(config: SearchConfig) -> None:
    """Refuse a search whose parts do not fit together; of several faults, the first one found."""
    _check_domains(config)
    _check_evaluation(config)
    _check_objective(config)
    _check_rungs(config)
    _check_ladder(config)
    _check_budget(config)
    _check_proof(config)
    _check_space(config)
    if config.trained_outside:
        asked = {"command": config.workers.command, "simulated": config.simulated}
        check_outside(asked | {"experts": config.experts, "proof": config.proof})
    elif config.workers.command is not None:
        if config.simulated is not None or config.workers.kind == "simulated":
            message = "a simulated search trains nothing; remove the command, or `simulated`"
            raise wrong(("workers", "command"), message)
        available = {section.name: section.available_tokens or 0 for section in config.domains}
        check_command(config.workers, config.rungs, search=config.name, available_tokens=available)
    if config.has_own_text:
        _check_corpus(config)


def _check_domains(config: SearchConfig) -> None:
    for i, section in enumerate(config.domains):
        if section.name in [earlier.name for earlier in config.domains[:i]]:
            raise wrong(("domains", i, "name"), f"domain {section.name!r} is there twice; rename one")
        if config.has_own_text and section.source is None:
            raise wrong(("domains", i), f"domain {section.name!r} has no source; say where its text comes from")
        if not config.has_own_text and section.available_tokens is None:
            raise wrong(("domains", i), f"{_kind(config)} domain {section.name!r} needs available_tokens; state them")
        if config.is_foreign and section.source is not None:
            message = f"domain {section.name!r} has a source, but another trainer reads its own text; remove it"
            raise wrong(("domains", i, "source"), message)
        _check_name(("domains", i, "name"), "domain", section.name)
        try:
            config.domain_of(section, {})
        except ConfigError as error:
            raise wrong(("domains", i), str(error)) from None


def _check_evaluation(config: SearchConfig) -> None:
    if config.workers.kind == "simulated" and config.simulated is None:
        raise wrong(("workers", "kind"), "simulated workers need a section `simulated`; add it, or use ray")
    if not config.sets:
        where, what = (
            ("simulated", "`sets`, a list of names") if config.simulated is not None else ("evaluation", "a set")
        )
        raise wrong((where,), f"nothing to evaluate on; {where} needs {what}")
    for i, name in enumerate(config.evaluation if config.simulated is None else config.sets):
        path = ("evaluation", name) if config.simulated is None else ("simulated", "sets", i)
        has_accuracies = config.is_foreign
        _check_name(path, "evaluation set", set_minimized(name).removeprefix(ERROR) if has_accuracies else name)
        if name == RESERVED_SET:
            message = f"{name!r} is what predictions of the objective are called; name the set otherwise"
            raise wrong(path, message)
    names = [section.name for section in config.domains]
    for name in {} if config.simulated is None else config.simulated.limits:
        if name not in names:
            raise wrong(("simulated", "limits", name), unknown("domain", name, names))
    if config.is_foreign:
        return
    for name, section in config.evaluation.items():
        if sum(each is not None for each in (section.domain, section.source, section.kept)) != 1:
            raise wrong(("evaluation", name), f"evaluation set {name!r} needs either a domain or a source; give one")
        if section.domain is not None and section.domain not in names:
            raise wrong(("evaluation", name, "domain"), unknown("domain", section.domain, names))


def _check_objective(config: SearchConfig) -> None:
    section = config.objective_section
    named, other = ("sets", "weights") if section.kind == "worst" else ("weights", "sets")
    if getattr(section, other) or not getattr(section, named):
        message = f"an objective of kind {section.kind!r} needs {named!r} and no {other!r}"
        raise wrong(("objective",), message)
    _check_sets(config, ("objective", named), getattr(section, named))
    if section.no_worse_than_natural is not None:
        _check_sets(config, ("objective", "no_worse_than_natural", "sets"), section.no_worse_than_natural.sets)
    try:
        config.objective.array(config.sets)
    except ConfigError as error:
        raise wrong(("objective", named), str(error)) from None


def _check_sets(config: SearchConfig, path: tuple[str, ...], names: Iterable[str]) -> None:
    """Refuse an evaluation set that is named at `path`, a list or a mapping by name, and that there is none of."""
    for place, name in enumerate(names):
        if set_minimized(name) not in config.sets:
            at = (*path, place if path[-1] == "sets" else name)
            raise wrong(at, unknown("evaluation set", name, [shown_set(known) for known in config.sets]))


def _check_rungs(config: SearchConfig) -> None:
    for i, rung in enumerate(config.rungs):
        if config.is_foreign:
            check_rung(("ladder", i), rung)
            continue
        if rung.proxy is None:
            raise wrong(("ladder", i, "proxy"), "key 'proxy' is missing; add it")
        for key in ("parameters", "cost_flops", "steps", "values"):
            if getattr(rung, key):
                raise wrong(("ladder", i, key), f"{key!r} is for a command; a proxy is counted by mixopt: remove it")
        if rung.continues is not None:
            _check_continued(config, i, rung, rung.continues)
        if rung.merges_experts:
            _check_merged(config, i, rung)
        step = rung.model.batch_tokens
        if rung.tokens < step:
            message = f"{rung.tokens} tokens are less than one batch of rung {rung.name!r}, {step}; give more"
            raise wrong(("ladder", i, "tokens"), message)
        if rung.processes > 1 and config.workers.kind != "ray":
            raise wrong(("ladder", i, "processes"), "only Ray places several processes; use `workers: {kind: ray}`")
        if rung.model.batch_sequences % rung.processes:
            message = f"{rung.model.batch_sequences} sequences of a batch do not divide among {rung.processes}"
            raise wrong(("ladder", i, "processes"), f"{message}; choose other batch_sequences, or processes")


def _check_continued(config: SearchConfig, i: int, rung: RungSection, name: str) -> None:
    """Refuse a rung whose trainings do not come by where those of the other are before their rate falls."""
    at, names = ("ladder", i, "continues"), [each.name for each in config.rungs]
    if name not in names:
        raise wrong(at, unknown("rung", name, names))
    shorter = config.rung(name)
    if shorter.proxy != rung.proxy or shorter.tokens >= rung.tokens:
        raise wrong(at, f"rung {name!r} must have the same proxy as {rung.name!r}, and fewer tokens")
    model = rung.model
    if model.schedule != "wsd" or model.warmup_tokens is None:
        raise wrong(at, "a training goes on from a shorter one with `schedule: wsd` and `warmup_tokens` in the proxy")
    if config.target is not None:
        raise wrong(at, "with a `target` every rung has its own slices of text; drop `continues`, or the target")
    if continued_tokens(shorter) < model.warmup_tokens:
        raise wrong(at, f"the rate of rung {name!r} falls before it has warmed up; lower `warmup_tokens`")


def _check_merged(config: SearchConfig, i: int, rung: RungSection) -> None:
    """Refuse a rung that starts from data experts which there are none of, or which do not fit."""
    at, experts = ("ladder", i, "proxy", "init"), config.experts
    if experts is None:
        raise wrong(at, "init merge-experts starts from data experts; add `experts: {rung: ...}`, or drop init")
    theirs = next((each for each in config.rungs if each.name == experts.rung), None)
    if theirs is None or theirs.proxy is None:  # is said of the experts, or of their rung
        return
    if theirs.merges_experts:
        raise wrong(at, f"rung {theirs.name!r} trains the data experts, which start from nothing else; drop init")
    try:
        check_merging(theirs.model, rung.model, domains=len(config.domains))
    except ProxyError as error:
        raise wrong(at, str(error)) from None


def _check_ladder(config: SearchConfig) -> None:
    try:
        config.ladder(config.corpus.nominal_vocabulary, 0)
    except ConfigError as error:
        raise wrong(("ladder",), str(error)) from None
    names = [rung.name for rung in config.rungs]
    if EXPERT_FIDELITY in names:
        path = ("ladder", names.index(EXPERT_FIDELITY), "name")
        raise wrong(path, f"{EXPERT_FIDELITY!r} is what data experts are called; name the rung otherwise")
    if config.experts is not None and config.experts.rung not in names:
        raise wrong(("experts", "rung"), unknown("rung", config.experts.rung, names))


def _check_budget(config: SearchConfig) -> None:
    """Refuse no budget, and two that are not the same."""
    hours, speed, stated = config.budget_device_hours, config.throughput_flops, config.stated_flops
    if hours is None and stated is None:
        raise wrong(("budget_flops",), "key 'budget_flops' is missing; add it, or 'budget_device_hours'")
    if hours is None or stated is None:
        if hours is None and speed is not None:
            message = "a throughput turns 'budget_device_hours' into FLOPs; give these, or remove it"
            raise wrong(("throughput_flops",), message)
        return
    if speed is None or not isclose(stated, hours * HOUR_S * speed, rel_tol=SAME_BUDGET):
        raise wrong(("budget_flops",), "the budget is given twice, in FLOPs and in device-hours; remove one")


def _check_proof(config: SearchConfig) -> None:
    if config.proof is not None and not config.proof.mixtures:
        message = "a proof without mixtures proves nothing; name some, or say `proof: false`"
        raise wrong(("proof", "mixtures"), message)


def _check_corpus(config: SearchConfig) -> None:
    """Let the corpus judge every domain, every evaluation set and the tokenizer; nothing is looked up yet."""
    domains = [section.text_plain() for section in config.domains]
    for i, domain in enumerate(domains):
        _check_text(("domains", i), {"domains": [domain]}, root=config.root)
    for name, section in config.evaluation.items():
        plain = {"domains": domains, "evaluation": [section.text_plain(name)]}
        _check_text(("evaluation", name), plain, root=config.root)
    _check_text(("corpus", "tokenizer"), config.corpus_plain(), root=config.root)


def _check_space(config: SearchConfig) -> None:
    names = [section.name for section in config.domains]
    for i, text in enumerate(config.constraints):
        try:
            LinearConstraint.parse(text, names)
        except ConfigError as error:
            raise wrong(("constraints", i), str(error)) from None
    try:
        config.space()
    except EmptySpace as error:
        raise wrong((), str(error), kind="empty") from None


def _kind(config: SearchConfig) -> str:
    if config.simulated is not None:
        return "simulated"
    return "outside" if config.trained_outside else "a command's"


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
