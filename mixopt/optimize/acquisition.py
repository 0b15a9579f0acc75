"""What a trial is worth: the joint posterior of mixtures and rungs, and gains per unit cost.

Shapes: B mixtures, R rungs of the ladder, cheap to expensive; a joint vector lists the mixtures rung by rung, `R B`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_ndtr, ndtr

from mixopt.optimize.encoding import Array, Indices, Inputs
from mixopt.optimize.extrapolation import Outlook, Place, outlook
from mixopt.optimize.surrogate import Surrogate
from mixopt.problem import Problem

LEAST_VARIANCE = 1e-18  # keeps what is known exactly from dividing by nothing
NODES = 16  # of the Gauss-Hermite rule over what a trial may show
MINIMA = 64  # samples of the least value at the top rung


@dataclass(frozen=True, kw_only=True)
class Belief:
    """The objective of B mixtures at R rungs: `mean` `R x B`, `covariance` `R B x R B`; noise variances `R`.

    alike: the variance at the last rung that every mixture has, whatever was measured of it: of the way there.
    """

    mean: Array
    covariance: Array
    noise: Array
    alike: float = 0.0

    @classmethod
    def of(cls, surrogate: Surrogate, problem: Problem, inputs: Inputs) -> "Belief":
        """Return the posterior at the rungs; one never observed is extrapolated from those below."""
        return cls._at(surrogate, problem, inputs, [])

    @classmethod
    def at_target(cls, surrogate: Surrogate, problem: Problem, inputs: Inputs) -> "Belief":
        """Return the posterior at the rungs and, as the last place, at `problem.ladder.target`: R + 1 of them.

        `top_mean`, `top_covariance` and `influence` then speak of the target, `sd(R)` is its sd and `sd(R - 1)` that of
        the top rung. Without a target, or where it has the size of the top rung, the last place repeats the top rung.
        """
        return cls._at(surrogate, problem, inputs, [Place.of_target(surrogate, problem)])

    @classmethod
    def to_compare(cls, surrogate: Surrogate, problem: Problem, inputs: Inputs) -> "Belief":
        """Return the same with the place where mixtures are compared for the target as the last (`Place.to_compare`).

        Without a target, the rungs alone.
        """
        aimed = problem.ladder.target is not None
        return cls._at(surrogate, problem, inputs, [Place.to_compare(surrogate, problem)] if aimed else [])

    @classmethod
    def _at(cls, surrogate: Surrogate, problem: Problem, inputs: Inputs, beyond: Sequence[Place]) -> "Belief":
        mean, joint = surrogate.posterior(inputs)
        names, count = [rung.name for rung in surrogate.rungs], len(inputs)
        unknown = [f for f in problem.ladder if f.name not in names]
        ahead = [*(Place.of_rung(surrogate, problem, f.name) for f in unknown), *beyond]
        ways = outlook(surrogate, problem, inputs, mean[-1], ahead)
        covariance = _lifted(joint, ways)
        order = [names.index(f.name) if f.name in names else len(names) + unknown.index(f) for f in problem.ladder]
        order += [len(names) + len(unknown) + k for k in range(len(beyond))]
        rows = (np.array(order)[:, None] * count + np.arange(count)).ravel()
        noise = [rung.noise_sd**2 for rung in surrogate.rungs] + [surrogate.rungs[-1].noise_sd ** 2] * len(ahead)
        return cls(
            mean=np.vstack([mean, ways.mean])[order],
            covariance=covariance[np.ix_(rows, rows)],
            noise=np.array(noise)[order],
            alike=float(ways.alike[-1]) if ahead and order[-1] >= len(names) else 0.0,
        )

    @property
    def top_mean(self) -> Array:
        """Means at the top rung, `B`."""
        mean: Array = self.mean[-1]
        return mean

    @property
    def top_covariance(self) -> Array:
        """Covariance at the top rung, `B x B`."""
        count = self.mean.shape[1]
        return self.covariance[-count:, -count:]

    def sd(self, rung: int) -> Array:
        """Return standard deviations at a rung, `B`."""
        count = self.mean.shape[1]
        deviations: Array = np.sqrt(np.maximum(self.covariance.diagonal()[rung * count : (rung + 1) * count], 0.0))
        return deviations

    @property
    def own_sd(self) -> Array:
        """Standard deviations at the top rung without what all mixtures have alike: what tells them apart, `B`."""
        count = self.mean.shape[1]
        own: Array = np.sqrt(np.maximum(self.covariance.diagonal()[-count:] - self.alike, 0.0))
        return own

    def expecting(self, mixture: int, rung: int) -> "Belief":
        """Return the belief once a pending trial shows what is expected of it: means stay, variances fall."""
        place = rung * self.mean.shape[1] + mixture
        column = self.covariance[:, place]
        return replace(
            self,
            covariance=self.covariance - np.outer(column, column) / (column[place] + self.noise[rung] + LEAST_VARIANCE),
        )

    def among(self, mixtures: Indices) -> "Belief":
        """Return the belief of some of the mixtures, by their places."""
        rungs, count = self.mean.shape
        places = (np.arange(rungs)[:, None] * count + mixtures).ravel()
        return replace(self, mean=self.mean[:, mixtures], covariance=self.covariance[np.ix_(places, places)])

    def influence(self, rung: int) -> Array:
        """Return how trials move top means, `B x B`: row i the change of all for one standard deviation of trial i."""
        count = self.mean.shape[1]
        own = slice(rung * count, (rung + 1) * count)
        spread = np.sqrt(np.maximum(self.covariance.diagonal()[own], 0.0) + self.noise[rung] + LEAST_VARIANCE)
        moves: Array = self.covariance[own, -count:] / spread[:, None]
        return moves


def _lifted(joint: Array, ways: Outlook) -> Array:
    """Return the covariance `joint` of the rungs observed, with that of P places above the last: `R B + P B` square."""
    if not len(ways.slopes):
        return joint
    count = ways.mean.shape[1]
    across = np.kron(ways.slopes, joint[:, -count:])
    return np.block([[joint, across], [across.T, np.kron(ways.slopes[:, None], across[-count:]) + ways.extra]])


def knowledge_gradient(belief: Belief, rung: int) -> Array:
    """Expected fall of the least posterior mean at the top rung after one trial of each mixture at `rung`, `B`.

    Discrete: the least is taken over the belief's own mixtures (Frazier, Powell and Dayanik 2009).
    """
    nodes, shares = np.polynomial.hermite_e.hermegauss(NODES)
    shares = shares / shares.sum()
    moves = belief.influence(rung)
    after = np.zeros(len(moves))
    for node, share in zip(nodes, shares, strict=True):
        after += share * (belief.top_mean + node * moves).min(1)
    gain: Array = np.maximum(belief.top_mean.min() - after, 0.0)
    return gain


def expected_improvement(belief: Belief, rung: int) -> Array:
    """Expected improvement on the least top mean, by the part of each mixture's top variance that a trial explains."""
    count = belief.mean.shape[1]
    sd = np.maximum(belief.sd(belief.mean.shape[0] - 1), 1e-12)
    explained = np.minimum(belief.influence(rung)[np.arange(count), np.arange(count)] / sd, 1.0) ** 2
    score = (belief.top_mean.min() - belief.top_mean) / sd
    density = np.exp(-0.5 * score**2) / np.sqrt(2.0 * np.pi)
    improvement: Array = sd * (score * ndtr(score) + density) * explained
    return improvement


def max_value_entropy(belief: Belief, rung: int) -> Array:
    """Nats that one trial of each mixture at `rung` tells of the least value at the top rung, `B`.

    Closed form for one trial, by its correlation with the mixture's top value (Moss, Leslie, Gonzalez and Rayson,
    arXiv:2102.03324): -1/2 E log(1 - rho^2 g (g + x)), x = (mean - least) / sd, g = pdf(x) / cdf(x). The least values
    are drawn from the joint belief over its own mixtures.
    """
    count = belief.mean.shape[1]
    sd = np.maximum(belief.sd(len(belief.mean) - 1), 1e-12)
    known = np.clip(belief.influence(rung)[np.arange(count), np.arange(count)] / sd, -1.0, 1.0) ** 2
    score = (belief.top_mean - least_values(belief, MINIMA)[:, None]) / sd
    ratio = np.exp(-0.5 * score**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(score))
    told: Array = -0.5 * np.log1p(-known * np.clip(ratio * (ratio + score), 0.0, 1.0 - 1e-9)).mean(0)
    return told


def least_values(belief: Belief, count: int) -> Array:
    """Return `count` samples of the least top value over the belief's mixtures: the same for the same belief."""
    values, vectors = np.linalg.eigh(belief.top_covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = np.random.default_rng(0).standard_normal((count, len(root)))
    least: Array = (belief.top_mean + normal @ root.T).min(1)
    return least


ACQUISITIONS: Mapping[str, Callable[[Belief, int], Array]] = {
    "knowledge_gradient": knowledge_gradient,
    "expected_improvement": expected_improvement,
    "max_value_entropy": max_value_entropy,
}
UNITS: Mapping[str, str] = dict.fromkeys(ACQUISITIONS, "bits per byte") | {"max_value_entropy": "nats"}
