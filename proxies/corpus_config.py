"""What a corpus is made of: a tokenizer, domains and evaluation sets, as a configuration file says it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from proxies.documents import Source
from proxies.errors import CorpusError, SourceError
from proxies.plain_values import typed, value_of
from proxies.sources import open_source
from proxies.tokenization import check_tokenizer

Entry = TypeVar("Entry", "DomainConfig", "EvaluationConfig")
FORBIDDEN = frozenset("/\\:\0 ")  # a name is also a file's


@dataclass(frozen=True, kw_only=True)
class DomainConfig:
    """A domain: its name, its source (a mapping with `kind`), and how much of it is held out for evaluation.

    available_tokens: how many there are in all, where the source is only a sample (None: what the source itself
    estimates).
    held_out: share of the documents (None: 0.05, or 0.15 for a domain below 5 MB).
    """

    name: str
    source: Mapping[str, Any]
    available_tokens: int | None = None
    held_out: float | None = None

    def __post_init__(self) -> None:
        _check_name("domain", self.name)
        if self.available_tokens is not None and self.available_tokens <= 0:
            raise CorpusError(
                f"domain {self.name!r} states available_tokens {self.available_tokens!r}; give a positive number"
            )
        if self.held_out is not None and not 0 <= self.held_out < 1:
            raise CorpusError(
                f"domain {self.name!r} holds out {self.held_out!r}; give a share of at least 0 and below 1"
            )
        if self.source.get("choices") is not None:
            raise CorpusError(
                f"domain {self.name!r} is of questions of multiple choice, which are no text to train on; "
                "give choices to the source of an evaluation set"
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """An evaluation set: held-out documents of a domain, a source of its own, or what it was; exactly one of these.

    kept: the folder of a prepared corpus whose excerpts of this set are taken as they are: what is measured stays the
    same where its domain is no more, or its text another.

    Each part of the set (search, proof) is excerpts of at most `excerpt_tokens` tokens, `max_bytes` in all; of
    questions of multiple choice it is `max_items` questions.
    """

    name: str
    domain: str | None = None
    source: Mapping[str, Any] | None = None
    kept: str | None = None
    max_bytes: int = 32_768
    excerpt_tokens: int = 256
    max_items: int = 256

    def __post_init__(self) -> None:
        _check_name("evaluation set", self.name)
        if sum(each is not None for each in (self.domain, self.source, self.kept)) != 1:
            raise CorpusError(
                f"evaluation set {self.name!r} needs either a domain or a source of its own; give exactly one"
            )
        for key, value in (
            ("max_bytes", self.max_bytes),
            ("excerpt_tokens", self.excerpt_tokens),
            ("max_items", self.max_items),
        ):
            if value < 2:
                raise CorpusError(f"evaluation set {self.name!r} has {key} {value!r}; give at least 2")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Domains, evaluation sets and tokenizer. Relative paths start at `root`, which no hash covers."""

    tokenizer: Mapping[str, Any]
    domains: tuple[DomainConfig, ...]
    evaluation: tuple[EvaluationConfig, ...]
    seed: int = 0
    root: Path = field(default_factory=Path, compare=False)

    def __post_init__(self) -> None:
        check_tokenizer(self.tokenizer)
        if not self.domains:
            raise CorpusError("the corpus has no domains; give at least one")
        for what, names in (
            ("domains", [domain.name for domain in self.domains]),
            ("evaluation sets", [evaluation.name for evaluation in self.evaluation]),
        ):
            if twice := sorted(name for name, count in Counter(names).items() if count > 1):
                raise CorpusError(f"two {what} have the same name {twice}; rename one")
        known = {domain.name for domain in self.domains}
        for evaluation in self.evaluation:
            if evaluation.domain is not None and evaluation.domain not in known:
                raise CorpusError(
                    f"evaluation set {evaluation.name!r} names the unknown domain {evaluation.domain!r}; "
                    f"known: {sorted(known)}"
                )
        self.sources()

    def sources(self) -> dict[str, Source]:
        """Return every source, by "domain 'x'" or "evaluation set 'y'"; nothing is read yet."""
        found = {}
        for domain in self.domains:
            where = f"domain {domain.name!r}"
            found[where] = open_source(domain.source, root=self.root, where=where)
        for evaluation in self.evaluation:
            if evaluation.source is not None:
                where = f"evaluation set {evaluation.name!r}"
                found[where] = open_source(evaluation.source, root=self.root, where=where)
        return found

    def fingerprints(self) -> dict[str, str]:
        """Return what the sources (and a tokenizer file) look like now, hashed, by the keys of `sources`."""
        found = {where: _fingerprint(where, source) for where, source in self.sources().items()}
        if self.tokenizer["kind"] == "file":
            path = self.root / self.tokenizer["path"]
            if not path.is_file():
                raise CorpusError(f"tokenizer file {str(path)!r} does not exist; give the path of a tokenizer.json")
            found["the tokenizer"] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return found

    def digest(self) -> str:
        """Return a hash of the configuration."""
        return _hash(json.dumps(self.to_plain(), sort_keys=True))

    def to_plain(self) -> dict[str, Any]:
        """Return the configuration as plain values, without what is None."""
        return {
            "tokenizer": dict(self.tokenizer),
            "domains": [_plain(domain) for domain in self.domains],
            "evaluation": [_plain(evaluation) for evaluation in self.evaluation],
            "seed": self.seed,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], *, root: Path | None = None) -> "CorpusConfig":
        """Return the configuration of a mapping from a file in the folder `root`; unknown keys are refused."""
        known = {"tokenizer", "domains", "evaluation", "seed"}
        if unknown := set(plain) - known:
            raise CorpusError(f"corpus has unknown keys {sorted(map(str, unknown))}; known: {sorted(known)}")
        if "domains" not in plain:
            raise CorpusError("corpus lacks 'domains'; give a list of them")
        return cls(
            tokenizer=value_of(
                plain.get("tokenizer", {"kind": "bytes"}), Mapping, where="corpus: tokenizer", error=CorpusError
            ),
            domains=tuple(_build(DomainConfig, "domain", each) for each in _entries("domains", plain["domains"])),
            evaluation=tuple(
                _build(EvaluationConfig, "evaluation set", each)
                for each in _entries("evaluation", plain.get("evaluation", ()))
            ),
            seed=value_of(plain.get("seed", 0), int, where="corpus: seed", error=CorpusError),
            root=root or Path(),
        )


def _entries(key: str, section: object) -> list[dict[str, Any]]:
    """Return the entries of a list, or of a mapping whose keys are the names."""
    entries = section.values() if isinstance(section, Mapping) else section
    if not isinstance(entries, Iterable) or not all(isinstance(entry, Mapping) for entry in entries):
        raise CorpusError(f"corpus: {key} is {section!r:.80}; give a list of mappings, or a mapping by name")
    if isinstance(section, Mapping):
        return [{"name": name, **entry} for name, entry in section.items()]
    return [dict(entry) for entry in entries]


def _build(kind: type[Entry], what: str, entry: Mapping[str, Any]) -> Entry:
    known = {each.name: each for each in fields(kind)}
    label = f"{what} {entry.get('name', '')!r}"
    if unknown := set(entry) - set(known):
        raise CorpusError(f"{label} has unknown keys {sorted(map(str, unknown))}; known: {sorted(known)}")
    needed = {name for name, each in known.items() if each.default is MISSING}
    if missing := needed - set(entry):
        raise CorpusError(f"{label} lacks {sorted(missing)}; add them")
    return kind(**typed(kind, entry, where=label, error=CorpusError))


def _plain(entry: DomainConfig | EvaluationConfig) -> dict[str, Any]:
    plain = {each.name: getattr(entry, each.name) for each in fields(entry)}
    return {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in plain.items() if value is not None
    }


def _fingerprint(where: str, source: Source) -> str:
    try:
        return _hash(source.fingerprint())
    except SourceError as error:
        raise SourceError(f"{where}: {error}") from error
    except OSError as error:
        raise SourceError(f"{where} cannot be looked at ({error}); check that its files can be read") from error


def _check_name(what: str, name: str) -> None:
    if not name or name.startswith(".") or FORBIDDEN & set(name):
        raise CorpusError(f"{what} has the name {name!r}; use letters, digits, '-' and '_' (it also names a file)")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
