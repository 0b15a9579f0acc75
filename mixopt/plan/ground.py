"""What a plan stands on before anything runs: the text, as far as it must be known, and the slots."""

import os

from mixopt.config import SearchConfig
from mixopt.search.launch import prepare_text
from mixopt.simulated_workers import DEFAULT_SLOTS
from mixopt.text import PARTS, Folders, Say, Text


def text_ahead(config: SearchConfig, folders: Folders, *, is_probed: bool, report: Say) -> Text:
    """Return the text of a search: stated where the file tells the tokens of every domain, or else prepared.

    is_probed: something is going to be trained on it.
    """
    stated = {section.name: section.available_tokens for section in config.domains}
    counts = {name: count for name, count in stated.items() if count is not None}
    if is_probed or not config.has_own_text or len(counts) < len(stated):
        return prepare_text(config, folders, report=report)
    shares = {r.name: 1.0 if config.target is None else r.tokens / config.target.tokens for r in config.rungs}
    return Text(
        folder="",
        digest="stated",
        vocabulary=config.corpus.nominal_vocabulary,
        available_tokens=counts,
        slice_tokens={r: {name: int(n * share) for name, n in counts.items()} for r, share in shares.items()},
        evaluation_tokens=dict.fromkeys(PARTS, 0),
        scored_bytes={part: dict.fromkeys(config.sets, 1) for part in PARTS},
    )


def slots_ahead(config: SearchConfig) -> int:
    """Return how many trials run at a time: as the file says, or as this machine has processors for."""
    if config.workers.slots is not None:
        return config.workers.slots
    if config.simulated is not None:
        return DEFAULT_SLOTS
    if config.workers.kind != "ray":
        return 1
    dearest = config.rungs[-1]
    return max(1, int((os.cpu_count() or 1) / (dearest.cpus * dearest.processes)))
