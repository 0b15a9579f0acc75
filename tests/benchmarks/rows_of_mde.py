"""The ensemble of data experts at 17 domains and a million tokens, on made-up probabilities; one core."""

import statistics
import time
from collections.abc import Callable

import numpy as np

from proxies.coreset import coreset
from proxies.experts import Ensemble, Float64Array, GoldTokens
from proxies.polytope_newton import Polytope
from tests.benchmarks.timing import Row, at_least, at_most

DOMAINS, TOKENS, MIXTURES = 17, 1_000_000, 128
CORESET_TOKENS = 50_000
SEEDS_SD = 0.0054  # bits per byte: the least of the four mixtures of the proof in the README
CAP = 0.15


def ensemble() -> Ensemble:
    """Return experts that agree on which tokens are hard, and differ along four directions and a little everywhere."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(DOMAINS, 4)) * np.array([0.6, 0.5, 0.3, 0.2])
    logs = (directions @ rng.normal(size=(4, TOKENS))).astype(np.float32)
    logs += 0.2 * rng.standard_normal((DOMAINS, TOKENS), dtype=np.float32)
    logs -= rng.exponential(1.3, TOKENS).astype(np.float32) + 0.3
    probabilities = np.exp(np.minimum(logs, -1e-3, out=logs))
    gold = GoldTokens(probabilities=probabilities, nats=np.full(TOKENS, 1.0 / (np.log(2.0) * TOKENS)))
    return Ensemble(domains=tuple(f"domain-{i}" for i in range(DOMAINS)), gold={"set": gold})


def mde(rounds: int) -> list[Row]:
    experts = ensemble()
    weights = np.random.default_rng(1).dirichlet(np.ones(DOMAINS), MIXTURES)
    small = coreset(experts, tokens=CORESET_TOKENS, seed=0)
    exact_s = _median_s(lambda: experts.values_and_gradients(weights, {"set": 1.0}), rounds)
    small_s = _median_s(lambda: small.values_and_gradients(weights, {"set": 1.0}), 4 * rounds)
    capped = Polytope(
        A=np.ones((1, DOMAINS)) * (np.arange(DOMAINS) < 3),
        b=np.array([0.3]),
        lower=np.zeros(DOMAINS),
        upper=np.full(DOMAINS, CAP),
        inside=np.full(DOMAINS, 1.0 / DOMAINS),
    )
    free_s = _median_s(lambda: _exact(experts, None), rounds)
    capped_s = _median_s(lambda: _exact(experts, capped), rounds)
    fresh = np.random.default_rng(2).dirichlet(np.ones(DOMAINS), 256)
    error = float(np.sqrt(np.square(small.losses(fresh) - experts.losses(fresh)).mean()))
    print(
        f"mde: coreset of {CORESET_TOKENS} tokens, stated (largest) error {small.error:.2g} bits per byte", flush=True
    )
    return [
        at_least("MDE, 17 x 1e6, exact, with gradient", MIXTURES / exact_s, 600, "mixtures/s"),
        at_least("MDE, 17 x 1e6, through the coreset, with gradient", MIXTURES / small_s, 10_000, "mixtures/s"),
        at_most("MDE, error of the coreset (root of the mean square)", error, SEEDS_SD / 10, "bits/byte"),
        at_most("MDE, exact optimum to a gap of 1e-8", free_s, 0.5, "s"),
        at_most("MDE, exact optimum to a gap of 1e-8, caps and a constraint", capped_s, 0.5, "s"),
    ]


def _exact(experts: Ensemble, within: Polytope | None) -> Float64Array:
    optimum, gap = experts.optimum({"set": 1.0}, within)
    assert gap <= 1e-8, gap
    return optimum


def _median_s(run: Callable[[], object], rounds: int) -> float:
    run()
    found = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        found.append(time.process_time() - started)
    return statistics.median(found)
