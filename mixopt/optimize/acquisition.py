"""What a trial is worth: the joint posterior of mixtures and rungs, and gains per unit cost.

Shapes: B mixtures, R rungs of the ladder, cheap to expensive; a joint vector lists the mixtures rung by rung, `R B`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag
from scipy.special import ndtr

from mixopt.optimize.encoding import Array, Inputs
from mixopt.optimize.members import LENGTHS, matern
from mixopt.optimize.surrogate import GUESSED_NOISE, GUESSED_RESIDUAL, Surrogate
from mixopt.problem import Problem

LEAST_VARIANCE = 1e-18  # keeps what is known exactly from dividing by nothing
NODES = 16  # of the Gauss-Hermite rule over what a trial may show


@dataclass(frozen=True, kw_only=True)
class Belief:
    """The objective of B mixtures at R rungs: `mean` `R x B`, `covariance` `R B x R B`; noise variances `R`."""

    mean: Array
    covariance: Array
    noise: Array

    @classmethod
    def of(cls, surrogate: Surrogate, problem: Problem, inputs: Inputs) -> "Belief":
        """Return the posterior; a rung never observed is expected to agree with the one below, with a guessed error."""
        mean, joint = surrogate.posterior(inputs)
        names = [rung.name for rung in surrogate.rungs]
        width, count = surrogate.rungs[0].scale.objective_width, len(inputs)
        guess = (GUESSED_RESIDUAL * width) ** 2 * matern(inputs.coordinates, inputs.coordinates, LENGTHS[1])
        sources: list[int] = []
        extra, noise = [], []
        for fidelity in problem.ladder:
            known = fidelity.name in names
            sources.append(names.index(fidelity.name) if known else max([0, *sources]))
            extra.append(np.zeros_like(guess) if known else guess)
            noise.append(surrogate.rungs[sources[-1]].noise_sd ** 2 if known else (GUESSED_NOISE * width) ** 2)
        rows = (np.array(sources)[:, None] * count + np.arange(count)).ravel()
        return cls(mean=mean[sources], covariance=joint[np.ix_(rows, rows)] + block_diag(*extra), noise=np.array(noise))

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

    def expecting(self, mixture: int, rung: int) -> "Belief":
        """Return the belief once a pending trial shows what is expected of it: means stay, variances fall."""
        place = rung * self.mean.shape[1] + mixture
        column = self.covariance[:, place]
        return replace(
            self,
            covariance=self.covariance - np.outer(column, column) / (column[place] + self.noise[rung] + LEAST_VARIANCE),
        )

    def influence(self, rung: int) -> Array:
        """Return how trials move top means, `B x B`: row i the change of all for one standard deviation of trial i."""
        count = self.mean.shape[1]
        own = slice(rung * count, (rung + 1) * count)
        spread = np.sqrt(np.maximum(self.covariance.diagonal()[own], 0.0) + self.noise[rung] + LEAST_VARIANCE)
        moves: Array = self.covariance[own, -count:] / spread[:, None]
        return moves


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


ACQUISITIONS: Mapping[str, Callable[[Belief, int], Array]] = {
    "knowledge_gradient": knowledge_gradient,
    "expected_improvement": expected_improvement,
}
