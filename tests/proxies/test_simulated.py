"""The closed-form law: its optimum, its noise, its clock."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from proxies.simulated import SimulatedLaw

SMALL, LARGE = {"parameters": 100_000, "tokens": 200_000}, {"parameters": 400_000, "tokens": 2_000_000}


def law(d: int = 7, **changes: object) -> SimulatedLaw:
    names = tuple(f"d{i}" for i in range(d))
    return SimulatedLaw(domains=names, sets=(*names, "target"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("d", [2, 3, 7, 17])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_mixture_is_better_than_the_optimum(d: int, seed: int) -> None:
    world = law(d, seed=seed)
    objective = {"target": 0.5, "d0": 0.25, "d1": 0.25}
    weights, value = world.optimum(objective, **LARGE)
    shares = np.array([objective.get(name, 0.0) for name in world.sets])
    near = np.random.default_rng(0).dirichlet(200.0 * weights + 1e-3, 2_000)
    draws = np.vstack([np.random.default_rng(1).dirichlet(np.ones(d), 2_000), near, np.eye(d)])
    assert (world.exact(draws, **LARGE) @ shares).min() >= value - 1e-9
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert weights.min() >= 0.0


def test_cheap_losses_agree_with_expensive_ones_but_not_wholly() -> None:
    draws = np.random.default_rng(0).dirichlet(np.ones(7), 300)
    agreement = spearmanr(law().exact(draws, **SMALL).mean(1), law().exact(draws, **LARGE).mean(1))[0]
    assert 0.5 < agreement < 0.99


def test_the_noise_is_as_large_as_said_and_half_of_it_is_paired() -> None:
    world, a, b = law(noise=0.02), {"d0": 1.0}, {"d1": 1.0}
    runs = [[list(world.losses(w, seed=s, **LARGE).values()) for s in range(200)] for w in (a, b)]
    noise = np.array(runs) - np.mean(runs, axis=1, keepdims=True)
    assert noise.std() == pytest.approx(0.02, rel=0.1)
    assert np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1] == pytest.approx(0.5, abs=0.1)


def test_the_same_training_has_the_same_losses() -> None:
    first, again = (law().losses({"d0": 0.5, "d1": 0.5}, seed=3, **LARGE) for _ in range(2))
    assert first == again
    assert first != law().losses({"d0": 0.5, "d1": 0.5}, seed=3, part="proof", **LARGE)


def test_the_ensemble_is_exact_for_experts_and_ranks_mixtures() -> None:
    world = law()
    ensemble = world.ensemble(**SMALL)
    assert ensemble.losses(np.eye(7)) == pytest.approx(world.exact(np.eye(7), **SMALL), abs=1e-5)
    draws = np.random.default_rng(0).dirichlet(np.ones(7), 200)
    ranks = [spearmanr(ensemble.losses(draws)[:, j], world.exact(draws, **SMALL)[:, j])[0] for j in range(8)]
    assert np.mean(ranks) > 0.85


def test_trainings_diverge_above_the_limits_only() -> None:
    world = law(limits={"d2": 0.6})
    assert world.diverges({"d2": 0.7, "d0": 0.3})
    assert not world.diverges({"d2": 0.6, "d0": 0.4})


def test_the_virtual_clock_follows_the_flops() -> None:
    recipe = [(1.0, {"d0": 1.0})]
    times = [law(device_flops=1e9).duration_s(flops=1e10, recipe=recipe, seed=s) for s in range(100)]
    assert np.mean(times) == pytest.approx(10.0, rel=0.05)
    assert len(set(times)) == 100


@pytest.mark.parametrize("target", [None, 8_000_000])
def test_repetition_moves_the_optimum_inside_and_the_optimum_knows(target: int | None) -> None:
    pools = {f"d{i}": 200_000 for i in range(5)}
    world, plain = law(5, harm=0.05, pools=pools, target_tokens=target), law(5)
    weights, value = world.optimum({"d1": 1.0}, **LARGE)
    assert plain.optimum({"d1": 1.0}, **LARGE)[0].max() > weights.max() + 0.1
    near = np.random.default_rng(0).dirichlet(300.0 * weights + 1e-3, 2_000)
    draws = np.vstack([np.random.default_rng(1).dirichlet(np.ones(5), 2_000), near, np.eye(5)])
    assert world.exact(draws, **LARGE)[:, 1].min() >= value - 1e-9


def test_cut_pools_repeat_alike_at_every_size_and_whole_ones_do_not() -> None:
    pools, corner = {f"d{i}": 100_000 for i in range(3)}, np.eye(3)[:1]
    cut, whole = (law(3, harm=0.1, pools=pools, target_tokens=target) for target in (2_000_000, None))
    assert cut.repetition(corner, 200_000)[0] == cut.repetition(corner, 2_000_000)[0] == pytest.approx([0.1 * 4.0**2])
    assert whole.repetition(corner, 200_000)[0] == pytest.approx([0.0])
