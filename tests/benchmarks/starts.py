"""Rungs that start from another model against the same rung from nothing, at equal charged cost.

$ python -m tests.benchmarks.starts FOLDER   (a folder for the prepared text)
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from proxies import machine
from proxies.config import ProxyConfig, trial_flops
from proxies.corpus import Corpus, CorpusConfig, prepare
from proxies.train import train

TOKENS = 1_000_000  # of the training from nothing; the others get what its cost leaves
SEEDS = (0, 1)
SHARE = 0.25  # of the cost, for the first training
DENSE: Mapping[str, Any] = {"layers": 2, "width": 64, "heads": 1, "lags": 3, "learning_rate": 0.02}
ROUTED = {**DENSE, "experts": 8, "top_k": 2, "ffn_width": 256}
LARGE = {**DENSE, "layers": 4, "width": 128, "heads": 2, "learning_rate": 0.01}
GROWN = {"layers": 2, "width": 64, "heads": 1, "learning_rate": 0.02}
CASES: Mapping[str, tuple[Mapping[str, Any], str, Mapping[str, Any]]] = {
    "upcycle": (ROUTED, "upcycle", {}),
    "drop-upcycle": (ROUTED, "drop-upcycle", {}),
    "grow": (LARGE, "grow", GROWN),
}


def corpus(folder: Path) -> Corpus:
    """Return Python's own code and documentation, a domain each."""
    domains = [
        {"name": name, "source": {"kind": "installed", "section": name}, "held_out": 0.15}
        for name in ("python", "docs")
    ]
    evaluation = [{"name": domain["name"], "domain": domain["name"]} for domain in domains]
    plain = {"tokenizer": {"kind": "bytes"}, "domains": domains, "evaluation": evaluation}
    return prepare(CorpusConfig.from_plain(plain), folder)


def cost(plain: Mapping[str, Any], tokens: int, vocabulary: int) -> float:
    """Return the charged cost of a training, FLOPs."""
    return trial_flops(ProxyConfig.from_plain(plain), tokens=tokens, vocabulary=vocabulary, evaluation_tokens=0)


def losses(text: Corpus, plain: Mapping[str, Any], tokens: int) -> list[float]:
    """Return the mean loss over the sets, bits per byte, a seed."""
    config = ProxyConfig.from_plain(plain)
    runs = [train(config, text, [(1.0, {"python": 0.5, "docs": 0.5})], tokens=tokens, seed=seed) for seed in SEEDS]
    return [fmean(run.losses.values()) if run.losses else float("inf") for run in runs]


def main() -> None:
    """Print a row a case."""
    machine.prepare_process()
    text = corpus(Path(sys.argv[1]))
    nothing: dict[str, list[float]] = {}
    for name, (plain, method, changes) in CASES.items():
        whole = cost(plain, TOKENS, text.vocabulary)
        first = {**plain, **({} if method == "grow" else {"experts": 0}), **changes}
        first_tokens = int(SHARE * whole / cost(first, 1, text.vocabulary))
        own_tokens = int((1 - SHARE) * TOKENS)
        started = {**plain, "init": {"method": method, "tokens": first_tokens, "proxy": dict(changes)}}
        key = repr(sorted(plain.items()))
        if key not in nothing:
            nothing[key] = losses(text, plain, TOKENS)
        found = losses(text, started, own_tokens)
        change = cost(started, own_tokens, text.vocabulary) / whole
        print(
            f"{name:<14} from nothing {fmean(nothing[key]):.4f} (sd {stdev(nothing[key]):.4f})  "
            f"started {fmean(found):.4f} (sd {stdev(found):.4f})  at {change:.3f} of the cost",
            flush=True,
        )


if __name__ == "__main__":
    main()
