"""Writing the training tokens of a domain: its documents shuffled once, each with its end."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from proxies.spool import Spool
from proxies.tokenization import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What was written; `stands_for_tokens` is how many tokens there would be, had the source not read a sample."""

    bytes: int
    tokens: int
    stands_for_tokens: float


def write_domain(
    folder: Path, name: str, source: Spool, kept: NDArray[np.bool_], tokenizer: Tokenizer, *, seed: int
) -> Counts:
    """Write the `kept` documents to `folder`/name.tokens and .offsets.npy, in an order drawn by `seed` and the name."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng([seed, crc32(name.encode())])
    order = rng.permutation(np.flatnonzero(kept))
    end = np.array([tokenizer.end_of_document], dtype=tokenizer.dtype)
    lengths = np.zeros(len(order), dtype=np.int64)
    content_bytes = 0.0
    with (folder / f"{name}.tokens").open("wb") as file:
        for position, index in enumerate(order.tolist()):
            content = source.document(index)
            ids = content if source.are_tokens else tokenizer.encode(content)
            content_bytes += tokenizer.byte_lengths(ids).sum() if source.are_tokens else len(content)
            lengths[position] = len(ids) + 1
            file.write(ids.tobytes())
            file.write(end.tobytes())
    np.save(folder / f"{name}.offsets.npy", np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
    return Counts(
        bytes=round(content_bytes),
        tokens=int(lengths.sum()),
        stands_for_tokens=float((lengths * source.stands_for[order]).sum()),
    )
