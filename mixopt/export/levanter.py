"""Levanter (as in Marin): the `data` of its configuration, with caches of tokens and their weights in sequences.

It deals sequences in blocks: a data set gets the whole part of weight x block, and the largest one what is left. So
weights are written as whole sequences of a block, large enough that this hardly differs from what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixopt.export.canonical import canonical
from mixopt.export.paths import Part, parts_of
from mixopt.export.provenance import GRID, Export, apportion
from mixopt.export.yaml_text import heading, quoted

# Powers of two, so that weights in sequences are exact; Levanter's own default, up to its limit of less than 65,536.
BLOCKS = (2_048, 4_096, 8_192, 16_384, 32_768)
NEAR = 0.05  # of a weight: the smallest block in which all are as near as that; a training of fewer sequences is chance


def levanter(export: Export, paths: Mapping[str, object]) -> dict[str, str]:
    """Return the data section and mixopt's own JSON; a path is the folder of a cache, which holds `train`.

    A weight of less than a sequence of the largest block becomes one, where Levanter would read nothing.
    """
    parts = parts_of(export, paths)
    block, counts = _block(parts)
    caches = "".join(f"    {quoted(part.name)}:\n      cache_dir: {quoted(part.path)}\n" for part in parts)
    weights = "".join(f"    {quoted(part.name)}: {_exact(counts[part.name], block)}\n" for part in parts)
    text = (
        heading(export, f"Weights are whole sequences of a block of {block}: keep both, or neither.")
        + f"data:\n  components:\n{caches}  train_weights:\n{weights}  mixture_block_size: {block}\n"
    )
    return {f"{export.search}.levanter.yaml": text} | canonical(export, paths)


def _block(parts: Sequence[Part]) -> tuple[int, dict[str, int]]:
    """Return the block and the sequences of every part in it, one at least."""
    for block in BLOCKS:
        counts = apportion({part.name: part.count for part in parts}, block)
        if all(abs(counts[part.name] / block - part.count / GRID) <= NEAR * part.count / GRID for part in parts):
            break
    none = [name for name, count in counts.items() if count == 0]
    counts |= dict.fromkeys(none, 1)
    counts[max(counts, key=lambda name: counts[name])] -= len(none)
    return block, counts


def _exact(count: int, block: int) -> str:
    """Return count / block without rounding, as fixed-point numbers of at most 15 decimals can."""
    return f"{count / block:.15f}".rstrip("0").ljust(3, "0")
