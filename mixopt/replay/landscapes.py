"""Closed-form landscapes of losses over mixtures, drawn from a seed: shapes that no one law has, with a known optimum.

Every set has affinities t_ji >= 0 to domains, a floor and a scale. Of the shapes,
    power: floor + A (eps + sum_i t_i w_i)^(-alpha), the pooled law;
    additive: floor + A sum_i t_i exp(-rho_i w_i) / sum_i t_i, every domain of its own rate;
    interactions: power, and products b_ik w_i w_k of few pairs, of either sign;
    repetition: power in exposure that saturates with epochs E_i = w_i T / U_i, and harm that grows past HARMLESS of
    them: T tokens are trained on, U_i there are of domain i.
The cheap rung sees affinities distorted, losses higher and wider, and the same epochs.

Shapes: B mixtures, d domains, m sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, minimize

from mixopt.evidence import Observation
from mixopt.fidelity import Fidelity, Ladder
from mixopt.mixture import Domain, Mixture
from mixopt.objective import Objective
from mixopt.optimize.encoding import Array
from mixopt.problem import Problem
from mixopt.space import SearchSpace

SHAPES = ("power", "additive", "interactions", "repetition")
CHEAP_COST = 0.05  # of a trial at the top rung
SETS = 4
NOISE = 0.004  # sd over seeds of every set, bits per byte
DISTORTION = 0.3  # sd of the log affinities that the cheap rung sees
EPSILON = 0.05  # the worth of no related text at all
EPOCHS = 0.5  # of the natural mixture at the top rung
SATURATION, HARMLESS = 6.0, 8.0  # epochs: of exposure's scale, and from which repetition harms
STARTS = 12  # of the search for the optimum; power and additive have one minimum


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Losses of mixtures of `d` domains, drawn from `seed`, which also chooses the shape by turns."""

    d: int
    seed: int

    @property
    def shape(self) -> str:
        """Its kind."""
        return SHAPES[self.seed % len(SHAPES)]

    @cached_property
    def problem(self) -> Problem:
        """What a strategy is told: a third of the domains have caps, and no weight a floor."""
        rng = self._rng("problem")
        tokens = {name: int(1e9 * share) for name, share in zip(self._names, self._natural, strict=True)}
        caps = np.where(rng.uniform(size=self.d) < 1.0 / 3.0, rng.uniform(0.15, 0.4, self.d), 1.0)
        caps[int(rng.integers(self.d))] = 1.0  # so that they leave a mixture
        domains = tuple(
            Domain(name=name, available_tokens=tokens[name], max_weight=float(cap))
            for name, cap in zip(self._names, caps, strict=True)
        )
        return Problem(
            space=SearchSpace(domains=domains),
            ladder=Ladder(
                rungs=(
                    Fidelity(name="small", parameters=10_000_000, tokens=50_000_000, cost_flops=CHEAP_COST),
                    Fidelity(name="large", parameters=100_000_000, tokens=500_000_000, cost_flops=1.0),
                )
            ),
            objective=Objective(dict.fromkeys(self._sets, 1.0 / SETS)),
            sets=self._sets,
            natural=Mixture.proportional(tokens),
            available_tokens=tokens,
            seed=self.seed,
        )

    def exact(self, weights: Array, rung: str) -> Array:
        """Return losses without noise, `B x m`."""
        cheap = rung != "large"
        own = self._law
        affinities = own["affinities"] * (own["distortion"] if cheap else 1.0)
        scales = own["scales"] * (1.3 if cheap else 1.0)
        floors = own["floors"] + (0.8 if cheap else 0.0)
        if self.shape == "additive":
            shares = affinities / affinities.sum(axis=1, keepdims=True)
            additive: Array = floors + scales * (np.exp(-weights * own["rates"]) @ shares.T)
            return additive
        epochs = weights * EPOCHS / self._natural
        exposure = SATURATION * (1.0 - np.exp(-epochs / SATURATION)) * self._natural / EPOCHS
        seen = exposure if self.shape == "repetition" else weights
        losses: Array = floors + 0.3 * scales * (EPSILON + seen @ affinities.T) ** -own["alphas"]
        if self.shape == "repetition":
            harm = np.logaddexp(0.0, np.log1p(epochs) - np.log1p(HARMLESS)) ** 2 - np.log1p(1.0 / (1.0 + HARMLESS)) ** 2
            losses = losses + 0.05 * (harm @ own["harmed"].T)
        if self.shape == "interactions":
            losses = losses + np.einsum("bi,bk,jik->bj", weights, weights, own["products"])
        return losses

    def observe(self, trial: int, mixture: Mixture, rung: str, seed: int) -> Observation:
        """Return the trial as completed: losses with noise, the same for the same mixture, rung and seed."""
        weights = mixture.array(self._names)
        digits = [int(digit) for digit in np.round(weights * 1e9)]
        rng = np.random.default_rng([self.seed, self.d, seed, self.problem.ladder.index(rung), *digits])
        noisy = self.exact(weights[None], rung)[0] + NOISE * rng.standard_normal(SETS)
        cost = self.problem.ladder[rung].cost_flops
        losses = dict(zip(self._sets, noisy.tolist(), strict=True))
        return Observation(trial=trial, mixture=mixture, fidelity=rung, seed=seed, losses=losses, cost_flops=cost)

    def true(self, weights: Array) -> Array:
        """Return the objective at the top rung without noise, `B`."""
        return self.problem.objective.of_array(self.exact(weights, "large"), self._sets)

    @cached_property
    def optimum(self) -> float:
        """The least objective at the top rung over the space: of descents from many starts."""
        space = self.problem.space
        rng = self._rng("optimum")
        drawn = np.array([mixture.array(space.names) for mixture in space.sample(64 * STARTS, rng)])
        starts = drawn[np.argsort(self.true(drawn))[:: 8 if self.shape in SHAPES[2:] else 64][:STARTS]]
        return min(self._descended(start) for start in (*starts, drawn.mean(axis=0)))

    def _descended(self, start: Array) -> float:
        space, step = self.problem.space, 1e-6

        def value(row: Array) -> tuple[float, Array]:
            moves = step * np.eye(self.d)
            rises = self.true(row + moves) - self.true(np.maximum(row - moves, 0.0))
            return float(self.true(row[None])[0]), rises / (step + np.minimum(row, step))

        found = minimize(
            value,
            start,
            jac=True,
            method="SLSQP",
            bounds=Bounds(space.lower, space.upper),
            constraints=[LinearConstraint(np.ones((1, self.d)), 1.0, 1.0)],
            tol=1e-10,
        )
        end = space.project(np.clip(found.x, 0.0, 1.0)).array(space.names)
        return float(min(self.true(np.array([start, end]))))

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(f"d{i}" for i in range(self.d))

    @property
    def _sets(self) -> tuple[str, ...]:
        return tuple(f"s{j}" for j in range(SETS))

    @cached_property
    def _natural(self) -> Array:
        """Shares of the tokens that there are, `d`: from a few large domains to many small ones."""
        shares = np.exp(self._rng("natural").normal(0.0, 1.2, self.d))
        natural: Array = shares / shares.sum()
        return natural

    @cached_property
    def _law(self) -> Mapping[str, Array]:
        rng, shape = self._rng("law"), (SETS, self.d)
        affinities = np.exp(rng.normal(-2.5, 1.0, shape))
        for j in range(SETS):
            near = rng.choice(self.d, size=min(2, self.d), replace=False)
            affinities[j, near] += (1.0, 0.4)[: len(near)]
        pairs = rng.uniform(size=(SETS, self.d, self.d)) < 2.0 / self.d
        products = np.triu(np.where(pairs, rng.normal(0.0, 0.3, (SETS, self.d, self.d)), 0.0), k=1)
        return {
            "affinities": affinities,
            "distortion": np.exp(DISTORTION * rng.standard_normal(shape)),
            "alphas": rng.uniform(0.25, 0.6, SETS),
            "scales": rng.uniform(0.8, 1.6, SETS),
            "floors": rng.uniform(0.8, 1.4, SETS),
            "rates": rng.uniform(3.0, 15.0, self.d),
            "harmed": rng.uniform(0.3, 1.0, shape),
            "products": products,
        }

    def _rng(self, part: str) -> np.random.Generator:
        return np.random.default_rng([self.d, self.seed, *part.encode()])
