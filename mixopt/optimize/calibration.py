"""How far predictions lie from what trials show, mixture by mixture, learned from predictions of rows held out.

Errors of losses grow with the loss (corners are both bad and noisy) and where the members of the stack disagree.
Of set j: sd = s_j h, h^2 = exp(2 b u) + (g D / D_j)^2 + (c_j max(u, 0))^2; u the predicted loss, standardised; D the
spread of the members and D_j its median; b and g common to the sets, of the greatest likelihood of heavy-tailed errors;
s_j such that the central 90 % interval holds 90 % of the errors held out. Too few mixtures tell no b and no g: then
these are 0, and c_j, which is 0 otherwise, makes what is a multiple as bad a multiple as doubtful.

Shapes: m evaluation sets, n observations, B mixtures.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from mixopt.optimize.encoding import Array

LEVEL = 0.9  # of the interval that is made to hold
GROWTHS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8)
DISAGREEMENTS = (0.0, 0.3, 0.6, 1.0, 1.5)
RANGE = (-2.0, 3.0)  # of u, beyond which errors grow no more
HEAVY = 4.0  # degrees of freedom of the errors
POOLED = 4.0  # rows that all sets' errors together count as, beside the set's own
FEW = 2.0  # rows' worth of doubt about a scale: it is stretched by 1 + FEW / n
LEAST = 12  # different mixtures, below which their errors tell no b and no g
FAR = 2.0  # c, times the spread of mixtures that are apart; by corners of simulated laws
LEAST_SD = 1e-6  # standardised
LEAST_PART = 0.02  # of the guess, below which no scale is believed


@dataclass(frozen=True, kw_only=True)
class Errors:
    """The sds of predictions, standardised: `scale` s_j, `spread` D_j, `far` c_j, `m`; `growth` b; `disagreement` g."""

    scale: Array
    spread: Array
    growth: float
    disagreement: float
    far: Array

    def sd(self, predicted: Array, spread: Array) -> Array:
        """Return sds, noise included, `m x B`, of `predicted` by members that are `spread` apart, `m x B` both."""
        spread = spread / self.spread[:, None]
        return self.scale[:, None] * _shape(predicted, spread, self.growth, self.disagreement, self.far[:, None])


def learn(
    predicted: Array, spread: Array, errors: Array, *, distinct: int, guess: float, runs: float, apart: Array
) -> Errors:
    """Return the sds that `errors` of `predicted`, `m x n`, held out, have; an sd of `guess` counts as `runs` rows.

    distinct: how many different mixtures the rows are. apart: spreads of mixtures that are apart, standardised, `m`.
    """
    middle = np.maximum(np.median(spread, axis=1), LEAST_SD)
    b, g = _best_shape(predicted, spread / middle[:, None], errors, distinct, DISAGREEMENTS)
    c = far(distinct) / apart
    shape = _shape(predicted, spread / middle[:, None], b, g, c[:, None])
    trust = distinct / (distinct + runs)
    scale = np.maximum(_reached(errors / shape, distinct), LEAST_PART * guess) ** trust * guess ** (1.0 - trust)
    return Errors(scale=scale, spread=middle, growth=b, disagreement=g, far=c)


def far(distinct: int) -> float:
    """Return c times the spread of mixtures that are apart; 0 where `distinct` mixtures tell how errors grow."""
    return FAR if distinct < LEAST else 0.0


def growth(predicted: Array, errors: Array, *, distinct: int) -> float:
    """Return b of one column: how `errors` (`n`) of `predicted` (`n`, standardised), held out, grow; 0 of few rows."""
    return _best_shape(predicted[None], np.ones((1, len(errors))), errors[None], distinct, (0.0,))[0]


def grown(predicted: Array, b: float, c: float | Array = 0.0) -> Array:
    """Return the sds of errors at `predicted`, standardised, any shape, in that of the middle; c as wide, or one."""
    factor: Array = np.hypot(np.exp(b * np.clip(predicted, *RANGE)), c * np.maximum(predicted, 0.0))
    return factor


def reached(errors: Array, count: float) -> Array:
    """Return the sds whose central interval holds LEVEL of `errors`, `m x n`, from `count` mixtures, `m`.

    Of fewer than LEAST mixtures, whose quantile is the largest of them, root mean squares.
    """
    if count < LEAST:
        plain: Array = np.sqrt((errors**2).mean(1))
        return plain
    level = min(LEVEL * (1.0 + 1.0 / count), 1.0)
    found: Array = np.quantile(np.abs(errors), level, axis=1) / norm.ppf(0.5 + LEVEL / 2.0)
    return found * (1.0 + FEW / count)


def _best_shape(
    predicted: Array, spread: Array, errors: Array, distinct: int, disagreements: tuple[float, ...]
) -> tuple[float, float]:
    """Return b and g of the greatest likelihood, `spread` in its medians; 0 and 0 of few mixtures."""
    best, found = -np.inf, (0.0, 0.0)
    for b in GROWTHS if distinct >= LEAST else ():
        for g in disagreements:
            shape = _shape(predicted, spread, b, g)
            sd = np.maximum(_robust(errors / shape)[:, None] * shape, LEAST_SD)
            tails = 0.5 * (HEAVY + 1.0) * np.log1p((errors / sd) ** 2 / HEAVY)
            value = -float((np.log(sd) + tails).sum())
            if value > best:
                best, found = value, (b, g)
    return found


def _reached(errors: Array, distinct: int) -> Array:
    """Return the same, drawn towards that of all sets where rows are few."""
    own = np.maximum(reached(errors, distinct), LEAST_SD)
    pooled = max(float(reached(errors.reshape(1, -1), distinct)[0]), LEAST_SD)
    trust = distinct / (distinct + POOLED)
    drawn: Array = own**trust * pooled ** (1.0 - trust)
    return drawn


def _shape(predicted: Array, spread: Array, b: float, g: float, c: float | Array = 0.0) -> Array:
    shape: Array = np.hypot(grown(predicted, b, c), g * spread)
    return shape


def _robust(errors: Array) -> Array:
    """Return root mean squares of errors clipped at three robust sds, `m`."""
    reach = 3.0 * 1.4826 * np.median(np.abs(errors), axis=1)[:, None]
    found: Array = np.sqrt((np.minimum(np.abs(errors), reach) ** 2).mean(1))
    return found
