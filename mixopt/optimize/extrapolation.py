"""What no trial has reached: rungs without observations, and the user's own target, with the doubt that they deserve.

Notation: x = log(parameters * tokens) of a training, a = x of a place minus x of the last rung observed. A loss at
the place is the last rung's times exp(-s a) of its set: losses fall by the same part at every mixture (differences in
logarithms stay, those of losses shrink). s is what the last two rungs show, or a guess. It is in doubt by a part of
itself, which is common to all mixtures; and mixtures drift apart like a walk in x, by as much as they did between the
last two rungs, or a guess. Of the drift of a mixture between these a part goes on.

Shapes: B mixtures, m evaluation sets, P places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixopt.optimize.encoding import Array, Inputs
from mixopt.optimize.members import LENGTHS, matern
from mixopt.optimize.surrogate import RungFit, Surrogate
from mixopt.problem import Problem

FALL, FALL_SD = 0.06, 0.03  # of the logarithm of a loss per unit of x, where one rung tells no trend; a guess
DOUBT = 0.3  # of a fall that two rungs show: the sd of the fall ahead; a guess, as two points show no bend
TOGETHER = 0.25  # of the variance of falls: what all sets share; a guess
DRIFT = 0.1  # in spreads of losses for one unit of x, where one rung tells none; a guess
PERSISTENCE = 0.25  # of the drift of a mixture for one unit of x: what goes on above; a guess
FADE = 1.0  # in x: what the members of a rung miss of the objective is soon its own; adding it lowered ranks at 60M, 1B
MOST_DRIFT = (-0.3, 0.3)  # of the logarithm of a loss: no mixture may run away
LEAST_MIXTURES = 8  # at the last rung, below which nothing is read off their drift


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How losses go on from the last rung observed.

    fall, fall_sd: s of every set and its sd, `m`. drift: sd of every set for one unit of x, in parts of the loss, `m`;
    objective_drift: of the objective, in its unit. behind: from the rung before the last one in x (0: there is none);
    doubts: why more is guessed than measured, a sentence each.
    """

    fall: Array
    fall_sd: Array
    drift: Array
    objective_drift: float
    behind: float
    doubts: tuple[str, ...]

    @classmethod
    def of(cls, model: Surrogate, problem: Problem) -> "Trend":
        """Return the trend of the model's last two rungs, or a guess where it has only one."""
        last = model.rungs[-1]
        middle = np.maximum(last.table.losses.mean(0), 1e-9)
        guessed = DRIFT * last.scale.width / middle
        objective_guess = DRIFT * last.scale.objective_width
        if last.lower is None:
            same = np.full_like(middle, FALL)
            doubts = (f"only rung {last.name!r} has observations: how losses go on above it is guessed",)
            return cls(
                fall=same,
                fall_sd=same / FALL * FALL_SD,
                drift=guessed,
                objective_drift=objective_guess,
                behind=0.0,
                doubts=doubts,
            )
        behind = max(position(problem, last.name) - position(problem, model.rungs[-2].name), 1e-9)
        lower = np.maximum(last.lower, 1e-9)
        steps = np.log(np.maximum(last.table.losses, 1e-9)) - np.log(lower)
        fall = -np.median(steps, axis=0) / behind
        missed = steps - np.median(steps, axis=0)
        moved = model.objective.of_array(lower * np.exp(np.median(steps, axis=0)), model.encoding.sets)
        values = model.objective.of_array(last.table.losses, model.encoding.sets)
        root, seen = float(np.sqrt(behind)), last.table.distinct
        apart = _shrunk((values - moved)[:, None], np.array([objective_guess * root]), seen)
        return cls(
            fall=fall,
            fall_sd=DOUBT * np.maximum(np.abs(fall), FALL_SD),
            drift=_shrunk(missed, guessed * root, seen) / root,
            objective_drift=float(apart[0]) / root,
            behind=behind,
            doubts=(),
        )

    def sets(self, rungs: Sequence[Array], ahead: float) -> Array:
        """Return losses `ahead` of the last rung, `B x m`, from those at all `rungs` observed."""
        moved: Array = rungs[-1] * np.exp(-self.fall * ahead)
        if self.behind > 0.0:
            steps = np.log(np.maximum(rungs[-1], 1e-9) / np.maximum(rungs[-2], 1e-9))
            drift = steps / self.behind + self.fall
            moved = moved * np.exp(np.clip(PERSISTENCE * ahead * drift, *MOST_DRIFT))
        return moved

    def sets_sd(self, rung: RungFit, moved: Array, ahead: float) -> Array:
        """Return the sd of every set's loss `ahead` of the last `rung`, noise included, `B x m`; `moved`: its mean."""
        relative = self.fall_sd**2 * ahead**2 + self.drift**2 * abs(ahead)
        shrink = np.exp(-self.fall * ahead)
        deviations: Array = np.sqrt((shrink * rung.rmse) ** 2 + relative * moved**2)
        return deviations


def _shrunk(missed: Array, guess: Array, seen: int) -> Array:
    """Return root mean squares of columns, the guess counting as `LEAST_MIXTURES` rows."""
    clipped = np.minimum(np.abs(missed), 3.0 * np.maximum(guess, np.median(np.abs(missed), axis=0)))
    found: Array = np.sqrt((LEAST_MIXTURES * guess**2 + seen * (clipped**2).mean(0)) / (LEAST_MIXTURES + seen))
    return found


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The objective at P places `ahead` of the last rung observed.

    mean: `P x B`; slopes: `P`, how large differences between mixtures are there, in those of the last rung (a trial
    moves the members too, so that what it tells does not fade); extra: `P B x P B`, the covariance that the way adds.
    """

    mean: Array
    slopes: Array
    extra: Array


def outlook(model: Surrogate, problem: Problem, inputs: Inputs, last_mean: Array, ahead: Sequence[float]) -> Outlook:
    """Return the objective of B mixtures at the places `ahead` (`P`); `last_mean`, `B`, is that of the last rung."""
    if not len(ahead):
        none = np.zeros((0, len(inputs)))
        return Outlook(mean=none, slopes=np.zeros(0), extra=np.zeros((0, 0)))
    trend = Trend.of(model, problem)
    names, rungs = model.encoding.sets, model.sets(inputs)
    missed = last_mean - model.objective.of_array(rungs[-1], names)
    places = [trend.sets(rungs, a) for a in ahead]
    shares = model.objective.array(names)
    shares = shares / shares.sum()
    slopes = np.array([float(shares @ np.exp(-trend.fall * a)) for a in ahead])
    composed = np.array([model.objective.of_array(sets, names) for sets in places])
    return Outlook(
        mean=composed + (slopes * np.exp(-np.abs(np.array(ahead)) / FADE))[:, None] * missed,
        slopes=slopes,
        extra=_extra(trend, inputs, [p.mean(0) * shares for p in places], np.array(ahead, dtype=float), slopes),
    )


def _extra(trend: Trend, inputs: Inputs, levels: list[Array], ahead: Array, slopes: Array) -> Array:
    """Return the covariance of falls, the same for all mixtures, and of drift, which neighbours share."""
    errors = np.array([-a * level * trend.fall_sd for a, level in zip(ahead, levels, strict=True)])
    falls = TOGETHER * np.outer(errors.sum(1), errors.sum(1)) + (1.0 - TOGETHER) * errors @ errors.T
    same_side = np.sign(ahead)[:, None] == np.sign(ahead)
    walk = np.where(same_side, np.minimum(np.abs(ahead)[:, None], np.abs(ahead)), 0.0) * np.outer(slopes, slopes)
    points = inputs.coordinates
    together = np.kron(falls, np.ones((len(points), len(points))))
    covariance: Array = together + np.kron(walk * trend.objective_drift**2, matern(points, points, LENGTHS[1]))
    return covariance


def position(problem: Problem, fidelity: str) -> float:
    """Return x of a rung; where the rungs tell no parameters and tokens, the logarithm of its cost."""
    rung = problem.ladder[fidelity]
    return float(np.log(float(rung.parameters) * rung.tokens) if _sized(problem) else np.log(rung.cost_flops))


def target_position(problem: Problem) -> float:
    """Return x of the target, or of the top rung where there is none or the rungs tell no sizes."""
    target = problem.ladder.target
    if target is None or not _sized(problem):
        return position(problem, problem.ladder.top.name)
    return float(np.log(float(target.parameters) * target.tokens))


def _sized(problem: Problem) -> bool:
    return all(min(rung.parameters, rung.tokens) > 1 for rung in problem.ladder)
