"""A closed-form mixing law in place of training: known optimum, seeded noise, a virtual clock.

Notation: domains i = 1..d, evaluation sets j = 1..m, weights w, affinities t_ji >= 0 (what a token of domain i is worth
for set j). The loss of set j is floor_j + size(parameters, tokens) * A_j * (eps + sum_i t_ji w_i)^(-alpha_j) + noise:
the "effective data" power law, convex in w. Below `reference_tokens` the affinities are distorted, the more the fewer
the tokens, so that cheap trainings correlate with expensive ones and are biased. Where `harm` is not 0, repetition adds
harm * sum_i max(0, E_i / onset - 1)^2 to every set, E_i being the epochs over domain i: convex in w too.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.config import ProxyConfig, trial_flops
from proxies.experts import Ensemble, GoldTokens, nonnegative_minimum
from proxies.training import Training

Float64Array = NDArray[np.float64]
Stage = tuple[float, Mapping[str, float]]

VOCABULARY = 256  # of the simulated corpus: bytes
EPSILON = 0.02  # the worth of no related text at all
ALPHA = (0.25, 0.6)
REFERENCE_PARAMETERS = 400_000
GOLD_TOKENS = 2_000  # scored tokens of every simulated evaluation set, one byte each
REVISED = 0.5  # sd of what another text changes of a domain's log-affinities; a guess
CERTIFICATE = 1e-10  # bits per byte; the optimum's distance to the least


@dataclass(frozen=True, kw_only=True)
class SimulatedLaw:
    """Losses of mixtures of `domains` on `sets`, drawn from `seed`.

    noise: standard deviation over training seeds, bits per byte, of every set; half of its variance is common to all
        mixtures of a seed, so that paired differences are less noisy than losses.
    bias: distortion of the log-affinities (sd) in a training on a tenth of `reference_tokens`.
    limits: weights above which a training diverges, a domain each.
    revisions: domains whose text is another than it was, and how often it has changed: their affinities are others.
    harm, onset: of repetition, in bits per byte, and the epochs from which a domain does harm. pools: tokens of every
        domain (none: nothing repeats); target_tokens: every training's pools are cut so that it has the epochs of one
        on so many tokens (None: pools are whole).
    device_flops: FLOPs a second of the simulated device.
    """

    domains: tuple[str, ...]
    sets: tuple[str, ...]
    seed: int = 0
    noise: float = 0.01
    bias: float = 0.3
    reference_tokens: int = 2_000_000
    limits: Mapping[str, float] = field(default_factory=dict)
    harm: float = 0.0
    onset: float = 4.0
    pools: Mapping[str, int] = field(default_factory=dict)
    target_tokens: int | None = None
    revisions: Mapping[str, int] = field(default_factory=dict)
    device_flops: float = 1e11

    def train(
        self,
        config: ProxyConfig,
        recipe: Sequence[Stage],
        *,
        tokens: int,
        seed: int,
        part: str = "search",
        gold: Path | None = None,
    ) -> Training:
        """Return what `proxies.train.train` would, the law being the corpus; `elapsed_s` is of the virtual clock.

        `gold`: a folder for what a data expert gives to the gold tokens; only a recipe of one domain has that.
        """
        weights = average(recipe)
        parameters, read = config.active_parameters(VOCABULARY), GOLD_TOKENS * len(self.sets)
        flops = trial_flops(config, tokens=tokens, vocabulary=VOCABULARY, evaluation_tokens=read)
        diverged = self.diverges(weights)
        if gold is not None and not diverged:
            gold.mkdir(parents=True, exist_ok=True)
            expert = next(name for name, weight in weights.items() if weight == 1.0)
            for name, logs in self.gold_log_probabilities(expert, parameters=parameters, tokens=tokens).items():
                np.save(gold / f"{name}.npy", logs)
        return Training(
            losses={} if diverged else self.losses(weights, parameters=parameters, tokens=tokens, seed=seed, part=part),
            curve=(),
            epochs={},
            tokens=tokens,
            flops=flops,
            elapsed_s=self.duration_s(flops=flops, recipe=recipe, seed=seed),
            diverged=diverged,
            details={"device": "simulated"},
        )

    def losses(
        self, weights: Mapping[str, float], *, parameters: int, tokens: int, seed: int, part: str = "search"
    ) -> dict[str, float]:
        """Return the noisy loss of every set in bits per byte, the same for the same arguments."""
        row = np.array([[weights.get(name, 0.0) for name in self.domains]])
        exact = self.exact(row, parameters=parameters, tokens=tokens)[0]
        common = _normal(len(self.sets), self.seed, "seed", seed, part)
        own = _normal(len(self.sets), self.seed, "run", seed, part, parameters, tokens, *np.round(row[0], 9))
        noisy = exact + self.noise * math.sqrt(0.5) * (common + own)
        return dict(zip(self.sets, noisy.tolist(), strict=True))

    def exact(self, weights_Bd: Float64Array, *, parameters: int, tokens: int) -> Float64Array:
        """Return the losses without noise, [B, m]."""
        worth = EPSILON + weights_Bd @ self.affinities(tokens).T
        losses: Float64Array = self._floors + self._size(parameters, tokens) * self._scales * worth**-self._alphas
        return losses + self.repetition(weights_Bd, tokens)[0][:, None]

    def repetition(self, weights_Bd: Float64Array, tokens: int) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return what repetition adds to a loss, [B], its slopes and its second derivatives in the weights, [B, d]."""
        read = tokens if self.target_tokens is None else self.target_tokens
        passes = np.array([read / self.pools[name] if self.harm and self.pools else 0.0 for name in self.domains])
        rate = passes / self.onset
        beyond = np.maximum(rate * weights_Bd - 1.0, 0.0)
        slopes = 2.0 * self.harm * beyond * rate
        return self.harm * (beyond**2).sum(1), slopes, 2.0 * self.harm * rate**2 * (beyond > 0.0)

    def diverges(self, weights: Mapping[str, float]) -> bool:
        """Return whether a training on `weights` stops with no losses."""
        return any(weights.get(name, 0.0) > limit for name, limit in self.limits.items())

    def duration_s(self, *, flops: float, recipe: Sequence[Stage], seed: int) -> float:
        """Return the seconds that a training takes on the virtual clock: its FLOPs, more or less a tenth."""
        jitter = _normal(1, self.seed, "clock", seed, *(w for _, weights in recipe for w in weights.values()))[0]
        return flops / self.device_flops * math.exp(0.1 * float(jitter))

    def optimum(self, set_weights: Mapping[str, float], *, parameters: int, tokens: int) -> tuple[Float64Array, float]:
        """Return the best mixture [d] for a weighted sum of losses over the simplex, and that sum; exact to 1e-10."""
        shares = np.array([set_weights.get(name, 0.0) for name in self.sets])
        scales = shares * self._size(parameters, tokens) * self._scales
        affinities = self.affinities(tokens)
        total = float(shares.sum())
        weights = np.full(len(self.domains), 1.0 / len(self.domains))
        for _ in range(500):
            value, slope, hessian = self._moments(weights, scales, affinities, total, tokens)
            if float(slope @ weights - slope.min()) <= CERTIFICATE:
                break
            weights = self._step(
                weights, (value, slope, hessian), lambda at: self._moments(at, scales, affinities, total, tokens)[0]
            )
        return weights, float(self.exact(weights[None], parameters=parameters, tokens=tokens)[0] @ shares)

    def ensemble(self, *, parameters: int, tokens: int) -> Ensemble:
        """Return experts whose own losses are the law's: a convex, biased ranker of mixtures."""
        logs = [self.gold_log_probabilities(name, parameters=parameters, tokens=tokens) for name in self.domains]
        gold = {s: GoldTokens.from_logs([of[s] for of in logs], scored_bytes=GOLD_TOKENS) for s in self.sets}
        return Ensemble(domains=self.domains, gold=gold)

    def gold_log_probabilities(self, domain: str, *, parameters: int, tokens: int) -> dict[str, NDArray[np.float32]]:
        """Return what the expert of `domain` gives to the tokens of every set, natural logarithms [GOLD_TOKENS] each.

        Every token has a home domain, drawn by affinity, whose expert knows it better; the mean is the law's loss.
        """
        place = self.domains.index(domain)
        own = self.exact(np.eye(len(self.domains))[place : place + 1], parameters=parameters, tokens=tokens)[0]
        gold = {}
        for j, name in enumerate(self.sets):
            rng = np.random.default_rng(_digest(self.seed, "gold", name))
            shares = self.affinities(tokens)[j] / self.affinities(tokens)[j].sum()
            known = 1.5 * (rng.choice(len(self.domains), size=GOLD_TOKENS, p=shares) == place)
            known = known + 0.5 * np.random.default_rng(_digest(self.seed, name, domain)).standard_normal(GOLD_TOKENS)
            logs = np.minimum(known - known.mean() - own[j] * math.log(2.0), -1e-3)
            gold[name] = (logs * (own[j] * math.log(2.0) / -logs.mean())).astype(np.float32)
        return gold

    def affinities(self, tokens: int) -> Float64Array:
        """Return t_ji as a training on `tokens` sees them, [m, d]."""
        distance = math.log10(self.reference_tokens / min(tokens, self.reference_tokens))
        distorted: Float64Array = self._affinities * np.exp(self.bias * distance * self._distortions)
        return distorted

    @cached_property
    def _affinities(self) -> Float64Array:
        """Set j is closest to domain j modulo d, near to another, and little helped by the rest."""
        rng = np.random.default_rng(_digest(self.seed, "affinities"))
        shape = (len(self.sets), len(self.domains))
        rest = np.exp(rng.normal(-2.5, 1.0, shape))
        for j in range(len(self.sets)):
            home = j % len(self.domains)
            rest[j, home] = 1.0
            rest[j, (home + 1 + int(rng.integers(max(1, len(self.domains) - 1)))) % len(self.domains)] += 0.4
        for name, count in self.revisions.items():
            change = REVISED * _normal(len(self.sets), self.seed, "revision", name, count)
            rest[:, self.domains.index(name)] *= np.exp(change)
        return rest

    @cached_property
    def _distortions(self) -> Float64Array:
        shape = (len(self.sets), len(self.domains))
        return np.random.default_rng(_digest(self.seed, "distortions")).standard_normal(shape)

    @cached_property
    def _alphas(self) -> Float64Array:
        return np.random.default_rng(_digest(self.seed, "alphas")).uniform(*ALPHA, len(self.sets))

    @cached_property
    def _floors(self) -> Float64Array:
        return np.random.default_rng(_digest(self.seed, "floors")).uniform(1.0, 1.6, len(self.sets))

    @cached_property
    def _scales(self) -> Float64Array:
        return np.random.default_rng(_digest(self.seed, "scales")).uniform(0.4, 0.8, len(self.sets))

    def _size(self, parameters: int, tokens: int) -> float:
        return float((tokens / self.reference_tokens) ** -0.15 * (parameters / REFERENCE_PARAMETERS) ** -0.05)

    def _moments(
        self, weights: Float64Array, scales: Float64Array, affinities: Float64Array, total: float, tokens: int
    ) -> tuple[float, Float64Array, Float64Array]:
        worth, alphas = EPSILON + affinities @ weights, self._alphas
        slope = -(scales * alphas * worth ** (-alphas - 1.0)) @ affinities
        curvature = scales * alphas * (alphas + 1.0) * worth ** (-alphas - 2.0)
        harm, steep, bent = (part[0] for part in self.repetition(weights[None], tokens))
        value = float(scales @ worth**-alphas + total * harm)
        return value, slope + total * steep, (affinities.T * curvature) @ affinities + np.diag(total * bent)

    def _step(
        self,
        weights: Float64Array,
        moments: tuple[float, Float64Array, Float64Array],
        value_at: Callable[[Float64Array], float],
    ) -> Float64Array:
        """Return the next point of Newton's method on the simplex; a heavy penalty keeps the sum at 1."""
        value, slope, hessian = moments
        damped = hessian + 1e-9 * np.trace(hessian) * np.eye(len(weights))
        penalty = 1e5 * float(np.trace(hessian))
        target = nonnegative_minimum(damped + penalty, damped @ weights - slope + penalty)
        direction, length = target / target.sum() - weights, 1.0
        while length > 1e-12:
            trial: Float64Array = weights + length * direction
            if value_at(trial) <= value + 1e-4 * length * float(slope @ direction):
                return trial
            length /= 2.0
        return weights


def average(recipe: Sequence[Stage]) -> dict[str, float]:
    """Return the weights of all tokens that `recipe` draws, whatever their order."""
    names = dict.fromkeys(name for _, weights in recipe for name in weights)
    return {name: math.fsum(share * weights.get(name, 0.0) for share, weights in recipe) for name in names}


def _digest(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def _normal(count: int, *parts: object) -> Float64Array:
    drawn: Float64Array = np.random.default_rng(_digest(*(str(part) for part in parts))).standard_normal(count)
    return drawn
