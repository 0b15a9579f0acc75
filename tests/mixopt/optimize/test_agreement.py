"""Rungs that mislead are found out and no longer paid for; those that are fine stay."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mixopt.evidence import Evidence, History, Observation, Purse
from mixopt.optimize.agreement import listen
from mixopt.optimize.design import opening
from mixopt.optimize.strategies import STRATEGIES

Bench = Callable[..., Any]
Change = Callable[[float, np.random.Generator], float]


def turned(loss: float, rng: np.random.Generator) -> float:
    """A rung whose best mixtures are the worst."""
    return 4.0 - loss


def noise(loss: float, rng: np.random.Generator) -> float:
    """A rung that sees nothing but noise."""
    return 2.0 + 0.1 * float(rng.standard_normal())


def fine(loss: float, rng: np.random.Generator) -> float:
    return loss


@pytest.mark.parametrize(("change", "misleads"), [(turned, True), (noise, True), (fine, False)])
def test_wide_trials_at_both_rungs_tell_which_rung_misleads(bench: Bench, change: Change, misleads: bool) -> None:
    world = bench(d=3, noise=0.005)
    rng = np.random.default_rng(1)
    rows = []
    for i, mixture in enumerate(world.problem.space.sample(40, rng)):
        cheap = world.observe(2 * i, mixture, "small")
        rows += [
            cheap._replace(losses={name: change(loss, rng) for name, loss in cheap.losses.items()}),
            world.observe(2 * i + 1, mixture, "large"),
        ]
    heard = listen(Evidence(history=History(observations=tuple(rows))), world.problem)
    assert heard is not None
    assert (heard.misleading == ("small",)) == misleads


@pytest.mark.parametrize(("count", "least", "most"), [(3, -1.0, -1.0), (5, -0.3, 0.999), (20, 0.5, 0.999)])
def test_few_mixtures_in_the_same_order_at_both_rungs_prove_little(
    bench: Bench, count: int, least: float, most: float
) -> None:
    world = bench(d=3, noise=0.0)
    mixtures = world.problem.space.sample(count, np.random.default_rng(2))
    rows = [
        world.observe(count * place + i, mixture, rung)
        for place, rung in enumerate(("small", "large"))
        for i, mixture in enumerate(mixtures)
    ]
    heard = listen(Evidence(history=History(observations=tuple(rows))), world.problem)
    assert heard is not None
    found = heard.agreement[0]
    assert least <= found.low <= min(found.spearman, most)
    assert found.spearman <= found.high <= 1.0


BATCH = 3  # proposals at a time, as many as two workers ask for


def searched(world: Any, change: Change, *, budget: float) -> Evidence:  # noqa: ANN401  # a bench
    """Return what the product's strategy has bought where `change` comes over every loss of the cheap rung."""
    seen: list[Observation] = []
    left = budget
    strategy = STRATEGIES["bayesian"](world.problem)
    while True:
        purse = Purse(total_flops=budget, left_flops=left)
        evidence = Evidence(history=History(observations=tuple(seen)), purse=purse)
        for proposal in strategy.propose(evidence, n=BATCH, seed=len(seen)):
            left -= world.problem.ladder[proposal.fidelity].cost_flops
            if left < 0.0:
                return evidence
            one = world.observe(len(seen), proposal.mixture, proposal.fidelity, proposal.seed)
            if one.fidelity == "small":
                rng = np.random.default_rng(len(seen))
                one = one._replace(losses={name: change(loss, rng) for name, loss in one.losses.items()})
            seen.append(one)


def test_a_rung_turned_round_is_found_out_by_the_search_and_no_longer_paid_for(bench: Bench) -> None:
    world = bench(d=3, noise=0.005)
    evidence = searched(world, turned, budget=120.0)
    heard = listen(evidence, world.problem)
    assert heard is not None
    assert heard.misleading == ("small",)
    assert [rung.name for rung in heard.model.rungs] == ["large"]
    assert {o.fidelity for o in evidence.history.observations[-BATCH:]} == {"large"}


def test_a_rung_that_is_fine_goes_on_being_paid_for(bench: Bench) -> None:
    world = bench(d=3, noise=0.005)
    evidence = searched(world, fine, budget=70.0)
    bought = [o.fidelity for o in evidence.history.observations]
    assert bought.count("small") > sum(p.fidelity == "small" for p in opening(world.problem))
    heard = listen(evidence, world.problem)
    assert heard is not None
    assert heard.misleading == ()
