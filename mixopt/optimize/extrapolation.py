"""What no trial has reached: rungs without observations, and the user's own target, with the doubt that they deserve.

Notation: x = log(parameters * tokens) of a training, a = x of a place minus x of the last rung observed. A loss at
the place is the last rung's times exp(-s a) of its set: losses fall by the same part at every mixture (differences in
logarithms stay, those of losses shrink). s is what the last two rungs show, or a guess. It is in doubt by a part of
itself, which is common to all mixtures; and mixtures drift apart like a walk in x, by as much as they did between the
last two rungs, or a guess. Of the drift of a mixture between these a part goes on. Where domains repeat more at the
place than in the last rung, the harm of the law in epochs is added, and doubt where no trial has repeated so often.

Shapes: B mixtures, m evaluation sets, P places.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixopt.optimize import epoch_laws
from mixopt.optimize.composition import expected
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
UNSEEN_HARM = 0.05  # g of the law in epochs, and its sd, of epochs that no trial had; a guess
MOST_HARM = 6.0  # of the logarithm of a deficit
FAR = 2.0  # times as far ahead as the last rungs are apart: from there a prediction is told as a guess
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

    def sets_sd(self, last: Array, moved: Array, ahead: float) -> Array:
        """Return the sd of every set's loss `ahead` of the last rung, noise included, `B x m`.

        last: the sd at that rung; moved: the mean here, `B x m` both.
        """
        relative = self.fall_sd**2 * ahead**2 + self.drift**2 * abs(ahead)
        shrink = np.exp(-self.fall * ahead)
        deviations: Array = np.sqrt((shrink * last) ** 2 + relative * moved**2)
        return deviations


def _shrunk(missed: Array, guess: Array, seen: int) -> Array:
    """Return root mean squares of columns, the guess counting as `LEAST_MIXTURES` rows."""
    clipped = np.minimum(np.abs(missed), 3.0 * np.maximum(guess, np.median(np.abs(missed), axis=0)))
    found: Array = np.sqrt((LEAST_MIXTURES * guess**2 + seen * (clipped**2).mean(0)) / (LEAST_MIXTURES + seen))
    return found


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where losses are wanted: `ahead` of the last rung observed; `passes`: epochs of a domain alone there, or None.

    kept: the part of what the members of the last rung miss of the objective that they miss here too.
    """

    ahead: float
    passes: Array | None
    kept: float

    @classmethod
    def of_rung(cls, model: Surrogate, problem: Problem, fidelity: str) -> "Place":
        """Return the place of a rung."""
        ahead = position(problem, fidelity) - position(problem, model.rungs[-1].name)
        return cls(ahead=ahead, passes=model.encoding.passes.get(fidelity), kept=_faded(ahead))

    @classmethod
    def of_target(cls, model: Surrogate, problem: Problem) -> "Place":
        """Return the place of the target; of the top rung where there is none or the rungs tell no sizes."""
        target, passes = problem.ladder.target, problem.target_passes
        if target is None or not _sized(problem):
            return cls.of_rung(model, problem, problem.ladder.top.name)
        x = float(np.log(float(target.parameters) * target.tokens))
        epochs = np.array([passes[name] for name in model.encoding.names]) if passes else None
        ahead = x - position(problem, model.rungs[-1].name)
        return cls(ahead=ahead, passes=epochs, kept=_faded(ahead))

    @classmethod
    def to_compare(cls, model: Surrogate, problem: Problem) -> "Place":
        """Return where mixtures are compared for the target: towards it, as far as the last two rungs are apart.

        With the target's epochs, and with all that was missed of the mixtures measured. What moves mixtures apart
        beyond is guessed: on simulated laws a pick at a far target lost more where drift had ended than it gained where
        it went on. One rung alone shows no drift: mixtures are compared there.
        """
        target, behind = cls.of_target(model, problem), Trend.of(model, problem).behind
        return replace(target, ahead=float(np.clip(target.ahead, -behind, behind)), kept=1.0)


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The objective at P places.

    mean: `P x B`; slopes: `P`, how large differences between mixtures are there, in those of the last rung (a trial
    moves the members too, so that what it tells does not fade); extra: `P B x P B`, the covariance that the way adds;
    alike: `P`, the variance that it adds to every mixture.
    """

    mean: Array
    slopes: Array
    extra: Array
    alike: Array


def outlook(model: Surrogate, problem: Problem, inputs: Inputs, last_mean: Array, places: Sequence[Place]) -> Outlook:
    """Return the objective of B mixtures at `places` (`P`); `last_mean`, `B`, is that of the last rung."""
    if not len(places):
        none = np.zeros((0, len(inputs)))
        return Outlook(mean=none, slopes=np.zeros(0), extra=np.zeros((0, 0)), alike=np.zeros(0))
    trend, ahead = Trend.of(model, problem), np.array([place.ahead for place in places])
    names, rungs = model.encoding.sets, model.sets(inputs)
    links, errors = model.encoding.links, model.rungs[-1].errors
    missed = last_mean - expected(model.objective, names, links.to(rungs[-1]), errors)
    found = [sets_at(model, trend, inputs, place) for place in places]
    shares = model.objective.array(names)
    shares = shares / shares.sum()
    slopes = np.array([float(shares @ np.exp(-trend.fall * a)) for a in ahead])
    composed = np.array([expected(model.objective, names, links.to(sets), errors) for sets in found])
    kept = np.array([place.kept for place in places])
    unseen = np.array([_unseen(model, inputs, place) for place in places]) * slopes[:, None, None]
    unseen = unseen.reshape(len(places) * len(inputs), -1)
    way = _extra(trend, inputs, [sets.mean(0) * shares for sets in found], ahead, slopes)
    return Outlook(
        mean=composed + (slopes * kept)[:, None] * missed,
        slopes=slopes,
        extra=way + unseen @ unseen.T,
        alike=way.diagonal()[:: len(inputs)].copy(),
    )


def sets_at(model: Surrogate, trend: Trend, inputs: Inputs, place: Place) -> Array:
    """Return the losses of every set at `place`, `B x m`."""
    moved = trend.sets(model.sets(inputs), place.ahead)
    last = model.rungs[-1]
    theta = last.parameters.get("drifted epochs", last.parameters.get("epochs"))
    if theta is None or last.table.passes is None or place.passes is None or np.allclose(place.passes, _passes(last)):
        return moved
    x, links = epoch_laws.rows(inputs.weights, _passes(last)), model.encoding.links
    deficit = epoch_laws.EPOCHS.evaluate(theta, x, np.zeros((len(theta), len(x))))[0] - theta[:, :1]
    there, here = (epoch_laws.harm_of(theta, inputs.weights * passes) for passes in (place.passes, _passes(last)))
    linked = model.linked(inputs)[-1]
    change = there - here + _beyond(model, theta, inputs.weights, place.passes)
    risen = deficit * np.expm1(np.clip(change, -MOST_HARM, MOST_HARM))
    factor = np.maximum(links.back(linked + risen.T * last.scale.linked_width), 1e-9) / np.maximum(
        links.back(linked), 1e-9
    )
    harmed: Array = moved * factor
    return harmed


def _beyond(model: Surrogate, theta: Array, weights: Array, passes: Array) -> Array:
    """Return the harm that epochs no trial had are expected to do beside what rows of fewer say, `m x B`."""
    d = weights.shape[1]
    lacking = np.maximum(UNSEEN_HARM - np.exp(theta[:, epoch_laws.BEFORE + d :]), 0.0)
    onset = theta[:, 5, None, None]
    more = epoch_laws.harm(weights * passes, onset) - epoch_laws.harm(_seen(model), onset)
    expected: Array = (lacking[:, None] * np.maximum(more, 0.0)).sum(-1)
    return expected


def doubts(model: Surrogate, problem: Problem) -> tuple[str, ...]:
    """Return what the posterior at the target guesses rather than knows, a sentence each."""
    trend, place = Trend.of(model, problem), Place.of_target(model, problem)
    found = [*trend.doubts]
    if trend.behind and place.ahead > FAR * trend.behind:
        found.append(
            f"the target is {place.ahead / trend.behind:.2g} times as far above the last rung as the last two are apart"
            " (in logarithms of parameters times tokens): its losses are guessed, and mixtures compared nearer"
        )
    if problem.ladder.target is None or place.passes is None:
        return tuple(found)
    seen = _seen(model)
    there = model.rungs[-1].table.inputs.weights.max(0) * place.passes
    more = [
        f"{name} ({high:.2g} epochs, seen {low:.2g})"
        for name, high, low in zip(model.encoding.names, there, seen, strict=True)
        if high > 2.0 * max(low, 1.0)
    ]
    if more:
        found.append(
            f"the target would repeat domains more often than any trial did: {', '.join(more)}; harm is guessed"
        )
    return tuple(found)


def _passes(rung: RungFit) -> Array:
    assert rung.table.passes is not None, "asked only where epochs are known"
    return rung.table.passes


def _seen(model: Surrogate) -> Array:
    """Return the most epochs of every domain that any trial had, `d`."""
    known = [
        rung.table.inputs.weights.max(0) * rung.table.passes for rung in model.rungs if rung.table.passes is not None
    ]
    most: Array = np.max([np.zeros(len(model.encoding.names)), *known], axis=0)
    return most


def _unseen(model: Surrogate, inputs: Inputs, place: Place) -> Array:
    """Return the sd of the harm of every domain's epochs that no trial had, `B x d`, in the unit of the objective."""
    if place.passes is None:
        return np.zeros(inputs.weights.shape)
    beyond = epoch_laws.harm(inputs.weights * place.passes, epoch_laws.ONSET)
    known = epoch_laws.harm(_seen(model), epoch_laws.ONSET)
    doubt: Array = UNSEEN_HARM * model.rungs[-1].scale.objective_width * np.maximum(beyond - known, 0.0)
    return doubt


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


def _faded(ahead: float) -> float:
    return float(np.exp(-abs(ahead) / FADE))


def position(problem: Problem, fidelity: str) -> float:
    """Return x of a rung; where the rungs tell no parameters and tokens, the logarithm of its cost."""
    rung = problem.ladder[fidelity]
    return float(np.log(float(rung.parameters) * rung.tokens) if _sized(problem) else np.log(rung.cost_flops))


def _sized(problem: Problem) -> bool:
    return all(min(rung.parameters, rung.tokens) > 1 for rung in problem.ladder)
