"""The first documents of a domain, cut at whole documents: nested, and never emptied by a long one."""

import heapq

import numpy as np
from numpy.typing import NDArray

SHORT_TOKENS = 2_048  # a document up to this never waits: eight sequences of the usual length; a choice


def first_documents(offsets: NDArray[np.int64], tokens: int | None) -> NDArray[np.int64]:
    """Return which documents make up the head of at most `tokens` (None: of any length), in the order of a head.

    That order knows nothing of `tokens`, so that smaller heads lie inside larger ones: the documents as they stand, but
    one that is longer than all before it together (and than `SHORT_TOKENS`) waits until it is not, or until nothing
    else is left. So no single document leaves a head less than half full, as long as there are others.
    """
    lengths = np.diff(offsets)
    longest = int(lengths.max(initial=0))
    most = int(offsets[-1]) if tokens is None else tokens
    order: list[int] = []
    waiting: list[tuple[int, int]] = []
    total, upcoming = 0, 0
    while waiting or upcoming < len(lengths):
        patience = max(total, SHORT_TOKENS)
        if not waiting and patience >= longest:  # nothing will ever wait again
            last = int(np.searchsorted(offsets, offsets[upcoming] + most - total, side="right")) - 1
            return np.concatenate([np.array(order, dtype=np.int64), np.arange(upcoming, max(last, upcoming))])
        if waiting and (waiting[0][0] <= patience or upcoming == len(lengths)):
            length, index = heapq.heappop(waiting)
        else:
            length, index = int(lengths[upcoming]), upcoming
            upcoming += 1
            if length > patience:
                heapq.heappush(waiting, (length, index))
                continue
        if total + length > most:
            break
        order.append(index)
        total += length
    return np.array(order, dtype=np.int64)


def least_head(offsets: NDArray[np.int64], tokens: int) -> int:
    """Return the tokens of the smallest head that holds at least `tokens`; 0 where the whole domain holds fewer."""
    if offsets[-1] < tokens:
        return 0
    totals = np.cumsum(np.diff(offsets)[first_documents(offsets, None)])
    return int(totals[np.searchsorted(totals, tokens)])
