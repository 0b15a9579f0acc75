"""How a budget that is known is split over the rungs, and what is bought first: by what the model expects of splits.

A split is so much money for every rung below the top, and k trials of finalists at the top once that money has shown
what it is expected to. What a split is worth is the expected least posterior mean of what may be shipped after it; what
trials may show is drawn once for all splits, so that they are compared fairly. The first stage of the best split is
bought, in part; then the model is fitted again and asked again, so that the last stage is the finalists'.

Of a rung that nothing was measured at, the level is unknown, whatever the model guesses: one trial there tells no two
mixtures apart, two do.

Shapes: B mixtures, R rungs, K trials on offer, S mixtures that may be shipped; joint vectors go rung by rung.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import solve_triangular

from mixopt.optimize.acquisition import Belief
from mixopt.optimize.encoding import Array, Indices

SHOWN = 64  # draws of what the stages below the top may show, and
FINAL = 32  # for each of these, of what the finalists may
REPRESENTED = 24  # trials of a rung that stand for all that its money buys, the noise of each shared out accordingly
SHARES = 4  # the money below the top is split over rungs in quarters
FINALISTS = (0, 1, 2, 3, 4, 6, 8, 12, 16)  # numbers of trials at the top that are weighed; the most there can be, too
UNKNOWN = 100.0  # sd of the level of a rung without observations, in sds of the means: as good as nothing known
SLACK = 1e-9  # of a sum of costs: float error


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What may be bought and shipped, and what is believed of it.

    mixtures, rungs, costs: of K trials, places among the belief's B and R. shippable: places of S mixtures.
    seen: observations at every rung, `R`.
    """

    belief: Belief
    mixtures: Indices
    rungs: Indices
    costs: Array
    shippable: Indices
    seen: Indices

    def at(self, rung: int) -> Indices:
        """Return the places of the trials at a rung, among K."""
        return np.flatnonzero(self.rungs == rung)

    @property
    def top(self) -> int:
        """The place of the top rung."""
        return len(self.belief.mean) - 1


@dataclass(frozen=True, kw_only=True)
class Split:
    """Money for every rung below the top, `R - 1`, and the number of finalists; `expected`: the least mean after it."""

    money: tuple[float, ...]
    finalists: int
    expected: float


def best_split(offer: Offer, *, budget: float, rng: np.random.Generator) -> Split:
    """Return the split of `budget`, in the unit of the offer's costs, after which the least mean is expected."""
    covariance = _with_unknown_levels(offer)
    weights = _likely_best(offer, covariance, rng)
    orders = {
        rung: _telling(offer, covariance, weights, rung, REPRESENTED)
        for rung in range(offer.top)
        if len(offer.at(rung))
    }
    shown = rng.standard_normal((SHOWN // 2, len(offer.shippable)))
    last = rng.standard_normal((FINAL // 2, max(FINALISTS)))
    found = [
        Split(
            money=money, finalists=k, expected=_expected(offer, covariance, orders, money, k, _both(shown), _both(last))
        )
        for money, k in _splits(offer, budget)
    ]
    return min(found, key=lambda split: split.expected)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What to buy next: `count` trials at a rung, first `trials`, places among K in order, as many as are on offer."""

    rung: int
    count: int
    trials: tuple[int, ...]


def first_stage(offer: Offer, *, budget: float, part: float, rng: np.random.Generator) -> Stage:
    """Return the first stage of the best split, for `part` of the budget at most, or for one trial.

    At the top: half of the finalists, so that the others are chosen by what these have shown. Some trial on offer must
    be within the budget.
    """
    split = best_split(offer, budget=budget, rng=rng)
    for rung, money in enumerate(split.money):
        if money > 0.0:
            covariance = _with_unknown_levels(offer)
            count = max(1, int(min(money, part) * (1.0 + SLACK) / _cost(offer, rung)))
            trials = _telling(offer, covariance, _likely_best(offer, covariance, rng), rung, count)
            return Stage(rung=rung, count=count, trials=tuple(trials))
    count = max(1, (split.finalists + 1) // 2)
    return Stage(rung=offer.top, count=count, trials=finalists(offer, count))


def finalists(offer: Offer, count: int) -> tuple[int, ...]:
    """Return the trials at the top of the `count` mixtures with the least means, places among K."""
    places = offer.at(offer.top)
    means = offer.belief.top_mean[offer.mixtures[places]]
    return tuple(int(place) for place in places[np.argsort(means, kind="stable")[:count]])


def _splits(offer: Offer, budget: float) -> list[tuple[tuple[float, ...], int]]:
    """Return what may be weighed: money for every rung below the top, in whole trials, and finalists."""
    tops = len(offer.at(offer.top))
    most = min(int(budget * (1.0 + SLACK) / _cost(offer, offer.top)), tops, max(FINALISTS)) if tops else 0
    cheaper = [rung for rung in range(offer.top) if len(offer.at(rung))]
    lattice = [
        [part / SHARES for part in parts]
        for parts in product(range(SHARES + 1), repeat=len(cheaper))
        if sum(parts) == SHARES or not cheaper
    ]
    splits: list[tuple[tuple[float, ...], int]] = []
    for k in (count for count in range(most + 1) if count in FINALISTS or count == most):
        left = budget - k * _cost(offer, offer.top) if k else budget
        splits += [(_whole(offer, cheaper, [left * share for share in shares]), k) for shares in lattice]
    return list(dict.fromkeys(splits))


def _whole(offer: Offer, rungs: list[int], shares: list[float]) -> tuple[float, ...]:
    """Return the money of every rung below the top in whole trials; what is left over goes to the next cheaper one."""
    money, over = [0.0] * offer.top, 0.0
    for rung, share in sorted(zip(rungs, shares, strict=True), reverse=True):
        cost = _cost(offer, rung)
        money[rung] = cost * int((share + over) * (1.0 + SLACK) / cost) if share > 0.0 or rung == rungs[0] else 0.0
        over += share - money[rung]
    return tuple(money)


def _cost(offer: Offer, rung: int) -> float:
    return float(offer.costs[offer.at(rung)].mean())


def _expected(
    offer: Offer,
    covariance: Array,
    orders: Mapping[int, list[int]],
    money: tuple[float, ...],
    k: int,
    shown: Array,
    last: Array,
) -> float:
    """Return the expected least mean of what may be shipped after a split, by the draws `shown` and `last`."""
    ends = offer.top * offer.belief.mean.shape[1] + offer.shippable
    left = covariance[np.ix_(ends, ends)]
    means = np.tile(offer.belief.top_mean[offer.shippable], (len(shown), 1))
    trials, noise = _represented(offer, orders, money)
    if len(trials):
        told = covariance[np.ix_(trials, ends)]
        root = np.linalg.cholesky(covariance[np.ix_(trials, trials)] + np.diag(noise))
        gone = solve_triangular(root, told, lower=True)
        left = left - gone.T @ gone
        values, vectors = np.linalg.eigh(gone.T @ gone)  # the symmetric root: like draws move like mixtures
        means = means + shown @ (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    if not k:
        return float(means.min(axis=1).mean())
    open_ends = np.isin(offer.shippable, offer.mixtures[offer.at(offer.top)])
    total = 0.0
    for row in means:
        chosen = np.argsort(np.where(open_ends, row, np.inf), kind="stable")[:k]
        gram = left[np.ix_(chosen, chosen)] + (offer.belief.noise[-1] + _jitter(left)) * np.eye(len(chosen))
        moves = solve_triangular(np.linalg.cholesky(gram), left[chosen], lower=True)
        total += float((row + last[:, : len(chosen)] @ moves).min(axis=1).mean())
    return total / len(means)


def _represented(offer: Offer, orders: Mapping[int, list[int]], money: tuple[float, ...]) -> tuple[Indices, Array]:
    """Return places in the joint vector of trials that stand for what `money` buys, and their noise variances."""
    count = offer.belief.mean.shape[1]
    places, noise = [], []
    for rung, order in orders.items():
        bought = round(money[rung] / _cost(offer, rung))
        few = order[: min(bought, REPRESENTED)]
        places += [rung * count + int(offer.mixtures[place]) for place in few]
        noise += [max(float(offer.belief.noise[rung]) * len(few) / bought, 1e-12) if bought else 1.0] * len(few)
    return np.array(places, dtype=np.intp), np.array(noise)


def _telling(offer: Offer, covariance: Array, weights: Array, rung: int, count: int) -> list[int]:
    """Return up to `count` trials of a rung, one after another those that tell most of how likely bests differ."""
    width, places = offer.belief.mean.shape[1], offer.at(rung)
    ends = offer.top * width + offer.shippable
    joint = np.concatenate([ends, rung * width + offer.mixtures[places]])
    known = covariance[np.ix_(joint, joint)].copy()
    noise, s = float(offer.belief.noise[rung]), len(ends)
    free = np.ones(len(places), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(count, len(places)):
        towards = known[:s, s:] - weights @ known[:s, s:]
        spread = np.maximum(np.diag(known)[s:], 0.0) + noise + _jitter(known)
        gains = np.where(free, (weights @ towards**2) / spread, -1.0)
        best = int(gains.argmax())
        chosen.append(int(places[best]))
        free[best] = False
        column = known[:, s + best].copy()
        known -= np.outer(column, column) / spread[best]
    return chosen


def _likely_best(offer: Offer, covariance: Array, rng: np.random.Generator) -> Array:
    """Return how likely each mixture that may be shipped is the best, `S`; none is impossible."""
    ends = offer.top * offer.belief.mean.shape[1] + offer.shippable
    own = covariance[np.ix_(ends, ends)]
    root = np.linalg.cholesky(own + (_jitter(own) + 1e-15) * np.eye(len(own)))
    drawn = offer.belief.top_mean[offer.shippable] + rng.standard_normal((8 * SHOWN, len(own))) @ root.T
    counts = np.bincount(drawn.argmin(axis=1), minlength=len(own)) + 1.0
    shares: Array = counts / counts.sum()
    return shares


def _with_unknown_levels(offer: Offer) -> Array:
    """Return the joint covariance, `R B x R B`, with the levels of rungs without observations unknown."""
    belief, count = offer.belief, offer.belief.mean.shape[1]
    covariance = belief.covariance.copy()
    level = (UNKNOWN * max(float(belief.top_mean.std()), float(belief.sd(offer.top).max()), 1e-9)) ** 2
    for rung in np.flatnonzero(offer.seen == 0):
        own = slice(rung * count, (rung + 1) * count)
        covariance[own, own] += level
    return covariance


def _both(draws: Array) -> Array:
    """Return `draws` and their opposites: what moves all mixtures alike cancels exactly."""
    return np.vstack([draws, -draws])


def _jitter(covariance: Array) -> float:
    return 1e-9 * float(np.diag(covariance).max())
