"""Gold-token log-probabilities of evaluation excerpts, and bits per byte."""

# Shapes: B batch, T sequence, V vocabulary.

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from proxies.errors import ProxyError
from proxies.excerpts import Excerpts
from proxies.model import Decoder, token_losses

BATCH_TOKENS = 4_096  # a batch's activations stay in a core's cache; larger ones gain nothing


@dataclass(frozen=True, kw_only=True)
class Window:
    """Tokens [start, end) of the flat `Excerpts.tokens`; [scored, end) are scored, and go to `place` on.

    `first`: the window starts its excerpt, so that what stands before it is end of document.
    """

    start: int
    scored: int
    end: int
    place: int
    first: bool


def windows(excerpts: Excerpts, *, sequence_tokens: int) -> list[Window]:
    """Return windows of at most `sequence_tokens` that score every scored token of `excerpts` once, in order.

    An excerpt that fits is one window. A longer one is read in windows that begin half a window before what they
    score (further back where the excerpt ends first), so no token but those near the excerpt's start has less context
    than that; a long prompt is thereby cut on its left.
    """
    half = sequence_tokens // 2
    found: list[Window] = []
    place = 0
    for index, scored_from in enumerate(excerpts.scored_from.tolist()):
        first, last = int(excerpts.offsets[index]), int(excerpts.offsets[index + 1])
        scored = first + scored_from
        while scored < last:
            start = max(first, min(scored - half, last - sequence_tokens))
            end = min(last, start + sequence_tokens)
            found.append(Window(start=start, scored=scored, end=end, place=place, first=start == first))
            place += end - scored
            scored = end
    return found


@torch.inference_mode()
def gold_log_probabilities(model: Decoder, excerpts: Excerpts) -> NDArray[np.float32]:
    """Return the natural log-probability `[scored_tokens]` that `model` gives each scored token, in their order."""
    if len(excerpts.tokens) and int(excerpts.tokens.max()) >= model.vocabulary:
        raise ProxyError(
            f"evaluation set {excerpts.name!r} holds token {int(excerpts.tokens.max())}, outside the model's "
            f"vocabulary of {model.vocabulary}; evaluate on the corpus that the model was made for"
        )
    found = windows(excerpts, sequence_tokens=model.config.sequence_tokens)
    scores = np.empty(sum(w.end - w.scored for w in found), dtype=np.float32)
    found.sort(key=lambda w: w.end - w.start)
    rows = max(1, BATCH_TOKENS // model.config.sequence_tokens)
    for at in range(0, len(found), rows):
        _score(model, excerpts, found[at : at + rows], scores)
    return scores


def evaluation_tokens(excerpts: Excerpts, *, sequence_tokens: int) -> int:
    """Return how many tokens a model reads to score `excerpts`, overlaps of windows and prompts included."""
    return sum(w.end - w.start for w in windows(excerpts, sequence_tokens=sequence_tokens))


def bits_per_byte(log_probabilities: NDArray[np.float32], scored_bytes: int) -> float:
    """Return the mean negative log2-probability of a byte, from natural log-probabilities of tokens."""
    return -float(log_probabilities.sum(dtype=np.float64)) / (math.log(2) * scored_bytes)


def _score(model: Decoder, excerpts: Excerpts, batch: list[Window], scores: NDArray[np.float32]) -> None:
    width = max(w.end - w.start for w in batch)
    inputs = np.full((len(batch), width), model.end_of_document, dtype=np.int64)
    targets = np.full((len(batch), width), model.end_of_document, dtype=np.int64)
    for row, w in enumerate(batch):
        length = w.end - w.start
        targets[row, :length] = excerpts.tokens[w.start : w.end]
        inputs[row, 1:length] = targets[row, : length - 1]
        if not w.first:
            inputs[row, 0] = excerpts.tokens[w.start - 1]
    place = model.table.device
    tokens_1BT, targets_1BT = (torch.from_numpy(each).to(place)[None] for each in (inputs, targets))
    losses_N, _ = token_losses([model], tokens_1BT, targets_1BT, bounded=False)
    losses_BT = losses_N.view(len(batch), width).cpu().numpy()
    for row, w in enumerate(batch):
        scores[w.place : w.place + w.end - w.scored] = -losses_BT[row, w.scored - w.start : w.end - w.start]
