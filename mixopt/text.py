"""The text of a search in plain values, prepared once and found again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mixopt.config import SearchConfig
from mixopt.sections import RungSection
from proxies.corpus import Corpus, CorpusConfig, prepare
from proxies.evaluation_sets import PARTS as PARTS
from proxies.mixing import slice_domains

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where prepared text and artifacts lie: beside the store."""

    corpora: Path
    artifacts: Path

    @classmethod
    def beside(cls, store: str) -> "Folders":
        """Return the folders beside the file `store`; a database URL has them in the current folder."""
        return cls.inside(Path.cwd() if "://" in store else Path(store).resolve().parent)

    @classmethod
    def inside(cls, parent: Path) -> "Folders":
        """Return the two folders in `parent`."""
        return cls(corpora=parent / "corpora", artifacts=parent / "artifacts")


@dataclass(frozen=True, kw_only=True)
class Text:
    """The prepared corpus in plain values.

    folder: where the token files lie; digest: names the text; slice_tokens: for each rung, the tokens that its trials
    have of every domain (all that was prepared, or with a target what simulated epoching leaves);
    evaluation_tokens: tokens evaluated in each part; scored_bytes: for each part, what a set's losses are divided by.
    """

    folder: str
    digest: str
    vocabulary: int
    available_tokens: Mapping[str, int]
    slice_tokens: Mapping[str, Mapping[str, int]]
    evaluation_tokens: Mapping[str, int]
    scored_bytes: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, corpus: Corpus, config: SearchConfig) -> "Text":
        """Return what the search of `config` needs to know of `corpus`.

        Raises:
            ProxyError: simulated epoching would leave a domain with next to nothing at some rung.
        """
        parts = {part: corpus.evaluation(part) for part in PARTS}
        return cls(
            folder=str(corpus.folder),
            digest=corpus.digest,
            vocabulary=corpus.vocabulary,
            available_tokens={name: domain.available_tokens for name, domain in corpus.domains.items()},
            slice_tokens={rung.name: _slice_tokens(corpus, rung, config) for rung in config.rungs},
            evaluation_tokens={part: sum(len(e.tokens) for e in sets.values()) for part, sets in parts.items()},
            scored_bytes={part: {n: e.scored_bytes for n, e in sets.items()} for part, sets in parts.items()},
        )


def _slice_tokens(corpus: Corpus, rung: RungSection, config: SearchConfig) -> dict[str, int]:
    """Return the tokens of every domain that a trial of `rung` may read."""
    domains = corpus.domains
    if config.target is not None:
        domains = slice_domains(
            domains,
            proxy_tokens=rung.tokens,
            target_tokens=config.target.tokens,
            sequence_tokens=rung.model.sequence_tokens,
        )
    return {name: domain.tokens_count for name, domain in domains.items()}


def prepare_corpus(config: SearchConfig, folders: Folders, *, report: Say) -> Corpus:
    """Return the corpus of `config`, prepared unless it lies there already, made by whichever search."""
    folder = config.root / config.corpus.folder if config.corpus.folder else folders.corpora
    return prepare(CorpusConfig.from_plain(config.corpus_plain(), root=config.root), folder, report=report)
