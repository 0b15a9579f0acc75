"""What a prepared corpus is, in plain JSON beside its tokens."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from proxies.errors import CorpusError

FORMAT = 1  # of the files of a corpus; one more makes every corpus be prepared again


@dataclass(frozen=True, kw_only=True)
class DomainRecord:
    """Counts of one domain: what is kept to train on, and what was left out and why (in documents)."""

    bytes: int
    tokens: int
    documents: int
    available_tokens: int
    held_out_documents: int
    duplicate_documents: int
    overlapping_documents: int
    overlap_by_set: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """Counts of one part of one evaluation set; `documents` are those that its excerpts are from.

    items: questions of multiple choice; 0 where the set has none.
    """

    documents: int
    excerpts: int
    scored_bytes: int
    scored_tokens: int
    items: int = 0


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything needed to open a corpus, and where it came from. `evaluation` is by set, then by part."""

    config: Mapping[str, Any]
    config_hash: str
    fingerprints: Mapping[str, str]
    digest: str
    vocabulary: int
    end_of_document: int
    dtype: str
    domains: Mapping[str, DomainRecord]
    evaluation: Mapping[str, Mapping[str, EvaluationRecord]]

    def to_plain(self) -> dict[str, Any]:
        """Return the manifest as JSON knows it."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Manifest":
        """Return the manifest that `to_plain` gave."""
        fields = dict(plain)
        if fields.pop("format", None) != FORMAT:
            raise CorpusError(
                f"the corpus has format {plain.get('format')!r}, not {FORMAT}; delete its folder and prepare it again"
            )
        fields["domains"] = {name: DomainRecord(**record) for name, record in fields["domains"].items()}
        fields["evaluation"] = {
            name: {part: EvaluationRecord(**record) for part, record in parts.items()}
            for name, parts in fields["evaluation"].items()
        }
        return cls(**fields)
