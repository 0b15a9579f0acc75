"""A prepared corpus: memory-mapped tokens of the domains, and excerpts of the evaluation sets in two parts."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from proxies.building import build
from proxies.corpus_config import CorpusConfig as CorpusConfig
from proxies.corpus_config import DomainConfig as DomainConfig
from proxies.corpus_config import EvaluationConfig as EvaluationConfig
from proxies.errors import CorpusError
from proxies.evaluation_sets import Part as Part
from proxies.excerpts import Excerpts as Excerpts
from proxies.heads import first_documents
from proxies.manifest import Manifest as Manifest

ABANDONED_S = 86_400.0  # a temporary folder this old was left by a preparation that was killed


@dataclass(frozen=True, kw_only=True)
class DomainTokens:
    """The training tokens of one domain, or the first documents of them.

    tokens: ids of all documents (shuffled once), each ended by `end_of_document`. offsets: int64 `[documents + 1]`, in
    tokens.
    available_tokens: how many the domain has in all, where what was read is a sample; natural weights and epochs
    follow it.
    """

    name: str
    tokens: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    available_tokens: int

    @property
    def tokens_count(self) -> int:
        """Return how many tokens there are to train on."""
        return int(self.offsets[-1])

    def head(self, tokens: int) -> "DomainTokens":
        """Return whole documents of at most `tokens` in all: the first ones, but long ones wait (`first_documents`).

        Smaller heads lie inside larger ones.
        """
        documents = first_documents(self.offsets, tokens)
        count = len(documents)
        if np.array_equal(documents, np.arange(count)):
            offsets = self.offsets[: count + 1]
            return replace(self, tokens=self.tokens[: int(offsets[-1])], offsets=offsets)
        pieces = [self.tokens[self.offsets[index] : self.offsets[index + 1]] for index in documents.tolist()]
        lengths = np.diff(self.offsets)[documents]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return replace(self, tokens=np.concatenate(pieces), offsets=offsets)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What proxies train on and are measured on. `digest` names the text: equal digests, equal tokens."""

    folder: Path
    manifest: Manifest
    domains: Mapping[str, DomainTokens]
    vocabulary: int
    end_of_document: int
    digest: str

    def evaluation(self, part: Part) -> Mapping[str, Excerpts]:
        """Return the excerpts of every evaluation set; the parts "search" and "proof" share no document."""
        try:
            return {name: Excerpts.load(_excerpts_path(self.folder, part, name)) for name in self.manifest.evaluation}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
            raise CorpusError(_broken(self.folder, error)) from error


def open_corpus(folder: Path) -> Corpus:
    """Return the corpus that `prepare` left in `folder` (its `Corpus.folder`), from the manifest alone."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise CorpusError(f"no prepared corpus in {str(folder)!r} (no manifest.json); prepare the corpus first")
    manifest = _read_manifest(path)
    try:
        domains = {name: _open_domain(folder, name, manifest) for name in manifest.domains}
    except (OSError, ValueError, EOFError) as error:  # numpy's words for a file that is missing or cut short
        raise CorpusError(_broken(folder, error)) from error
    return Corpus(
        folder=folder,
        manifest=manifest,
        domains=domains,
        vocabulary=manifest.vocabulary,
        end_of_document=manifest.end_of_document,
        digest=manifest.digest,
    )


def prepare(config: CorpusConfig, folder: Path, *, report: Callable[[str], None] | None = None) -> Corpus:
    """Return the corpus of `config`, made in a sub-folder of `folder` named by its text unless it is there already.

    A source that changed since the last preparation is said through `report` and the corpus made anew; the old one
    stays. A corpus appears whole or not at all.
    """
    say = report or _silent
    fingerprints = config.fingerprints()
    earlier = _earlier(folder, config.digest())
    for path, manifest in earlier:
        if manifest.fingerprints == fingerprints:
            return open_corpus(path)
    if earlier:
        changed = sorted(name for name, value in fingerprints.items() if earlier[0][1].fingerprints.get(name) != value)
        say(f"changed since the corpus was prepared: {', '.join(changed)}; preparing it again")
    try:
        return open_corpus(_make(config, folder, fingerprints=fingerprints, say=say))
    except OSError as error:
        raise CorpusError(
            f"the corpus cannot be written to {str(folder)!r} ({error}); make room there, make the folder writable, or "
            "name another one"
        ) from error


def _make(config: CorpusConfig, folder: Path, *, fingerprints: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """Return the folder of a corpus made anew."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    making = Path(tempfile.mkdtemp(prefix=".preparing-", dir=folder))
    try:
        manifest = build(config, making, fingerprints=fingerprints, report=say)
        return _settle(making, folder / manifest.digest[:16])
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _silent(_: str) -> None:
    pass


def _read_manifest(path: Path) -> Manifest:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(_broken(path.parent, error)) from error
    return Manifest.from_plain(plain)


def _broken(folder: Path, error: Exception) -> str:
    return f"the corpus in {str(folder)!r} is broken ({error}); delete the folder and prepare the corpus again"


def _open_domain(folder: Path, name: str, manifest: Manifest) -> DomainTokens:
    record = manifest.domains[name]
    path = folder / "domains" / f"{name}.tokens"
    return DomainTokens(
        name=name,
        tokens=np.memmap(path, dtype=np.dtype(manifest.dtype), mode="r", shape=(record.tokens,)),
        offsets=np.load(folder / "domains" / f"{name}.offsets.npy"),
        available_tokens=record.available_tokens,
    )


def _excerpts_path(folder: Path, part: str, name: str) -> Path:
    return folder / "evaluation" / part / f"{name}.npz"


def _earlier(folder: Path, config_hash: str) -> list[tuple[Path, Manifest]]:
    """Return the corpora of this configuration, the newest first."""
    paths = sorted(folder.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    found = [(path.parent, _read_manifest(path)) for path in paths]
    return [(path, manifest) for path, manifest in found if manifest.config_hash == config_hash]


def _settle(making: Path, place: Path) -> Path:
    """Move a finished corpus to its place; where the same text lies there already, only the manifest is new."""
    try:
        making.rename(place)
    except OSError:
        if not (place / "manifest.json").is_file():
            raise
        (making / "manifest.json").replace(place / "manifest.json")
    return place


def _sweep(folder: Path) -> None:
    for path in folder.glob(".preparing-*"):
        if time.time() - path.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)
