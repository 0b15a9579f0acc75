"""Domains of a search as somebody wants them: its configuration rewritten, or refused with what stands in the way."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from mixopt.config import SearchConfig, load
from mixopt.config_wording import unknown
from mixopt.constraint import LinearConstraint, with_names
from mixopt.errors import SearchError
from mixopt.search.revising import changed_of_fixed, differences, root_of
from store import Search

EditKind = Literal["add", "remove", "split", "rename", "revise"]
ARGUMENTS: Mapping[EditKind, str] = {
    "add": "NAME",
    "remove": "NAME",
    "split": "NAME PART PART...",
    "rename": "NAME NEW",
    "revise": "NAME",
}
BOUNDS = ("min_weight", "max_weight", "weight")  # of a domain; those of one that is split hold of the sum of its parts
OTHERS_MAY_CHANGE = ("domains", "evaluation", "simulated", "corpus")  # of what is fixed: these are compared apart


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What is to become of domains.

    names: as ARGUMENTS has them. tokens, sources: available tokens and source (plain) of domains that come, or whose
    text is another. changed: the fraction of the text that is another, where nobody can count it. file: the search's
    file with all of it done (None: the rest of the configuration is rewritten).
    """

    kind: EditKind
    names: tuple[str, ...]
    tokens: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    changed: float = 1.0
    file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Edited:
    """A configuration as edited.

    parts: what became of domains that are no longer called so. revised: domains whose text is another. dropped:
    evaluation sets that went with their domain, which the objective does not need.
    """

    config: SearchConfig
    parts: Mapping[str, tuple[str, ...]]
    revised: tuple[str, ...]
    dropped: tuple[str, ...]
    said: str


def edit_of(
    action: str,
    names: Sequence[str],
    *,
    tokens: Sequence[str],
    sources: Sequence[str],
    changed: float = 1.0,
    file: Path | None = None,
) -> Edit:
    """Return the edit that is typed: `tokens` as `books=3e9`, `sources` as `books={kind: ...}`."""
    kind = next((each for each in ARGUMENTS if each == action), None)
    if kind is None:
        raise SearchError(f"nobody knows the action {action!r}; known: {', '.join(ARGUMENTS)}")
    if file is not None and (tokens or sources):
        raise SearchError("the file says tokens and sources; leave the options out")
    return Edit(
        kind=kind,
        names=tuple(names),
        tokens={name: _count(name, text) for name, text in _pairs("--tokens", tokens).items()},
        sources={name: source_of_text(text) for name, text in _pairs("--source", sources).items()},
        changed=changed,
        file=file,
    )


def edited(search: Search, edit: Edit) -> Edited:
    """Return `search` as `edit` would have it.

    Raises:
        SearchError, ConfigError, EmptySpace: why that cannot be, and what to do first.
    """
    current = SearchConfig.from_plain(search.config, root=root_of(search))
    parts = _parts(search, edit)
    revised = edit.names[:1] if edit.kind == "revise" else ()
    dropped = _dropped(search, current, parts)
    if edit.file is None:
        config = SearchConfig.from_plain(_plain(search, edit, parts, dropped), root=current.root)
    else:
        config = _of_file(search, edit, parts, dropped)
    return Edited(config=config, parts=parts, revised=revised, dropped=dropped, said=_said(edit))


def source_of_text(text: str) -> Mapping[str, object]:
    """Return the source that `text` says in YAML."""
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError:
        plain = None
    if not isinstance(plain, dict):
        raise SearchError(f"a source reads like '{{kind: files, paths: [books/*.txt]}}'; got {text[:80]!r}")
    return plain


def _pairs(option: str, typed: Sequence[str]) -> dict[str, str]:
    found = {}
    for each in typed:
        name, equals, value = each.partition("=")
        if not equals or not name or name in found:
            raise SearchError(f"{option} takes DOMAIN=..., each domain once; got {each[:80]!r}")
        found[name] = value
    return found


def _count(name: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (number >= 1.0 and number.is_integer()):
        raise SearchError(f"--tokens {name}={text}: give a whole number above 0, such as 3e9")
    return int(number)


def _parts(search: Search, edit: Edit) -> dict[str, tuple[str, ...]]:
    """Return what becomes of domains that are no longer called so: one, several or none."""
    if (len(edit.names) < 3) if edit.kind == "split" else (len(edit.names) != len(ARGUMENTS[edit.kind].split())):
        raise SearchError(f"`mixopt domains {search.name} {edit.kind}` takes {ARGUMENTS[edit.kind]}; got {edit.names}")
    name, new, known = edit.names[0], edit.names[1:], list(search.domains)
    coming = (name,) if edit.kind == "add" else new
    if edit.kind != "add" and name not in known:
        raise SearchError(unknown("domain", name, known))
    for each in coming:
        if each in known and not (edit.kind == "split" and each == name):
            raise SearchError(f"domain {each!r} is there already; choose another name")
        if coming.count(each) > 1:
            raise SearchError(f"domain {each!r} is named twice; every part needs its own name")
    strange = sorted({*edit.tokens, *edit.sources} - {*coming, *((name,) if edit.kind == "revise" else ())})
    if strange:
        raise SearchError(f"tokens or a source are given for {strange}, which {edit.kind} has nothing to do with")
    if edit.kind == "remove" and known == [name]:
        raise SearchError(f"domain {name!r} is the only one; a search needs one")
    return {name: new} if edit.kind in ("remove", "split", "rename") else {}


def _dropped(search: Search, config: SearchConfig, parts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the evaluation sets that go with their domain, or raise SearchError where one of them is needed."""
    dropped = []
    for name, new in parts.items():
        of_domain = [key for key, section in config.evaluation.items() if section.domain == name]
        needed = [key for key in of_domain if key in config.objective.needed]
        if not new and needed:
            raise SearchError(
                f"the objective needs evaluation set {needed[0]!r}, the held-out part of domain {name!r}; take it out "
                f"of the objective first: mixopt revise {search.name} FILE"
            )
        named = [text for text in config.constraints if _names(text, name, search)]
        if not new and named:
            raise SearchError(
                f"constraint `{named[0]}` names domain {name!r}; take it out first: mixopt revise {search.name} FILE"
            )
        dropped += of_domain if not new else []
    return tuple(dropped)


def _names(constraint: str, domain: str, search: Search) -> bool:
    parsed = LinearConstraint.parse(constraint, list(search.domains))
    return any(domain in each.coefficients for each in parsed)


def _plain(search: Search, edit: Edit, parts: Mapping[str, Sequence[str]], dropped: Sequence[str]) -> dict[str, object]:
    """Return the configuration of `search` with the edit done in it."""
    plain: dict[str, Any] = dict(search.config)
    known, name = list(search.domains), edit.names[0]
    sections, bounds = [], []
    for section in plain["domains"]:
        if section["name"] in parts:
            new = parts[section["name"]]
            bounds = _bounds(section, new) if len(new) > 1 else []
            sections += [_section(section, each, edit) for each in new]
        elif edit.kind == "revise" and section["name"] == name:
            sections.append(_given(section, name, edit) | {"revision": section.get("revision", 0) + 1})
        else:
            sections.append(section)
    if edit.kind == "add":
        sections.append(_given({"name": name}, name, edit))
    plain["domains"] = sections
    plain["constraints"] = [with_names(text, known, parts) for text in plain["constraints"]] + bounds
    moved_text = [old for old, new in parts.items() if len(new) > 1] + ([name] if edit.kind == "revise" else [])
    plain["evaluation"] = {
        key: _as_it_was(section, search) if section["domain"] in moved_text else _of_domain(section, parts)
        for key, section in plain["evaluation"].items()
        if key not in dropped
    }
    if plain["simulated"] is not None:
        limits = plain["simulated"]["limits"]
        moved = {new: limit for old, limit in limits.items() for new in parts.get(old, (old,))}
        plain["simulated"] = plain["simulated"] | {"limits": moved}
    paths = plain["workers"]["paths"]
    moved_paths = {new: path for old, path in paths.items() for new in parts.get(old, (old,))[:1]}
    plain["workers"] = plain["workers"] | {"paths": moved_paths}
    return plain


def _section(section: Mapping[str, Any], name: str, edit: Edit) -> dict[str, Any]:
    """Return the section of a domain under its new name, or of one part of several."""
    if edit.kind == "rename":
        return dict(section) | {"name": name}
    kept = {key: value for key, value in section.items() if key not in (*BOUNDS, "source", "available_tokens")}
    return _given(kept | {"name": name}, name, edit)


def _given(section: Mapping[str, Any], name: str, edit: Edit) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if name in edit.tokens:
        given["available_tokens"] = edit.tokens[name]
    if name in edit.sources:
        given["source"] = dict(edit.sources[name])
    return dict(section) | given


def _bounds(section: Mapping[str, Any], parts: Sequence[str]) -> list[str]:
    """Return the bounds of a domain as constraints on the sum of its parts."""
    name = section["name"]
    if section["weight"] is not None:
        said = [f"{name} == {section['weight']!r}"]
    else:
        said = [f"{name} >= {section['min_weight']!r}"] if section["min_weight"] > 0.0 else []
        said += [f"{name} <= {section['max_weight']!r}"] if section["max_weight"] < 1.0 else []
    return [with_names(text, [name], {name: parts}) for text in said]


def _as_it_was(section: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """Return an evaluation set with the text that it has, whatever becomes of its domain."""
    return dict(section) | {"domain": None, "kept": str(search.corpus["folder"])}


def _of_domain(section: Mapping[str, Any], parts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    domain = section["domain"]
    return dict(section) | ({"domain": parts[domain][0]} if domain in parts else {})


def _of_file(search: Search, edit: Edit, parts: Mapping[str, Sequence[str]], dropped: Sequence[str]) -> SearchConfig:
    """Return the configuration of the file, if it is the search with this edit done and what may be revised."""
    assert edit.file is not None
    config = load(edit.file)
    if config.name != search.name:
        raise SearchError(f"{edit.file} is of search {config.name!r}; give the one of {search.name!r}")
    wanted = {new for name in search.domains for new in parts.get(name, (name,))}
    wanted |= {edit.names[0]} if edit.kind == "add" else set()
    found = [section.name for section in config.domains]
    if set(found) != wanted:
        raise SearchError(f"{edit.file} has the domains {found}; after this edit they are {sorted(wanted)}")
    plain, sets = config.resolved(), [key for key in search.config["evaluation"] if key not in dropped]
    refused = [key for key in changed_of_fixed(search.config, plain) if key not in OTHERS_MAY_CHANGE]
    refused += [] if set(config.evaluation) == set(sets) else ["evaluation"]
    refused += [] if _law(plain) == _law(search.config) else ["simulated"]
    if refused:
        details = [line for line in differences(search.config, plain) if line.split(".")[0] in refused]
        raise SearchError(f"{edit.file} changes {', '.join(refused)}, which cannot change ({'; '.join(details)})")
    if edit.kind == "revise":
        _check_revision_number(search, config, edit.names[0], edit.file)
    return config


def _law(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the law of a simulated search without what names domains; empty for any other."""
    return {key: value for key, value in (plain["simulated"] or {}).items() if key != "limits"}


def _check_revision_number(search: Search, config: SearchConfig, name: str, file: Path) -> None:
    before = next(each.get("revision", 0) for each in search.config["domains"] if each["name"] == name)
    now = next(section.revision for section in config.domains if section.name == name)
    if now != before + 1:
        raise SearchError(
            f"{file}: say `revision: {before + 1}` of domain {name!r}, whose text is another now; got {now}"
        )


def _said(edit: Edit) -> str:
    name, new = edit.names[0], edit.names[1:]
    words: Mapping[EditKind, str] = {
        "add": f"{name} is added",
        "remove": f"{name} is removed",
        "split": f"{name} is split into {', '.join(new)}",
        "rename": f"{name} is called {', '.join(new)}",
        "revise": f"the text of {name} is another",
    }
    return words[edit.kind]
