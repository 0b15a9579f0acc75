"""The oracle world of seven Markov chains, where the loss of every mixture is known in closed form."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, minimize
from scipy.stats import spearmanr

from proxies.errors import ProxyError
from proxies.experts import Ensemble, GoldTokens
from proxies.polytope_newton import Polytope

Array = NDArray[np.float64]
DOMAINS = tuple(f"chain{i}" for i in range(7))
MEAN = dict.fromkeys(DOMAINS, 1.0 / 7.0)


@dataclass(frozen=True)
class World:
    """Transition matrices P [7, 32, 32], stationary distributions pi [7, 32], and the ensemble of exact experts."""

    transitions: Array
    stationary: Array
    ensemble: Ensemble

    def true_losses(self, weights: Array) -> Array:
        """Return the losses [7] in nats of the exact mixture predictor, which weighs experts by the prefix."""
        posterior = weights[:, None] * self.stationary
        mixed = np.einsum("ix,ixy->xy", posterior / posterior.sum(0), self.transitions)
        return -np.einsum("jx,jxy,xy->j", self.stationary, self.transitions, np.log(mixed))


def _stationary(transitions: Array) -> Array:
    values, vectors = np.linalg.eig(transitions.T)
    vector = np.real(vectors[:, np.argmin(np.abs(values - 1.0))])
    return vector / vector.sum()


def _ensemble(transitions: Array, stationary: Array) -> Ensemble:
    """Every pair of tokens is a scored token, which counts as often as it occurs."""
    shares = (stationary[:, :, None] * transitions).reshape(7, -1)
    gold = {n: GoldTokens(probabilities=transitions.reshape(7, -1), nats=shares[j]) for j, n in enumerate(DOMAINS)}
    return Ensemble(domains=DOMAINS, gold=gold)


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(32, 32))
    logits = [base + 1.5 * rng.normal(size=(32, 32)) + rng.normal(size=(1, 32)) for _ in DOMAINS]
    transitions = np.stack([np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in logits])
    stationary = np.stack([_stationary(p) for p in transitions])
    return World(transitions, stationary, _ensemble(transitions, stationary))


@pytest.fixture(scope="module")
def draws(world: World) -> tuple[Array, Array, Array]:
    weights = np.random.default_rng(1).dirichlet(np.ones(7), 200)
    return weights, np.stack([world.true_losses(w) for w in weights]), world.ensemble.losses(weights)


def test_a_single_expert_has_its_own_loss_exactly(world: World) -> None:
    assert np.abs(world.ensemble.losses(np.eye(7)[2:3])[0] - world.true_losses(np.eye(7)[2])).max() < 1e-14


def test_the_ensemble_is_exact_where_prefixes_coincide(world: World) -> None:
    same = World(
        world.transitions,
        np.tile(world.stationary[0], (7, 1)),
        _ensemble(world.transitions, np.tile(world.stationary[0], (7, 1))),
    )
    weights = np.random.default_rng(1).dirichlet(np.ones(7), 20)
    assert np.abs(same.ensemble.losses(weights) - np.stack([same.true_losses(w) for w in weights])).max() < 5e-14


def test_the_uniform_mixture_has_the_published_losses(world: World) -> None:
    uniform = np.full((1, 7), 1 / 7)
    assert world.true_losses(uniform[0]).mean() == pytest.approx(2.872254, abs=1e-6)
    assert world.ensemble.losses(uniform).mean() == pytest.approx(2.986769, abs=1e-6)
    assert (uniform @ world.ensemble.losses(np.eye(7))).mean() == pytest.approx(4.265988, abs=1e-6)


def test_probabilities_are_averaged_not_logarithms(world: World, draws: tuple[Array, Array, Array]) -> None:
    weights, true, losses = draws
    logarithms = weights @ world.ensemble.losses(np.eye(7))
    assert (losses <= logarithms + 1e-12).all()
    assert ((weights * true).sum(1) <= (weights * losses).sum(1) + 1e-12).all()
    assert spearmanr(true.mean(1), logarithms.mean(1))[0] == pytest.approx(-0.036, abs=1e-3)


def test_the_ensemble_ranks_well_and_is_biased(draws: tuple[Array, Array, Array]) -> None:
    _, true, losses = draws
    assert spearmanr(true.mean(1), losses.mean(1))[0] == pytest.approx(0.9812, abs=1e-4)
    assert np.mean((true.mean(1) - losses.mean(1)) ** 2) == pytest.approx(1.31e-2, abs=5e-5)
    assert np.mean([spearmanr(true[:, j], losses[:, j])[0] for j in range(7)]) == pytest.approx(0.9918, abs=1e-4)


def _ridge(features: Array, targets: Array, test: Array) -> Array:
    center, shift = features.mean(0), targets.mean(0)
    gram = (features - center).T @ (features - center) + 1e-3 * np.eye(features.shape[1])
    return shift + (test - center) @ np.linalg.solve(gram, (features - center).T @ (targets - shift))


@pytest.mark.parametrize(
    ("with_ensemble", "mse", "per_set", "objective"), [(False, 2.85e-2, 0.9329, 0.069), (True, 1.01e-3, 0.9967, 0.9648)]
)
def test_ridge_gains_most_from_the_ensemble(
    draws: tuple[Array, Array, Array], with_ensemble: bool, mse: float, per_set: float, objective: float
) -> None:
    weights, true, losses = draws
    features = np.hstack([weights, losses]) if with_ensemble else weights
    predicted, test = _ridge(features[:25], true[:25], features[25:]), true[25:]
    assert np.mean((predicted - test) ** 2) == pytest.approx(mse, rel=5e-3)
    assert np.mean([spearmanr(predicted[:, j], test[:, j])[0] for j in range(7)]) == pytest.approx(per_set, abs=1e-4)
    assert spearmanr(predicted.mean(1), test.mean(1))[0] == pytest.approx(objective, abs=1e-3)


def test_the_optimum_for_all_sets_is_the_published_one(world: World) -> None:
    weights, gap = world.ensemble.optimum(MEAN)
    assert weights == pytest.approx([0.1451, 0.1459, 0.1410, 0.1475, 0.1341, 0.1376, 0.1489], abs=6e-5)
    assert world.ensemble.losses(weights[None]).mean() == pytest.approx(2.986555, abs=1e-6)
    assert world.true_losses(weights).mean() == pytest.approx(2.872453, abs=2e-6)
    assert gap <= 1e-8


def test_the_optimum_for_one_set_is_its_expert(world: World) -> None:
    weights, gap = world.ensemble.optimum({"chain0": 1.0})
    assert weights == pytest.approx(np.eye(7)[0], abs=1e-6)
    assert world.ensemble.losses(weights[None])[0, 0] == pytest.approx(2.200360, abs=1e-6)
    assert gap <= 1e-8


def test_the_optimum_for_two_sets_has_exact_zeros(world: World) -> None:
    weights, gap = world.ensemble.optimum({"chain0": 0.5, "chain1": 0.5})
    assert weights == pytest.approx([0.5060, 0.4935, 0, 0, 0, 0.0005, 0], abs=6e-5)
    assert list(weights[[2, 3, 4, 6]]) == [0.0] * 4
    assert gap <= 1e-8


def limits(**changes: Array) -> Polytope:
    """d0 at least 0.2, d1 + d2 at most 0.25, d3 pinned, d4 capped, d5 absent: the start on several limits at once."""
    A = np.zeros((2, 7))
    A[0, 0], A[1, 1:3] = -1.0, 1.0
    lower, upper = np.zeros(7), np.ones(7)
    lower[3] = upper[3] = 0.1
    upper[4], upper[5] = 0.05, 0.0
    inside = np.array([0.3, 0.1, 0.15, 0.1, 0.05, 0.0, 0.3])
    plain = {"A": A, "b": np.array([-0.2, 0.25]), "lower": lower, "upper": upper, "inside": inside, **changes}
    return Polytope(**plain)


@pytest.mark.parametrize("sets", [MEAN, {"chain5": 1.0}, {"chain1": 1.0}, {"chain3": 0.5, "chain2": 0.5}])
def test_within_limits_the_optimum_is_that_of_scipy_corners_included(world: World, sets: dict[str, float]) -> None:
    within = limits()
    weights, gap = world.ensemble.optimum(sets, within)

    def value(w: Array) -> tuple[float, Array]:
        values, slopes = world.ensemble.values_and_gradients(np.maximum(w, 1e-12)[None], sets)
        return float(values[0]), slopes[0]

    found = minimize(
        value,
        within.inside,
        jac=True,
        method="SLSQP",
        bounds=Bounds(within.lower, within.upper),
        constraints=[LinearConstraint(np.ones(7), 1.0, 1.0), LinearConstraint(within.A, -np.inf, within.b)],
        options={"maxiter": 500, "ftol": 1e-15},
    )
    assert gap <= 1e-9
    assert value(weights)[0] <= found.fun + 1e-9
    assert Polytope(**{**vars(within), "inside": weights})  # refuses what is outside
    assert weights[3] == 0.1
    assert weights[5] == 0.0


def test_the_bound_by_duality_is_the_linear_programme_where_constraints_bind(world: World) -> None:
    within = limits()
    slope = world.ensemble.gradients(within.inside[None], MEAN)[0]
    programme = linprog(
        slope,
        A_ub=within.A,
        b_ub=within.b,
        A_eq=np.ones((1, 7)),
        b_eq=[1.0],
        bounds=np.stack([within.lower, within.upper], axis=1),
    )
    multipliers = -programme.ineqlin.marginals
    assert within.least(slope, multipliers) == pytest.approx(programme.fun, abs=1e-12)
    assert within.least(slope, np.array([0.3, 0.7])) <= programme.fun


def test_a_start_outside_the_limits_is_refused() -> None:
    with pytest.raises(ProxyError, match=r"breaks a limit by 0\.1"):
        limits(b=np.array([-0.2, 0.15]))


def test_a_sample_of_the_tokens_starts_the_search_and_changes_nothing(world: World) -> None:
    rng = np.random.default_rng(5)
    probabilities = np.exp(-rng.exponential(1.5, (5, 120_000))).astype(np.float32)
    gold = {"all": GoldTokens(probabilities=probabilities, nats=np.full(120_000, 1 / 120_000))}
    ensemble = Ensemble(domains=tuple("abcde"), gold=gold)
    weights, gap = ensemble.optimum({"all": 1.0})
    slopes = -(probabilities / (weights @ probabilities)).mean(1, dtype=np.float64)
    assert gap <= 1e-9
    assert slopes @ weights - slopes.min() <= 2e-9


def test_float32_in_blocks_is_within_the_bound_of_float64() -> None:
    rng = np.random.default_rng(6)
    exact = np.exp(-rng.exponential(3.0, (17, 50_000)))
    nats = rng.uniform(0.5, 2.0, 50_000) / 50_000
    weights = np.vstack([rng.dirichlet(np.full(17, 0.3), 300), np.eye(17)])
    reference = Ensemble(domains=tuple("abcdefghijklmnopq"), gold={"s": GoldTokens(probabilities=exact, nats=nats)})
    single = GoldTokens(probabilities=exact.astype(np.float32), nats=nats)
    rounded = Ensemble(domains=reference.domains, gold={"s": single})
    values, slopes = rounded.values_and_gradients(weights, {"s": 1.0})
    wanted, wanted_slopes = reference.values_and_gradients(weights, {"s": 1.0})
    assert np.abs(values / wanted - 1).max() < 1e-6
    assert np.abs(slopes / wanted_slopes - 1).max() < 1e-5
    assert rounded.losses(weights)[:, 0] == pytest.approx(values, rel=1e-12)


def test_the_gap_bounds_the_regret_of_thousands_of_draws(world: World) -> None:
    weights, _ = world.ensemble.optimum(MEAN)
    best = world.ensemble.losses(np.random.default_rng(2).dirichlet(np.full(7, 20.0), 4_000)).mean(1).min()
    assert world.ensemble.losses(weights[None]).mean() <= best


@pytest.mark.parametrize("power", [1.0, 0.65])
def test_gradients_are_the_slopes_of_the_losses(world: World, power: float) -> None:
    ensemble, point, step = world.ensemble.with_power(power), np.full((1, 7), 1 / 7), 1e-5
    above, below = (ensemble.losses(point + sign * step * np.eye(7)).mean(1) for sign in (1.0, -1.0))
    slopes = (above - below) / (2 * step)
    assert ensemble.gradients(point, MEAN)[0] == pytest.approx(slopes, rel=1e-6)


def test_a_power_mean_keeps_the_experts_own_losses(world: World) -> None:
    assert world.ensemble.with_power(0.65).losses(np.eye(7)) == pytest.approx(
        world.ensemble.losses(np.eye(7)), rel=1e-12
    )


def test_float32_blocks_agree_with_float64(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    logs = -rng.exponential(2.0, (3, 10_000))
    for i, name in enumerate("abc"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "held-out.npy", logs[i].astype(np.float32))
    ensemble = Ensemble.load({name: tmp_path / name for name in "abc"}, {"held-out": 10_000})
    weights = rng.dirichlet(np.ones(3), 5)
    assert ensemble.losses(weights)[:, 0] == pytest.approx(-np.log2(weights @ np.exp(logs)).mean(1), abs=1e-6)
    assert ensemble.optimum({"held-out": 1.0})[1] <= 1e-8


def test_a_missing_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProxyError, match=r"no .*web\.npy"):
        Ensemble.load({"a": tmp_path}, {"web": 10})
