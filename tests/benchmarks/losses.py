"""What optimizers and precision do to losses: the rows of the table that need whole trainings; `make bench-training`.

$ python -m tests.benchmarks.losses [SHARE]    (SHARE of the tokens, 1 if not said: a trial run takes 0.02)

Half an hour to an hour of one core. Losses are means over the evaluation sets, bits per byte; rows go into bench.json.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from proxies import machine
from proxies.config import ProxyConfig
from proxies.corpus import Corpus, CorpusConfig, prepare
from proxies.train import Plan, train_together
from tests.benchmarks.plain import Shape
from tests.benchmarks.programs import ONE, TENTH, dense
from tests.benchmarks.timing import Row, at_least, at_most, print_table, write

DOMAINS = ("python", "docs", "cpp")
MEASURED = ("python", "docs")
SEEDS: Mapping[str, Sequence[int]] = {"0.1M": range(4), "1.3M": range(2)}  # those of the smaller differ by more
MIXTURES = 10
MIXTURE_SEEDS = range(6)
MIXTURE_TOKENS = 1_000_000
ADAMW_TOKENS = {"0.1M": 4_900_000, "1.3M": 2_000_000}
RATES: Mapping[str, Mapping[str, Sequence[float]]] = {  # factors of two about the best of earlier grids
    "0.1M": {"adamw": (6e-3, 1.2e-2, 2.4e-2), "muon": (1e-2, 2e-2, 4e-2)},
    "1.3M": {"adamw": (7.5e-4, 1.5e-3, 3e-3), "muon": (1.5e-2, 3e-2, 6e-2)},
}
TUNED: Mapping[str, Mapping[str, Mapping[str, float]]] = {  # what else such grids found: for either alike
    "0.1M": {"adamw": {"embedding_rate": 2e-2}, "muon": {}},
    "1.3M": {
        "adamw": {"embedding_rate": 4.5e-3, "weight_decay": 1.0},
        "muon": {"embedding_rate": 4e-3, "weight_decay": 0.4},
    },
}
PROGRAM_TOKENS = 16_384  # of a step, all models of a program together; more leave the cache
HALF = 0.5
OTHER_SHARES = (0.35, 0.7)  # of the tokens of AdamW, at Muon's best rate
EVEN = dict.fromkeys(DOMAINS, 1 / len(DOMAINS))


def corpus(folder: Path) -> Corpus:
    """Return text of this Python installation, a domain a kind."""
    domains = [{"name": n, "source": {"kind": "installed", "section": n}, "held_out": 0.15} for n in DOMAINS]
    evaluation = [{"name": name, "domain": name} for name in MEASURED]
    plain = {"tokenizer": {"kind": "bytes"}, "domains": domains, "evaluation": evaluation}
    return prepare(CorpusConfig.from_plain(plain), folder)


def trained(
    text: Corpus,
    configs: Sequence[ProxyConfig],
    mixtures: Sequence[Mapping[str, float]],
    tokens: int,
    seeds: Sequence[int],
) -> tuple[np.ndarray, float]:
    """Return the losses `configs x mixtures x seeds`, and the processor time of a training; diverged ones are inf.

    They share their shape, and so a program.
    """
    plans = [
        Plan(config=config, recipe=[(1.0, mixture)], tokens=tokens, seed=seed)
        for config in configs
        for mixture in mixtures
        for seed in seeds
    ]
    together = max(1, PROGRAM_TOKENS // configs[0].batch_tokens)
    started = time.process_time()
    groups = [train_together(plans[at : at + together], text) for at in range(0, len(plans), together)]
    took_s = (time.process_time() - started) / len(plans)
    losses = [statistics.fmean(run.losses.values()) if run.losses else float("inf") for runs in groups for run in runs]
    return np.array(losses).reshape(len(configs), len(mixtures), len(seeds)), took_s


def optimizers(text: Corpus, name: str, shape: Shape, share: float) -> list[Row]:
    """Which share of tuned AdamW's tokens, and of its time, Muon takes to the same loss."""
    tokens = int(share * ADAMW_TOKENS[name])
    grid = {
        kind: [dense(shape, optimizer=kind, learning_rate=rate, **TUNED[name][kind]) for rate in rates]
        for kind, rates in RATES[name].items()
    }
    adamw, adamw_s = trained(text, grid["adamw"], [EVEN], tokens, SEEDS[name])
    half, half_s = trained(text, grid["muon"], [EVEN], int(HALF * tokens), SEEDS[name])
    wanted, best = adamw.mean((1, 2)).min(), int(half.mean((1, 2)).argmin())
    curve = {HALF: half.mean((1, 2))[best]}
    for part in OTHER_SHARES:
        curve[part] = trained(text, [grid["muon"][best]], [EVEN], int(part * tokens), SEEDS[name])[0].mean()
    print(f"{name}: AdamW on {tokens:,} tokens, by rate {_told(RATES[name]['adamw'], adamw)}")
    print(f"{name}: Muon on half of them, by rate {_told(RATES[name]['muon'], half)}")
    print(f"{name}: Muon at its best rate, by share { ({k: round(float(v), 4) for k, v in sorted(curve.items())}) }")
    needed = _crossing(curve, float(wanted))
    title = f"Muon at {name}, to the final loss of tuned AdamW: share of its"
    return [
        at_most(f"{title} tokens", needed, 0.5, "x"),
        at_most(f"{title} time", needed * half_s / (HALF * adamw_s), 0.55, "x"),
    ]


def _crossing(curve: Mapping[float, float], wanted: float) -> float:
    """Return the share at which the loss is `wanted`, between measured ones; beyond them the nearest that is safe."""
    shares = sorted(curve)
    losses = [curve[share] for share in shares]
    if wanted < min(losses):
        return float("inf")
    reached = next(i for i, loss in enumerate(losses) if loss <= wanted)
    if reached == 0:
        return shares[0]
    return float(np.interp(-wanted, [-losses[reached - 1], -losses[reached]], shares[reached - 1 : reached + 1]))


def mixtures(text: Corpus, share: float) -> list[Row]:
    """Whether Muon, AdamW, bfloat16 and float32 rank ten mixtures alike, as far as seeds do."""
    drawn = np.random.default_rng(0).dirichlet(np.ones(len(DOMAINS)), MIXTURES)
    points = [dict(zip(DOMAINS, row.tolist(), strict=True)) for row in drawn]
    tokens = int(share * MIXTURE_TOKENS)
    tuned = {kind: {"optimizer": kind, **others} for kind, others in TUNED["0.1M"].items()}
    kinds = {
        "adamw": dense(TENTH, learning_rate=6e-3, **tuned["adamw"]),
        "muon": dense(TENTH, learning_rate=4e-2, **tuned["muon"]),
        "float32": dense(TENTH, learning_rate=6e-3, precision="float32", **tuned["adamw"]),
    }
    found = {kind: trained(text, [config], points, tokens, MIXTURE_SEEDS)[0][0] for kind, config in kinds.items()}
    adamw, muon, float32 = found["adamw"], found["muon"], found["float32"]
    seeds, optimizer = _agreement(adamw, adamw), _agreement(adamw, muon)
    precision = statistics.fmean(spearmanr(a, b).statistic for a, b in zip(adamw.T, float32.T, strict=True))
    less, less_error = _jackknife(adamw, muon)
    seeds_sd = float(adamw.var(axis=1, ddof=1).mean() ** 0.5)
    difference = adamw - float32
    error = float(difference.std(ddof=1)) / difference.size**0.5
    print(f"ten mixtures on {tokens:,} tokens, spread {adamw.mean(1).std():.4f}, sd of seeds {seeds_sd:.4f}")
    print(f"rank agreement of two seeds: AdamW {seeds:.3f}, Muon {_agreement(muon, muon):.3f}, both {optimizer:.3f}")
    print(f"both less the mean of either: {less:+.3f}, its error {less_error:.3f}; bf16 and float32 {precision:.3f}")
    print(f"bf16 less float32: mean {difference.mean():+.5f}, its error {error:.5f}")
    return [
        at_least("Muon and AdamW, ten mixtures: rank agreement less that of seeds", less, -2 * less_error, "rho"),
        at_least("bf16 and float32, ten mixtures: rank agreement less that of seeds", precision - seeds, 0.0, "rho"),
        at_most("bf16 less float32, mean over the seeds' sd", abs(difference.mean()) / seeds_sd, 0.1, "sd"),
    ]


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return how alike two tables `mixtures x seeds` rank the mixtures, in the mean over all pairs of two seeds."""
    pairs = permutations(range(one.shape[1]), 2)
    return statistics.fmean(spearmanr(one[:, a], other[:, b]).statistic for a, b in pairs)


def _jackknife(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the agreement of two tables less the geometric mean of that within each, and its standard error.

    Two that rank alike agree as well as that: noise of seeds alone keeps them from more.
    """

    def less(seeds: Sequence[int]) -> float:
        a, b = one[:, seeds], other[:, seeds]
        return _agreement(a, b) - max(0.0, _agreement(a, a) * _agreement(b, b)) ** 0.5

    seeds = range(one.shape[1])
    without = np.array([less([seed for seed in seeds if seed != left_out]) for left_out in seeds])
    return less(seeds), float(without.std() * (len(seeds) - 1) ** 0.5)


def _told(rates: Sequence[float], losses: np.ndarray) -> str:
    return ", ".join(
        f"{rate:g}: {' '.join(f'{loss:.4f}' for loss in each.flat)}" for rate, each in zip(rates, losses, strict=True)
    )


def main() -> None:
    """Train, print what came of it, and write the rows."""
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    machine.prepare_process()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        text = corpus(Path(folder))
        rows = optimizers(text, "0.1M", TENTH, share) + mixtures(text, share) + optimizers(text, "1.3M", ONE, share)
    if share == 1.0:
        write(rows)
        print_table()
    else:
        print(*rows, "a trial run; nothing was written", sep="\n")
    print(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
