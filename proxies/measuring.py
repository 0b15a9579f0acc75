"""What a trained model shows on the evaluation sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proxies.corpus import Corpus, Part
from proxies.evaluate import bits_per_byte, evaluation_tokens, gold_log_probabilities
from proxies.model import Decoder


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model shows: bits per byte of every set, accuracies over `items` questions; and the tokens it read."""

    losses: Mapping[str, float]
    accuracies: Mapping[str, float]
    items: Mapping[str, int]
    tokens: int


NOTHING = Measured(losses={}, accuracies={}, items={}, tokens=0)


def measure(model: Decoder, corpus: Corpus, *, part: Part, gold: Path | None) -> Measured:
    """Return what `model` shows on every evaluation set of `part`.

    To the folder `gold` go the log-probabilities of the tokens that a set's loss is of.
    """
    losses: dict[str, float] = {}
    accuracies: dict[str, float] = {}
    items: dict[str, int] = {}
    read = 0
    if gold is not None:
        gold.mkdir(parents=True, exist_ok=True)
    for name, excerpts in corpus.evaluation(part).items():
        scores = gold_log_probabilities(model, excerpts)
        counted = scores[excerpts.counted]
        losses[name] = bits_per_byte(counted, excerpts.scored_bytes)
        if excerpts.choices is not None:
            accuracies[name], items[name] = excerpts.accuracy(scores), excerpts.choices.items
        read += evaluation_tokens(excerpts, sequence_tokens=model.config.sequence_tokens)
        if gold is not None:
            np.save(gold / f"{name}.npy", counted)
    return Measured(losses=losses, accuracies=accuracies, items=items, tokens=read)
