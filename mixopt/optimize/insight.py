"""What there is to know around a recommendation: what domains do, what would do as well, what is still to be had.

Shapes: B mixtures, d domains, m evaluation sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mixopt.evidence import Prediction
from mixopt.mixture import Mixture
from mixopt.optimize import candidates
from mixopt.optimize.acquisition import Belief, knowledge_gradient, least_values
from mixopt.optimize.agreement import Heard
from mixopt.optimize.encoding import SAME_WEIGHT, Array
from mixopt.optimize.extrapolation import doubts
from mixopt.optimize.guarding import standing
from mixopt.optimize.surrogate import Surrogate
from mixopt.problem import Problem

POINT = 0.01  # a percentage point of the tokens
WORSE = 0.1  # probability of being worse by more than the noise, at most, of a mixture that does as well
STEPS = (0.005, 0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.23, 0.32, 0.45, 0.63, 1.0)  # of weight, to or from a domain
EXAMPLES = 3
LOOKED_AT = 160  # mixtures of the whole space among which a gain is looked for
MINIMA = 400  # samples of the least value
IDLE = 0.1  # of the noise for what a trial at the top costs: a gain below it, and stopping is advised; a guess

Advice = Literal["stop", "go on"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a percentage point more of a domain does, taken from the others in proportion, bits per byte.

    change, sd: of the objective at the top rung; sets: of every evaluation set.
    """

    domain: str
    change: float
    sd: float
    sets: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class NextTrial:
    """The trial that would help most: its expected `gain`, and that of as many as a trial at the top costs.

    The latter is never more than all that is expected to be had.
    """

    mixture: Mixture
    rung: str
    gain: float
    gain_for_top_cost: float


@dataclass(frozen=True, kw_only=True)
class AtTarget:
    """The recommended and the natural mixture at the user's own target, and the probability that the first wins.

    doubts: what of it is guessed rather than known, a sentence each.
    """

    predicted: Prediction
    natural: Prediction
    beats_natural: float
    doubts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Insight:
    """What the model knows beside the pick.

    ranges: of every weight, the others in proportion, within which a mixture does as well: it is worse by more than
    the noise of one training with a probability of a tenth at most. examples: such mixtures far from each other.
    to_gain: expected loss of the pick above the best mixture that there is, bits per byte. next_trial: None where no
    trial promises a gain. target: None where there is none.
    """

    effects: tuple[Effect, ...]
    ranges: Mapping[str, tuple[float, float]]
    examples: tuple[Mixture, ...]
    to_gain: float
    next_trial: NextTrial | None
    advice: Advice
    target: AtTarget | None

    def plain(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        trial = self.next_trial
        return {
            "effects": [asdict(effect) for effect in self.effects],
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "examples": [dict(mixture) for mixture in self.examples],
            "to_gain": self.to_gain,
            "next_trial": None
            if trial is None
            else {
                "mixture": dict(trial.mixture),
                "rung": trial.rung,
                "gain": trial.gain,
                "gain_for_top_cost": trial.gain_for_top_cost,
            },
            "advice": self.advice,
            "target": None if self.target is None else asdict(self.target),
        }


def insight(heard: Heard, problem: Problem, pick: Array) -> Insight:
    """Return what there is to know around `pick` (`d`)."""
    model, noise_sd = heard.model, float(np.sqrt(_belief(heard.model, problem, pick[None]).noise[-1]))
    rng = np.random.default_rng(problem.seed)
    drawn = candidates.draw(problem.space, LOOKED_AT, rng)
    near = candidates.around(problem.space, pick, drawn[:24], scale=0.5)
    near = near[rng.permutation(len(near))[:LOOKED_AT]]
    rows = candidates.distinct(np.vstack([pick[None], drawn, near]))
    rows = rows[_kept(model, problem, rows)]
    belief = _belief(model, problem, rows)
    to_gain = max(0.0, float(belief.top_mean[0] - least_values(belief, MINIMA).mean()))
    trial = _next_trial(belief, problem, rows, heard.misleading, to_gain)
    idle = trial is None or trial.gain_for_top_cost < max(IDLE * noise_sd, problem.stop_below)
    return Insight(
        effects=effects(model, problem, pick),
        ranges=ranges(model, problem, pick, noise_sd),
        examples=_examples(belief, rows, noise_sd, problem),
        to_gain=to_gain,
        next_trial=trial,
        advice="stop" if idle else "go on",
        target=_at_target(model, problem, pick),
    )


def effects(model: Surrogate, problem: Problem, pick: Array) -> tuple[Effect, ...]:
    """Return what a percentage point more of every domain does; less of it, reversed, where it has all the weight."""
    signs = np.where(pick <= 1.0 - POINT, 1.0, -1.0)
    rows = np.vstack([pick[None], *(_more(pick, i, sign * POINT)[None] for i, sign in enumerate(signs))])
    inputs = model.encoding.inputs(rows)
    belief, losses = Belief.of(model, problem, inputs), model.sets(inputs)[-1]
    changes, sds = signs * (belief.top_mean[1:] - belief.top_mean[0]), _contrasts(belief)[1:]
    of_sets = signs[:, None] * (losses[1:] - losses[0])
    return tuple(
        Effect(
            domain=name,
            change=float(change),
            sd=float(sd),
            sets=dict(zip(model.encoding.sets, map(float, row), strict=True)),
        )
        for name, change, sd, row in zip(problem.space.names, changes, sds, of_sets, strict=True)
    )


def ranges(model: Surrogate, problem: Problem, pick: Array, noise_sd: float) -> dict[str, tuple[float, float]]:
    """Return for every domain the weights within which mixtures of the space do as well, the others in proportion."""
    found = {}
    for i, name in enumerate(problem.space.names):
        moved = [_more(pick, i, sign * step) for step in STEPS for sign in (-1.0, 1.0)]
        ends = [_more(pick, i, -float(pick[i])), pick]
        lines = np.vstack([pick[None], candidates.feasible(problem.space, np.array([*moved, *ends]))])
        good = _as_good(_belief(model, problem, lines), noise_sd) & _kept(model, problem, lines)
        weights = lines[:, i]
        worse = np.append(weights[~good], [-1.0, 2.0])  # a range ends at the first mixture that is not as good
        low, high = worse[worse < pick[i]].max(initial=-1.0), worse[worse > pick[i]].min(initial=2.0)
        kept = weights[good & (weights > low) & (weights < high)]
        found[name] = (float(min(kept.min(initial=1.0), pick[i])), float(max(kept.max(initial=0.0), pick[i])))
    return found


def _examples(belief: Belief, rows: Array, noise_sd: float, problem: Problem) -> tuple[Mixture, ...]:
    """Return mixtures that do as well as the first, each the farthest from it and from those before."""
    good = rows[_as_good(belief, noise_sd)]
    chosen = [rows[0]]
    while len(chosen) <= EXAMPLES and len(good):
        distances = np.min([np.abs(good - row).sum(1) for row in chosen], axis=0)
        if distances.max() < 2.0 * POINT:
            break
        chosen.append(good[int(distances.argmax())])
    return tuple(Mixture.from_array(problem.space.names, row) for row in chosen[1:])


def _next_trial(
    belief: Belief, problem: Problem, rows: Array, misleading: Sequence[str], to_gain: float
) -> NextTrial | None:
    top = problem.ladder.top.cost_flops
    best: NextTrial | None = None
    most = 0.0
    for k, rung in enumerate(problem.ladder):
        if rung.name in misleading:
            continue
        gains = knowledge_gradient(belief, k)
        place, rate = int(gains.argmax()), float(gains.max()) * top / rung.cost_flops
        if rate > most:
            most = rate
            best = NextTrial(
                mixture=Mixture.from_array(problem.space.names, rows[place]),
                rung=rung.name,
                gain=float(gains[place]),
                gain_for_top_cost=min(rate, to_gain),
            )
    return best


def _at_target(model: Surrogate, problem: Problem, pick: Array) -> AtTarget | None:
    if problem.ladder.target is None:
        return None
    rows = np.array([pick, problem.natural.array(problem.space.names)])
    predicted, natural, beats_natural = compared(
        Belief.at_target(model, problem, model.encoding.inputs(rows)), same=alike(*rows)
    )
    return AtTarget(predicted=predicted, natural=natural, beats_natural=beats_natural, doubts=doubts(model, problem))


def compared(belief: Belief, *, same: bool) -> tuple[Prediction, Prediction, float]:
    """Return the two mixtures of `belief` at its last place, and the probability that the first is the better one.

    same: whether they are one mixture, which is as likely better as worse than itself.
    """
    means, deviations, spread = belief.top_mean, belief.sd(len(belief.mean) - 1), _contrasts(belief)[1]
    first, second = (Prediction(mean=float(m), sd=float(sd)) for m, sd in zip(means, deviations, strict=True))
    return first, second, 0.5 if same else float(ndtr((means[1] - means[0]) / max(float(spread), 1e-9)))


def alike(a: Array, b: Array) -> bool:
    """Return whether two mixtures (`d` each) are one."""
    return bool(np.abs(a - b).max() < SAME_WEIGHT)


def _belief(model: Surrogate, problem: Problem, rows: Array) -> Belief:
    return Belief.of(model, problem, model.encoding.weighed(rows))


def _contrasts(belief: Belief) -> Array:
    """Return the sd of every mixture's top value less the first one's, `B`."""
    joint = belief.top_covariance
    spread: Array = np.sqrt(np.maximum(joint.diagonal() + joint[0, 0] - 2.0 * joint[0], 0.0))
    return spread


def _as_good(belief: Belief, noise_sd: float) -> NDArray[np.bool_]:
    """Return which mixtures are hardly likely to be worse than the first by more than the noise, `B`."""
    worse = (belief.top_mean - belief.top_mean[0] - noise_sd) / np.maximum(_contrasts(belief), 1e-12)
    return np.asarray(ndtr(worse) <= WORSE)


def _kept(model: Surrogate, problem: Problem, rows: Array) -> NDArray[np.bool_]:
    """Return which mixtures keep to the guard, `B`; the first, the pick, counts as one that does."""
    stand = standing(model, problem, rows)
    kept = np.ones(len(rows), dtype=bool) if stand is None else stand.kept.copy()
    kept[0] = True  # the best there is where nothing keeps to it for sure
    return kept


def _more(weights: Array, domain: int, amount: float) -> Array:
    """Return `weights` (`d`) with so much more of a domain, the others in proportion; a single domain has all."""
    if len(weights) == 1:
        return weights
    own = float(np.clip(weights[domain] + amount, 0.0, 1.0))
    others = 1.0 - float(weights[domain])
    rest = weights / others if others > 1e-9 else np.full(len(weights), 1.0 / max(len(weights) - 1, 1))
    moved: Array = (1.0 - own) * rest
    moved[domain] = own
    return moved
