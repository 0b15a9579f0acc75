"""One contract for every strategy, and regret on the closed-form law for the one that models."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mixopt.evidence import Evidence, Failure, History, Pending, Purse, Strategy
from mixopt.fidelity import Fidelity
from mixopt.optimize.design import natural_opening, opening, spread
from mixopt.optimize.recommend import recommend
from mixopt.optimize.strategies import STRATEGIES

Bench = Callable[..., Any]
CONSTRAINED: dict[str, Any] = {"constraints": ["d1 + d2 >= 0.3", "d0 <= 0.4"], "pinned": {"d3": 0.05}}
SINGLE = (Fidelity(name="large", parameters=400_000, tokens=2_000_000, cost_flops=9.0),)
THREE = (
    Fidelity(name="small", parameters=100_000, tokens=500_000, cost_flops=1.0),
    Fidelity(name="middle", parameters=200_000, tokens=1_000_000, cost_flops=3.0),
    Fidelity(name="large", parameters=400_000, tokens=2_000_000, cost_flops=9.0),
)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(
    "wishes", [{}, CONSTRAINED, {"d": 3, "rungs": SINGLE}], ids=["free", "constrained", "one rung"]
)
def test_every_strategy_proposes_inside_the_space_and_the_same_again(
    bench: Bench, name: str, wishes: dict[str, Any]
) -> None:
    world = bench(**wishes)
    strategy: Strategy = STRATEGIES[name](world.problem)
    top = world.problem.ladder.top.name
    rows = [world.observe(i, m, top) for i, m in enumerate(world.problem.space.sample(9, np.random.default_rng(0)))]
    opened = [world.observe(20 + i, p.mixture, p.fidelity, p.seed) for i, p in enumerate(opening(world.problem))]
    for evidence in (Evidence(), Evidence(history=History(observations=(*rows, *opened)))):
        proposals = strategy.propose(evidence, n=4, seed=5)
        assert len(proposals) == 4
        assert all(p.mixture in world.problem.space and p.fidelity in world.problem.ladder for p in proposals)
        assert proposals == strategy.propose(evidence, n=4, seed=5)
        assert len({(p.mixture, p.fidelity, p.seed) for p in proposals}) == 4


@pytest.mark.parametrize("name", ["natural", "uniform", "unimax"])
def test_a_fixed_strategy_trains_its_mixture_with_seed_after_seed(bench: Bench, name: str) -> None:
    world = bench(d=3)
    strategy = STRATEGIES[name](world.problem)
    opening = natural_opening(world.problem)
    first = strategy.propose(Evidence(), n=len(opening) + 2, seed=0)
    running = tuple(Pending(trial=i, mixture=p.mixture, fidelity=p.fidelity, seed=p.seed) for i, p in enumerate(first))
    second = strategy.propose(Evidence(history=History(pending=running)), n=2, seed=1)
    assert first[: len(opening)] == opening
    own = [*first[len(opening) :], *second]
    assert [p.seed for p in own] == ([1, 2, 3, 4] if name == "natural" else [0, 1, 2, 3])
    assert len({p.mixture for p in own}) == 1


def test_the_opening_has_natural_at_every_seed_and_faces_and_edges(bench: Bench) -> None:
    world = bench()
    trials = opening(world.problem)
    natural = [p for p in trials if p.mixture == world.problem.natural]
    assert [(p.fidelity, p.seed) for p in natural] == [
        ("small", 0),
        ("large", 0),
        ("small", 1),
        ("small", 2),
        ("small", 3),
    ]
    present = [sum(weight > 0.0 for weight in m.values()) for m in spread(world.problem, 12)]
    assert len(present) == 12
    assert 2 in present
    assert 7 in present
    assert any(2 < count < 7 for count in present)


def test_the_spread_is_wider_than_random_mixtures(bench: Bench) -> None:
    world = bench()

    def nearest(mixtures: list[Any]) -> float:
        return min(a.distance(b) for i, a in enumerate(mixtures) for b in mixtures[:i])

    drawn = [world.problem.space.sample(12, np.random.default_rng(s)) for s in range(20)]
    assert nearest(spread(world.problem, 12)) > np.median([nearest(mixtures) for mixtures in drawn])


def test_the_opening_is_proposed_once_whatever_has_become_of_it(bench: Bench) -> None:
    world = bench(d=3)
    strategy, wanted = STRATEGIES["bayesian"](world.problem), opening(world.problem)
    keys = [(p.mixture, p.fidelity, p.seed) for p in wanted]
    assert [(p.mixture, p.fidelity, p.seed) for p in strategy.propose(Evidence(), n=len(wanted), seed=3)] == keys
    history = History(
        observations=tuple(world.observe(i, p.mixture, p.fidelity, p.seed) for i, p in enumerate(wanted[:4])),
        pending=tuple(Pending(trial=50 + i, mixture=m, fidelity=f, seed=s) for i, (m, f, s) in enumerate(keys[4:8])),
        failures=(Failure(trial=90, mixture=wanted[8].mixture, fidelity=wanted[8].fidelity, kind="failed"),),
    )
    rest = strategy.propose(Evidence(history=history), n=3, seed=4)
    assert [(p.mixture, p.fidelity, p.seed) for p in rest] == keys[9:12]


def test_the_incumbent_reaches_the_top_rung_soon(bench: Bench) -> None:
    world = bench()
    start = world.experts()
    cost = sum(world.problem.ladder[p.fidelity].cost_flops for p in opening(world.problem))
    after = world.run(STRATEGIES["bayesian"](world.problem), start, budget=cost + 18.0)
    assert len({o.mixture for o in after.history.at("large")}) >= 2


@pytest.mark.parametrize(("d", "noise", "seeds"), [(3, 0.01, 4), (7, 0.01, 2)])
def test_bayesian_beats_random_and_natural_at_equal_cost(bench: Bench, d: int, noise: float, seeds: int) -> None:
    regrets = []
    for seed in range(seeds):
        world = bench(d=d, seed=seed, noise=noise)
        found = recommend(world.run(STRATEGIES["bayesian"](world.problem), world.experts(), budget=62.0), world.problem)
        drawn = world.run(STRATEGIES["random"](world.problem), Evidence(), budget=62.0 + d)
        best = min(drawn.history.observations, key=lambda o: world.problem.objective.value(o.losses)).mixture
        regrets.append([world.regret(mixture) for mixture in (found.mixture, best, world.problem.natural)])
    bayesian, random, natural = np.mean(regrets, axis=0)
    assert bayesian < random
    assert bayesian < 0.3 * natural


def test_in_seven_domains_it_beats_random_trials_with_the_same_model(bench: Bench) -> None:
    regrets = []
    for seed in range(1, 4):
        world = bench(seed=seed)
        chosen = world.run(STRATEGIES["bayesian"](world.problem), world.experts(), budget=62.0)
        drawn = world.run(STRATEGIES["random"](world.problem), Evidence(), budget=69.0)
        regrets.append([world.regret(recommend(evidence, world.problem).mixture) for evidence in (chosen, drawn)])
    assert np.mean(regrets, axis=0)[0] < 0.5 * np.mean(regrets, axis=0)[1]


def test_a_region_that_diverges_is_left_alone(bench: Bench) -> None:
    world = bench(d=3, seed=1, limits={"d1": 0.35})
    after = world.run(STRATEGIES["bayesian"](world.problem), world.experts(), budget=90.0)
    opened = {(p.mixture, p.fidelity) for p in opening(world.problem)}
    later = [f for f in after.history.failures if (f.mixture, f.fidelity) not in opened]
    assert len(later) <= 4
    assert not world.law.diverges(recommend(after, world.problem).mixture)


def test_three_rungs_find_the_optimum_too(bench: Bench) -> None:
    world = bench(d=3, rungs=THREE)
    after = world.run(STRATEGIES["bayesian"](world.problem), world.experts(), budget=70.0)
    assert world.regret(recommend(after, world.problem).mixture) < 0.3 * world.regret(world.problem.natural)


def test_predictions_are_made_before_and_hold_after(bench: Bench) -> None:
    world = bench()
    evidence = world.evidence(cheap=16, top=5)
    opened = [world.observe(500 + i, p.mixture, p.fidelity, p.seed) for i, p in enumerate(opening(world.problem))]
    evidence = Evidence(
        history=History(observations=(*evidence.history.observations, *opened)), experts=evidence.experts
    )
    for proposal in STRATEGIES["bayesian"](world.problem).propose(evidence, n=4, seed=0):
        seen = world.observe(0, proposal.mixture, proposal.fidelity, proposal.seed)
        guess = proposal.predicted["objective"]
        assert set(proposal.predicted) == {"objective", *world.law.sets}
        assert abs(world.problem.objective.value(seen.losses) - guess.mean) < 4.0 * guess.sd


def test_a_purse_is_split_cheap_trials_first_and_the_top_last(bench: Bench) -> None:
    found = bench(d=4, bias=0.0)
    tried = [found.observe(k, p.mixture, p.fidelity, p.seed) for k, p in enumerate(opening(found.problem))]
    history = History(observations=tuple(tried))
    rich, poor = (
        STRATEGIES["bayesian"](found.problem).propose(
            Evidence(history=history, purse=Purse(total_flops=60.0, left_flops=left)), n=2, seed=0
        )
        for left in (45.0, 9.5)
    )
    assert [p.fidelity for p in rich] == ["small", "small"]
    assert poor[-1].fidelity == "large"
