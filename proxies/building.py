"""Making a corpus: read, hold out, deduplicate, tokenize, draw excerpts, drop what overlaps, shuffle, write.

Documents are held out by a hash of their text alone, so that a document is in or out whatever else the corpus holds.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.corpus_config import CorpusConfig, DomainConfig
from proxies.errors import CorpusError
from proxies.evaluation_sets import SetPart, as_ids, as_words, draw_sets, keep_sets, split
from proxies.excerpts import Excerpts
from proxies.manifest import DomainRecord, EvaluationRecord, Manifest
from proxies.overlap import Overlap, Texts, find
from proxies.reading import read_sources
from proxies.spool import Spool
from proxies.tokenization import Tokenizer, open_tokenizer, train_bpe
from proxies.training_tokens import write_domain

HELD_OUT = 0.05
HELD_OUT_SMALL = 0.15
SMALL_BYTES = 5_000_000  # a domain below holds out the larger share, or its evaluation would be a handful of documents
MIN_HELD_OUT = 2  # documents: one for each part
MIN_TOKENS = 8 * 256  # of a domain: eight sequences of the usual length
BPE_BYTES = 64_000_000  # text that a vocabulary is trained on, at most

Mask = NDArray[np.bool_]  # one a document


def build(
    config: CorpusConfig, folder: Path, *, fingerprints: Mapping[str, str], report: Callable[[str], None]
) -> Manifest:
    """Write the corpus of `config` into the empty `folder` and return its manifest."""
    tokenizer = open_tokenizer(config.tokenizer, root=config.root)
    spools = read_sources(config, folder / "spool", tokenizer, report=report)
    domains = {domain.name: spools[f"domain {domain.name!r}"] for domain in config.domains}
    held_out = {domain.name: _held_out(domains[domain.name], domain) for domain in config.domains}
    drawn = [each for each in config.evaluation if each.kept is None]
    parts = split(drawn, spools, held_out)
    training = {name: _training(name, each, held_out[name], parts) for name, each in domains.items()}
    if tokenizer is None:
        report("training the tokenizer")
        tokenizer = train_bpe(_texts(domains, training), vocabulary=int(config.tokenizer["vocabulary"]))
        (folder / "tokenizer.json").write_text(tokenizer.model.to_str(), encoding="utf-8")
    found = draw_sets(drawn, parts, tokenizer, folder / "evaluation", seed=config.seed)
    found |= keep_sets([each for each in config.evaluation if each.kept is not None], folder, root=config.root)
    sets = {each.name: found[each.name] for each in config.evaluation}
    report("looking for evaluation text in the training text")
    overlaps = _overlaps(domains, training, sets, tokenizer)
    report("writing tokens")
    records = {
        domain.name: _write(domain, domains[domain.name], training, held_out, overlaps, tokenizer, folder, config.seed)
        for domain in config.domains
    }
    shutil.rmtree(folder / "spool")
    manifest = _manifest(config, folder, fingerprints, tokenizer, records, sets)
    (folder / "manifest.json").write_text(json.dumps(manifest.to_plain(), indent=1), encoding="utf-8")
    return manifest


def _held_out(source: Spool, domain: DomainConfig) -> Mask:
    """Return which documents of a domain are kept for evaluation: those of the lowest hashes."""
    small = source.content.nbytes < SMALL_BYTES
    share = domain.held_out if domain.held_out is not None else HELD_OUT_SMALL if small else HELD_OUT
    held_out: Mask = source.hashes < np.uint64(int(share * 2**64))
    if share and held_out.sum() < MIN_HELD_OUT <= len(source) // 2:
        held_out[np.argsort(source.hashes)[:MIN_HELD_OUT]] = True
    if domain.held_out is None and held_out.all():  # nobody asked for it, and what is left is to train on
        held_out[np.argmax(source.hashes)] = False
    return held_out


def _training(name: str, source: Spool, held_out: Mask, parts: Mapping[str, Mapping[str, SetPart]]) -> Mask:
    """Return which documents are neither held out nor equal to one of an evaluation set."""
    evaluated = [each.source.hashes[each.documents] for halves in parts.values() for each in halves.values()]
    training: Mask = ~held_out & ~np.isin(source.hashes, np.concatenate([np.empty(0, np.uint64), *evaluated]))
    if not training.any():
        raise CorpusError(
            f"domain {name!r} has {len(source)} documents and none left to train on: {int(held_out.sum())} are held out"
            f"{_equal_to(source, parts)}; give more or other text, hold out less, or remove that set"
        )
    return training


def _equal_to(source: Spool, parts: Mapping[str, Mapping[str, SetPart]]) -> str:
    """Return, in words, how many documents of `source` stand in which evaluation set."""
    counts = {
        name: sum(int(np.isin(source.hashes, each.source.hashes[each.documents]).sum()) for each in halves.values())
        for name, halves in parts.items()
    }
    return "".join(f", {count} stand in evaluation set {name!r}" for name, count in counts.items() if count)


def _texts(domains: Mapping[str, Spool], training: Mapping[str, Mask]) -> Iterator[str]:
    for name, source in domains.items():
        taken_bytes = 0
        for index in np.flatnonzero(training[name]).tolist():
            content = source.document(index).tobytes()
            taken_bytes += len(content)
            if taken_bytes > BPE_BYTES // len(domains):
                break
            yield content.decode("utf-8", errors="replace")


def _overlaps(
    domains: Mapping[str, Spool],
    training: Mapping[str, Mask],
    sets: Mapping[str, Mapping[str, Excerpts]],
    tokenizer: Tokenizer,
) -> dict[str, Overlap]:
    texts = {
        name: Texts(content=each.content, offsets=each.offsets, are_tokens=each.are_tokens, counted=training[name])
        for name, each in domains.items()
    }
    words = {name: as_words(halves, tokenizer) for name, halves in sets.items()}
    return find(texts, words, {name: as_ids(halves) for name, halves in sets.items()})


def _write(
    domain: DomainConfig,
    source: Spool,
    training: Mapping[str, Mask],
    held_out: Mapping[str, Mask],
    overlaps: Mapping[str, Overlap],
    tokenizer: Tokenizer,
    folder: Path,
    seed: int,
) -> DomainRecord:
    name = domain.name
    kept = training[name] & ~overlaps[name].dropped
    counts = write_domain(folder / "domains", name, source, kept, tokenizer, seed=seed)
    dropped = int(overlaps[name].dropped.sum())
    _check_enough(name, counts.tokens, dropped, overlaps[name])
    return DomainRecord(
        bytes=counts.bytes,
        tokens=counts.tokens,
        documents=int(kept.sum()),
        available_tokens=domain.available_tokens or round(counts.stands_for_tokens),
        held_out_documents=int(held_out[name].sum()),
        duplicate_documents=source.duplicates + int((~training[name] & ~held_out[name]).sum()),
        overlapping_documents=dropped,
        overlap_by_set=overlaps[name].by_set,
    )


def _check_enough(name: str, tokens: int, dropped: int, overlap: Overlap) -> None:
    if tokens >= MIN_TOKENS:
        return
    if dropped:
        worst = max(overlap.by_set, key=lambda each: overlap.by_set[each])
        raise CorpusError(
            f"domain {name!r} has {tokens} tokens left of the {MIN_TOKENS} it needs: {dropped} documents contain "
            f"evaluation text, most of it of evaluation set {worst!r} ({overlap.by_set[worst]} documents); "
            "give other text, or remove that set"
        )
    raise CorpusError(f"domain {name!r} has {tokens} tokens to train on and needs {MIN_TOKENS}; give it more text")


def _manifest(
    config: CorpusConfig,
    folder: Path,
    fingerprints: Mapping[str, str],
    tokenizer: Tokenizer,
    records: Mapping[str, DomainRecord],
    sets: Mapping[str, Mapping[str, Excerpts]],
) -> Manifest:
    return Manifest(
        config=config.to_plain(),
        config_hash=config.digest(),
        fingerprints=dict(fingerprints),
        digest=_digest(folder, tokenizer, records, list(sets)),
        vocabulary=tokenizer.vocabulary,
        end_of_document=tokenizer.end_of_document,
        dtype=tokenizer.dtype.name,
        domains=records,
        evaluation={name: {part: _record(each) for part, each in halves.items()} for name, halves in sets.items()},
    )


def _record(excerpts: Excerpts) -> EvaluationRecord:
    return EvaluationRecord(
        documents=len(np.unique(excerpts.documents)),
        excerpts=len(excerpts),
        scored_bytes=excerpts.scored_bytes,
        scored_tokens=excerpts.scored_tokens,
        items=0 if excerpts.choices is None else excerpts.choices.items,
    )


def _digest(folder: Path, tokenizer: Tokenizer, records: Mapping[str, DomainRecord], sets: Sequence[str]) -> str:
    """Return a hash of all tokens and of what is said of them."""
    parts = [f"{tokenizer.identity} {tokenizer.end_of_document} {list(sets)}"]
    parts += [f"{name} {record.available_tokens}" for name, record in records.items()]
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".tokens", ".npy", ".npz"}):
        with path.open("rb") as file:
            parts.append(f"{path.relative_to(folder).as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
