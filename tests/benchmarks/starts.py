"""Rungs that start from another model against the same rung from nothing, at equal charged cost.

$ python -m tests.benchmarks.starts FOLDER [CASE ...]   (a folder for the prepared text; all cases if none is named)

Data experts to be merged are trained once, by seed 0, for all seeds of the rung, as a search does it. They are counted
in two ways: charged to one training alone, which is that much shorter; and not at all, as where a search has paid for
its experts anyhow, so that both trainings are as long.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from proxies import machine
from proxies.config import ProxyConfig, trial_flops
from proxies.corpus import Corpus, CorpusConfig, prepare
from proxies.train import DataExperts, Plan, train_together

TOKENS = 1_000_000  # of the training from nothing; the others get what its cost leaves
SEEDS = (0, 1, 2)
SHARE = 0.25  # of the cost, for the first training
DENSE: Mapping[str, Any] = {"layers": 2, "width": 64, "heads": 1, "lags": 3, "learning_rate": 0.02}
ROUTED = {**DENSE, "experts": 8, "top_k": 2, "ffn_width": 256}
LARGE = {**DENSE, "layers": 4, "width": 128, "heads": 2, "learning_rate": 0.01}
DOMAINS = ("python", "docs")
EVEN = {name: 1 / len(DOMAINS) for name in DOMAINS}
MERGED: Mapping[str, Mapping[str, Any]] = {"merge-experts": DENSE, "merge-routed-experts": {**ROUTED, "experts": 4}}
GROWN = {"layers": 2, "width": 64, "heads": 1, "learning_rate": 0.02}
CASES: Mapping[str, tuple[Mapping[str, Any], str, Mapping[str, Any]]] = {
    "upcycle": (ROUTED, "upcycle", {}),
    "drop-upcycle": (ROUTED, "drop-upcycle", {}),
    "grow": (LARGE, "grow", GROWN),
}


def corpus(folder: Path) -> Corpus:
    """Return Python's own code and documentation, a domain each."""
    domains = [{"name": name, "source": {"kind": "installed", "section": name}, "held_out": 0.15} for name in DOMAINS]
    evaluation = [{"name": domain["name"], "domain": domain["name"]} for domain in domains]
    plain = {"tokenizer": {"kind": "bytes"}, "domains": domains, "evaluation": evaluation}
    return prepare(CorpusConfig.from_plain(plain), folder)


def cost(plain: Mapping[str, Any], tokens: int, vocabulary: int) -> float:
    """Return the charged cost of a training, FLOPs."""
    return trial_flops(ProxyConfig.from_plain(plain), tokens=tokens, vocabulary=vocabulary, evaluation_tokens=0)


def losses(text: Corpus, plain: Mapping[str, Any], tokens: int, *, experts: DataExperts | None = None) -> list[float]:
    """Return the mean loss over the sets, bits per byte, a seed."""
    config = ProxyConfig.from_plain(plain)
    plans = [Plan(config=config, recipe=[(1.0, EVEN)], tokens=tokens, seed=s, experts=experts) for s in SEEDS]
    runs = [train_together([plan], text)[0] for plan in plans]
    return [fmean(run.losses.values()) if run.losses else float("inf") for run in runs]


def data_experts(text: Corpus, plain: Mapping[str, Any], tokens: int, folder: Path) -> DataExperts:
    """Train an expert on `tokens` of each domain."""
    config, folders = ProxyConfig.from_plain(plain), [folder / name for name in DOMAINS]
    for name, place in zip(DOMAINS, folders, strict=True):
        train_together([Plan(config=config, recipe=[(1.0, {name: 1.0})], tokens=tokens, seed=0, gold=place)], text)
    return DataExperts(config=config, folders=folders)


def told(name: str, nothing: Sequence[float], started: Sequence[float], change: float) -> None:
    """Print a row: losses, their paired difference, and what the started training cost of that from nothing."""
    differences = [b - a for a, b in zip(nothing, started, strict=True)]
    print(
        f"{name:<38} from nothing {fmean(nothing):.4f} (sd {stdev(nothing):.4f})  started {fmean(started):.4f} "
        f"(sd {stdev(started):.4f})  difference {fmean(differences):+.4f} (sd {stdev(differences):.4f})  "
        f"at {change:.3f} of the cost",
        flush=True,
    )


def main() -> None:
    """Print a row a case."""
    machine.prepare_process()
    text = corpus(Path(sys.argv[1]))
    asked = sys.argv[2:] or [*CASES, *MERGED]
    nothing: dict[str, list[float]] = {}

    def from_nothing(plain: Mapping[str, Any]) -> list[float]:
        key = repr(sorted(plain.items()))
        if key not in nothing:
            nothing[key] = losses(text, plain, TOKENS)
        return nothing[key]

    for name, (plain, method, changes) in CASES.items():
        if name not in asked:
            continue
        whole = cost(plain, TOKENS, text.vocabulary)
        first = {**plain, **({} if method == "grow" else {"experts": 0}), **changes}
        first_tokens = int(SHARE * whole / cost(first, 1, text.vocabulary))
        own_tokens = int((1 - SHARE) * TOKENS)
        started = {**plain, "init": {"method": method, "tokens": first_tokens, "proxy": dict(changes)}}
        change = cost(started, own_tokens, text.vocabulary) / whole
        told(name, from_nothing(plain), losses(text, started, own_tokens), change)
    for name, expert in MERGED.items():
        if name not in asked:
            continue
        whole = cost(ROUTED, TOKENS, text.vocabulary)
        expert_tokens = int(SHARE * whole / cost(expert, 1, text.vocabulary) / len(DOMAINS))
        started = {**ROUTED, "init": {"method": "merge-experts"}}
        paid = cost(expert, expert_tokens, text.vocabulary) * len(DOMAINS)
        with TemporaryDirectory() as folder:
            experts = data_experts(text, expert, expert_tokens, Path(folder))
            for own_tokens, counted, how in (
                (int((1 - SHARE) * TOKENS), paid, "experts charged to it"),
                (TOKENS, 0.0, "experts paid before"),
            ):
                change = (cost(started, own_tokens, text.vocabulary) + counted) / whole
                found = losses(text, started, own_tokens, experts=experts)
                told(f"{name}, {how}", from_nothing(ROUTED), found, change)


if __name__ == "__main__":
    main()
