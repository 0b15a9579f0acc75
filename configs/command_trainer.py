"""Somebody's own trainer, made small: counts of bytes in their contexts, on packages of Python's standard library.

It knows nothing of mixopt. `--data` is a file such as Megatron's --data-args-path, weights and paths in turns; a path
is a package of the standard library here. `--gold`, where given, is a folder for the log-probabilities of what it
measures.
"""

import argparse
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
HELD_OUT = {"tools": "importlib/*.py", "prose": "pydoc_data/topics.py"}
SMOOTHING = 0.05
CONTEXTS = 1 << 16
MEASURED_BYTES = 20_000
RUN_BYTES = 256


def main() -> None:
    """Train on the blend, measure, write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--order", type=int, required=True, help="bytes that the next one is predicted from")
    parser.add_argument("--part", choices=("search", "proof"), required=True)
    parser.add_argument("--gold", default="")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    counts = np.full((CONTEXTS, 256), SMOOTHING, dtype=np.float32)
    for weight, package in blend(options.data):
        read = sample(text(f"{package}/*.py"), round(weight * options.tokens), rng)
        np.add.at(counts, (contexts(read, options.order), read), 1.0)
    counts /= counts.sum(axis=1, keepdims=True)
    losses = {}
    for name, pattern in HELD_OUT.items():
        held = text(pattern)
        start = 0 if options.part == "search" else MEASURED_BYTES
        measured = held[start : start + MEASURED_BYTES]
        logs = np.log(counts[contexts(measured, options.order), measured])
        losses[name] = float(-logs.mean() / np.log(2.0))
        if options.gold:
            np.save(Path(options.gold) / f"{name}.npy", logs)
    print("measured", losses)
    options.out.write_text(json.dumps({"losses": losses}))


def blend(path: Path) -> Iterator[tuple[float, str]]:
    """Yield the weight and the path of every part."""
    words = path.read_text().split()
    yield from zip(map(float, words[::2]), words[1::2], strict=True)


def text(pattern: str) -> np.ndarray:
    """Return the bytes of the files of a pattern."""
    content = b"".join(path.read_bytes() for path in sorted(LIBRARY.glob(pattern)))
    return np.frombuffer(content, dtype=np.uint8)


def sample(content: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` bytes in runs of 256, each from a place drawn at random."""
    starts = rng.integers(len(content), size=-(-count // RUN_BYTES))
    return content[(starts[:, None] + np.arange(RUN_BYTES)).ravel()[:count] % len(content)]


def contexts(content: np.ndarray, order: int) -> np.ndarray:
    """Return for every byte a number for the `order` bytes before it."""
    found = np.zeros(len(content), dtype=np.int64)
    for back in range(1, order + 1):
        found = (found * 257 + np.roll(content, back)) % CONTEXTS
    return found


if __name__ == "__main__":
    main()
