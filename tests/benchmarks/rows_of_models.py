"""One proxy, dense or routed, and several side by side, against plain loops and the products alone; one core."""

import statistics
import time

import numpy as np
import torch

from proxies.config import ProxyConfig
from proxies.corpus import DomainTokens
from proxies.machine import bf16_gain, product_dtype
from proxies.mixing import Batches
from tests.benchmarks.plain import PlainLoop, Shape
from tests.benchmarks.programs import ONE, TENTH, dense, model_flops, products, program, routed, text
from tests.benchmarks.timing import Row, at_least, at_most, race, ratio

DOMAINS = 17
STEPS = 256


def one_million(rounds: int) -> list[Row]:
    """Dense and routed at 1.31M, with the data's share."""
    bare, bare_flops = products(ONE, product_dtype("auto", torch.device("cpu")))
    times = race(
        {
            "plain": PlainLoop(ONE, text()).step,
            "ours": program(dense(ONE)),
            "compiled": program(dense(ONE, compiled=True)),
            "muon": program(dense(ONE, optimizer="muon")),
            "routed": program(routed(ONE)),
            "routed, compiled": program(routed(ONE, compiled=True)),
            "products": bare,
        },
        rounds=rounds,
        warm=8,
    )
    share = {
        kind: 100 * ratio(times, "products", kind) * model_flops(ONE) / bare_flops for kind in ("ours", "compiled")
    }
    compiled = ratio(times, "compiled", "routed, compiled")
    _print("1.31M", times, ONE)
    return [
        at_least("dense 1.3M, eager, against plain", ratio(times, "plain", "ours"), 3.2, "x"),
        at_least("dense 1.3M, compiled, against plain", ratio(times, "plain", "compiled"), 3.6, "x"),
        at_least("dense 1.3M, eager, share of the products' rate", share["ours"], 60, "%"),
        at_least("dense 1.3M, compiled, share of the products' rate", share["compiled"], 60, "%"),
        at_least("routed 1.3M, equal active parameters, against dense", ratio(times, "ours", "routed"), 0.85, "x"),
        at_least("routed 1.3M, eager, against compiled dense", ratio(times, "compiled", "routed"), 0.8, "x"),
        at_least("routed 1.3M, compiled, against compiled dense", compiled, 0.8, "x"),
        at_most("data of 17 domains, share of a step at 1.3M", 100 * data_s(ONE) / _median(times["ours"]), 0.2, "%"),
    ]


def tenth_of_a_million(rounds: int) -> list[Row]:
    times = race(
        {
            "plain": PlainLoop(TENTH, text()).step,
            "ours": program(dense(TENTH)),
            "compiled": program(dense(TENTH, compiled=True)),
            "muon": program(dense(TENTH, optimizer="muon")),
            "routed": program(routed(TENTH)),
        },
        rounds=rounds,
        warm=12,
    )
    _print("0.1M", times, TENTH)
    return [
        at_least("dense 0.1M, eager, against plain", ratio(times, "plain", "ours"), 2.5, "x"),
        at_least("dense 0.1M, compiled, against plain", ratio(times, "plain", "compiled"), 3.2, "x"),
        at_most("data of 17 domains, share of a step at 0.1M", 100 * data_s(TENTH) / _median(times["ours"]), 0.2, "%"),
    ]


def side_by_side(config: ProxyConfig, *, models: int, target: float, rounds: int, name: str) -> Row:
    """Several models as one program, against as many steps of one after another: of a single model's training."""
    single = program(config)

    def one_after_another() -> None:
        for _ in range(models):
            single()

    times = race({"apart": one_after_another, "together": program(config, models)}, rounds=rounds)
    return at_least(name, ratio(times, "apart", "together"), target, "x")


def data_s(shape: Shape) -> float:
    """Return the seconds that a batch takes out of 17 domains, gathering included."""
    pieces = np.array_split(text(), DOMAINS)
    domains = {}
    for index, tokens in enumerate(pieces):
        offsets = np.array([0, len(tokens)], dtype=np.int64)
        name = f"domain-{index}"
        domains[name] = DomainTokens(name=name, tokens=tokens, offsets=offsets, available_tokens=len(tokens))
    batches = Batches(
        domains,
        [(1.0, dict.fromkeys(domains, 1 / DOMAINS))],
        seed=0,
        sequence_tokens=shape.sequence_tokens,
        batch_sequences=shape.batch_sequences,
        steps=STEPS,
    )
    batches.batch(STEPS - 1)
    started = time.process_time()
    for k in range(STEPS):
        batches.batch(k)
    return (time.process_time() - started) / STEPS


def _median(times: list[float]) -> float:
    return statistics.median(times)


def _print(name: str, times: dict[str, list[float]], shape: Shape) -> None:
    print(f"{name}, bf16 over float32: {bf16_gain():.1f} x")
    for variant, seconds in times.items():
        median = statistics.median(seconds)
        print(f"  {variant:<16} {1e3 * median:8.2f} ms  {shape.batch_tokens / median:>10,.0f} tokens/s", flush=True)
