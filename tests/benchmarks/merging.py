"""Data experts as an ensemble, and merged into one model: which ranks mixtures as training them does.

$ python -m tests.benchmarks.merging [TOKENS]   (of a training, 1,000,000 if not said)

Experts are trained from nothing, all from one seed, or from a base: the same training, whose first half is the even
mixture for all of them. Ten mixtures of three domains are trained as long, with two seeds.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from proxies import machine
from proxies.corpus import Corpus
from proxies.experts import Ensemble
from proxies.merged_experts import MergedExperts
from proxies.mixing import Stage
from proxies.train import Plan, train_together
from tests.benchmarks.losses import DOMAINS, EVEN, MIXTURES, PROGRAM_TOKENS, corpus
from tests.benchmarks.programs import TENTH, dense

CONFIG = dense(TENTH, learning_rate=1.2e-2)
SEEDS = (1, 2)  # not the experts'


def recipes(*, base: float) -> Mapping[str, Sequence[Stage]]:
    """Return what each expert trains on: the even mixture for the share `base`, then its domain alone."""
    first: list[Stage] = [(base, EVEN)] if base else []
    return {name: [*first, (1.0 - base, {name: 1.0})] for name in DOMAINS}


def trained(text: Corpus, plans: Sequence[Plan]) -> list[float]:
    """Return the mean loss over the sets of every training."""
    together = max(1, PROGRAM_TOKENS // CONFIG.batch_tokens)
    runs = [run for at in range(0, len(plans), together) for run in train_together(plans[at : at + together], text)]
    return [float(np.mean(list(run.losses.values()))) for run in runs]


def main() -> None:
    """Train, and print what each way of knowing is worth."""
    machine.prepare_process()
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    weights = np.random.default_rng(0).dirichlet(np.ones(len(DOMAINS)), MIXTURES)
    with tempfile.TemporaryDirectory() as folder:
        text = corpus(Path(folder))
        points = [dict(zip(DOMAINS, row.tolist(), strict=True)) for row in weights]
        plans = [Plan(config=CONFIG, recipe=[(1.0, p)], tokens=tokens, seed=s) for s in SEEDS for p in points]
        measured = np.array(trained(text, plans)).reshape(len(SEEDS), MIXTURES)
        seeds = spearmanr(*measured).statistic
        print(f"{tokens:,} tokens, ten mixtures: two seeds agree with rho {seeds:.2f}", flush=True)
        for name, base in (("from nothing", 0.0), ("from a base", 0.5)):
            folders = {domain: Path(folder) / f"{name} {domain}" for domain in DOMAINS}
            told = recipes(base=base)
            experts = [Plan(config=CONFIG, recipe=told[d], tokens=tokens, seed=0, gold=folders[d]) for d in DOMAINS]
            alone = trained(text, experts)
            scored = {set_: excerpts.scored_bytes for set_, excerpts in text.evaluation("search").items()}
            known: dict[str, Ensemble | MergedExperts] = {
                "ensemble": Ensemble.load(folders, scored),
                "merged": MergedExperts.load(folders, CONFIG, text, part="search"),
            }
            for kind, each in known.items():
                losses = each.losses(weights).mean(1)
                rho, error = spearmanr(losses, measured.mean(0)).statistic, np.mean(losses - measured.mean(0))
                print(f"experts {name}, {kind:<8}: rho {rho:5.2f}, {error:+.3f} bits per byte too high", flush=True)
            print(
                f"  the experts themselves: {' '.join(f'{loss:.3f}' for loss in alone)}; trained {measured.mean():.3f}"
            )


if __name__ == "__main__":
    main()
