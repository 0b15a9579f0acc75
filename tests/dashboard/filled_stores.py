"""Stores filled through the store's own door, with losses of a closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from store import NewTrial, Search, Store

SEVEN = {"python": 113, "tests": 62, "docs": 45, "cpp": 22, "cython": 2, "data": 2, "legal": 1}
ROUTED = {"python": 0.5, "tests": 0.25, "docs": 0.25}
RUNG_FLOPS = {"small": 1e12, "large": 1.5e13}
SETS = ("topics", "assistant")


def config_of(domains: Mapping[str, int], *, target: bool = False) -> dict[str, Any]:
    """Return a resolved configuration as the search records it."""
    proxy = {"layers": 2, "width": 64, "heads": 2}
    plain: dict[str, Any] = {
        "objective": {"weights": {"topics": 0.75, "assistant": 0.25}},
        "budget_flops": 4e14,
        "time_limit_s": 600,
        "ladder": [
            {"name": "small", "tokens": 500_000, "proxy": proxy},
            {"name": "large", "tokens": 2_000_000, "proxy": proxy},
        ],
        "domains": [{"name": name, "available_tokens": tokens * 1_000_000} for name, tokens in domains.items()],
    }
    return plain | ({"target": {"parameters": 10**9, "tokens": 10**9}} if target else {})


def create(
    store: Store, *, name: str = "quickstart", domains: Mapping[str, int] = SEVEN, target: bool = False
) -> Search:
    """Add a search without trials."""
    counted = {domain: tokens * 1_000_000 for domain, tokens in domains.items()}
    return store.create_search(
        name=name,
        seed=0,
        config=config_of(domains, target=target),
        config_hash=name,
        corpus={"digest": "d"},
        domains=counted,
    )


def losses_of(weights: Mapping[str, float], *, rung: str, seed: int) -> dict[str, float]:
    """Return losses that fall with the square roots of two weights: more of the third and second domain is better."""
    names = list(weights)
    floor = {"small": 2.4, "large": 1.9}.get(rung, 2.6)
    noise = 0.004 * np.random.default_rng([seed, len(rung)]).standard_normal()
    gain = 0.5 * weights[names[2]] ** 0.5 + 0.2 * weights[names[1]] ** 0.5
    return {"topics": floor - gain + noise, "assistant": floor + 0.1 - 0.5 * gain + noise}


def add(store: Store, search: Search, weights: Mapping[str, float], **told: str | int) -> int:
    """Add one queued trial and return its id."""
    rung, seed, part = str(told.get("rung", "large")), int(told.get("seed", 0)), str(told.get("part", "search"))
    key = f"{search.name}/{sorted(weights.items())}/{rung}/{seed}/{told.get('salt', 0)}"
    new = NewTrial(
        purpose=str(told.get("purpose", "search")),
        fidelity=rung,
        seed=seed,
        part=part,
        recipe=[(1.0, weights)],
        weights=weights,
        run_hash=key,
        content={"key": key},
        charged_flops=RUNG_FLOPS.get(rung, 5e11),
        reason="expected gain a FLOP is the highest here",
        predicted={"objective": {"mean": 1.7, "sd": 0.03}, "topics": {"mean": 1.65, "sd": 0.03}},
    )
    return store.add_trials(search.id, [new])[0].id


def finish(store: Store, search: Search, weights: Mapping[str, float], **told: str | int) -> None:
    """Add one trial and complete it with the losses of `losses_of`."""
    trial = add(store, search, weights, **told)
    rung, seed = str(told.get("rung", "large")), int(told.get("seed", 0))
    store.start(trial, worker="local-0")
    curve = [(100_000 * step, 5.5 / step**0.25) for step in range(1, 21)]
    store.complete(
        trial,
        losses=losses_of(weights, rung=rung, seed=seed),
        curve=curve,
        epochs={name: 0.02 + 5 * weight for name, weight in weights.items() if weight > 0},
        spent_flops=RUNG_FLOPS.get(rung, 5e11),
        elapsed_s=4.2 if rung == "small" else 41.0,
    )


def finish_routed(store: Store, search: Search, usage: Mapping[str, list[list[float]]]) -> None:
    """Add one trial of a routed proxy, of `ROUTED`, and complete it; `usage` by domain, layers x experts."""
    trial = add(store, search, ROUTED)
    store.start(trial, worker="local-0")
    store.complete(
        trial,
        losses=losses_of(ROUTED, rung="large", seed=0),
        curve=[(100_000, 5.5)],
        epochs={name: 5 * weight for name, weight in ROUTED.items()},
        spent_flops=1.5e13,
        elapsed_s=41.0,
        details={"device": "cpu", "expert_usage": usage},
    )


def spread(domains: Sequence[str], n: int, *, seed: int = 0) -> list[dict[str, float]]:
    """Return `n` mixtures, some on faces of the simplex."""
    rng = np.random.default_rng(seed)
    drawn = rng.dirichlet(np.full(len(domains), 0.7), n)
    drawn[drawn < 0.01] = 0.0
    return [dict(zip(domains, (row / row.sum()).tolist(), strict=True)) for row in drawn]


def proof_row(name: str, mixture: Mapping[str, float], *, difference: float | None) -> dict[str, Any]:
    """Return one row of a proof as the search records it."""
    gap = difference or 0.0
    return {
        "name": name,
        "mixture": dict(mixture),
        "predicted_mean": 1.55 + gap,
        "predicted_sd": 0.02,
        "measured": 1.56 + gap,
        "standard_error": 0.008,
        "difference": difference,
        "difference_low": None if difference is None else difference - 0.03,
        "difference_high": None if difference is None else difference + 0.03,
        "beats_natural": 0.99 if gap < 0.1 else 0.0,
        "seeds": 4,
    }


def recommendation(domains: Mapping[str, int], *, proof: bool = True) -> dict[str, Any]:
    """Return the payload of a recommendation, with a proof that holds."""
    names = list(domains)
    best = dict.fromkeys(names, 0.0) | {names[1]: 0.2, names[2]: 0.8}
    total = sum(domains.values())
    natural = {name: tokens / total for name, tokens in domains.items()}
    uniform = dict.fromkeys(names, 1 / len(names))
    rows = [
        proof_row("recommended", best, difference=None),
        proof_row("natural", natural, difference=0.15),
        proof_row("uniform", uniform, difference=0.09),
        proof_row("unimax", uniform, difference=0.05),
        proof_row(f"only {names[2]}", dict.fromkeys(names, 0.0) | {names[2]: 1.0}, difference=0.01),
    ]
    verdict = "better than natural, uniform and unimax outside the noise; not worse than the best single domain"
    return {
        "mixture": best,
        "predicted": {"mean": 1.55, "sd": 0.02},
        "beats_natural": 0.998,
        "natural": {"mean": 1.70, "sd": 0.02},
        "agreement": [{"rung": "small", "spearman": 0.81, "low": 0.6, "high": 0.93, "mixtures": 9, "shared": 7}],
        "fallback": None,
        "insight": insight(domains),
        "proof": {"rows": rows, "holds": True, "verdict": verdict} if proof else None,
    }


def insight(domains: Mapping[str, int]) -> dict[str, Any]:
    """Return what is known around the recommendation, as the search records it."""
    names = list(domains)
    return {
        "effects": [
            {
                "domain": name,
                "change": 0.0004 * (place - 2),
                "sd": 0.0003,
                "sets": {"topics": 0.0005 * (place - 2), "assistant": -0.0001 * place},
            }
            for place, name in enumerate(names)
        ],
        "ranges": {name: [0.0, 0.1 + 0.05 * place] for place, name in enumerate(names)},
        "examples": [dict.fromkeys(names, 0.0) | {names[0]: 0.3, names[2]: 0.7}],
        "to_gain": 0.0042,
        "next_trial": {"mixture": {names[0]: 1.0}, "rung": "large", "gain": 0.001, "gain_for_top_cost": 0.0011},
        "advice": "go on",
        "target": {
            "predicted": {"mean": 0.91, "sd": 0.05},
            "natural": {"mean": 1.02, "sd": 0.06},
            "beats_natural": 0.93,
            "doubts": ["no trial is within a factor of 100 of the target's tokens"],
        },
    }


def provenance(host: str) -> dict[str, Any]:
    """Return what a driver says of itself when it begins."""
    return {
        "packages": {"mixopt": "0.1.0", "torch": "2.13.0"},
        "python": "3.11.7",
        "platform": "Linux",
        "host": host,
        "git": "0123456789abcdef+",
        "workers": {"kind": "RayWorkers", "slots": 4},
        "config_hash": "quickstart",
        "text": "d",
        "command": ["mixopt", "run"],
    }


def fill(path: Path, *, domains: Mapping[str, int] = SEVEN, name: str = "quickstart", state: str = "finished") -> None:
    """Write a search with experts, both rungs, replicates, failures, a running trial and a proof."""
    names = list(domains)
    with Store(path) as store:
        search = create(store, name=name, domains=domains, target=True)
        store.add_session(search.id, provenance=provenance("first-host"))
        for place in range(len(names)):
            corner = dict.fromkeys(names, 0.0) | {names[place]: 1.0}
            finish(store, search, corner, rung="expert", purpose="expert")
        total = sum(domains.values())
        natural = {domain: tokens / total for domain, tokens in domains.items()}
        for seed in range(3):
            finish(store, search, natural, seed=seed, purpose="design")
        for weights in spread(names, 24):
            finish(store, search, weights, rung="small", purpose="design")
        for weights in spread(names, 8, seed=1):
            finish(store, search, weights)
        for salt, outcome in enumerate(("failed", "diverged")):
            trial = add(store, search, natural, rung="small", salt=salt + 1)
            store.start(trial, worker="local-1")
            store.fail(
                trial, state=outcome, error="loss is not a number after 1024 tokens", spent_flops=1e11, elapsed_s=1.0
            )
        store.start(add(store, search, natural, seed=9), worker="local-1")
        add(store, search, natural, seed=10)
        finish(store, search, natural, seed=11, part="proof", purpose="proof")
        revised = config_of(domains, target=True) | {"budget_flops": 5e14}
        store.revise_search(search.id, config=revised, config_hash=f"{name}-1", note="the file changed")
        store.add_session(search.id, provenance=provenance("second-host"))
        store.add_recommendation(search.id, payload=recommendation(domains))
        store.set_state(search.id, state)
