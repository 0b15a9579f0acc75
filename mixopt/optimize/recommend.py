"""The mixture to train on, with its uncertainty, against the natural one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mixopt.evidence import Evidence, Prediction
from mixopt.mixture import Mixture
from mixopt.optimize import candidates, guarding
from mixopt.optimize.acquisition import Belief
from mixopt.optimize.agreement import Agreement, listen, spearman
from mixopt.optimize.design import reference
from mixopt.optimize.encoding import Array
from mixopt.optimize.guarding import penalised, standing
from mixopt.optimize.insight import Insight, alike, compared, insight
from mixopt.optimize.local_choice import Measured, settled
from mixopt.optimize.pull import divergence, strength
from mixopt.optimize.surrogate import RungFit, Surrogate
from mixopt.optimize.threads import one_thread
from mixopt.problem import Problem

CAUTION = 0.5  # standard deviations added to the mean: draws the pick towards what was measured
POOL = 400
ROUNDS = 14
TOO_RISKY = 0.5  # probability of a failing training
TRACE = 5e-3  # a weight below this goes, where the model does not miss it

NOTHING = Prediction(mean=float("nan"), sd=float("inf"))  # what is known of a mixture before anything was measured


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The mixture to train on.

    predicted, natural: the objective at the top rung. beats_natural: probability that it does so. At the target, where
    there is one, both are in the insight.
    agreement: of every cheaper rung with the top; none while fewer than three mixtures were measured there.
    guard: how surely the mixture keeps to the objective's guard and which set most likely breaks it; None without one.
    pull: towards the natural mixture, in bits per byte for a nat of divergence. insight: what else is known around the
    pick (None: nothing was measured).
    fallback: why a simpler model than wanted was used, or None. model: the fit, plain; fitted: the fit itself, to
    predict other mixtures from (None: nothing was measured).
    """

    mixture: Mixture
    predicted: Prediction
    natural: Prediction
    beats_natural: float
    agreement: tuple[Agreement, ...]
    pull: float
    insight: Insight | None
    fallback: str | None
    model: Mapping[str, object]
    fitted: Surrogate | None
    guard: Mapping[str, object] | None = None

    def plain(self) -> dict[str, object]:
        """Return the recommendation as JSON holds it."""
        return {
            "mixture": dict(self.mixture),
            "predicted": asdict(self.predicted),
            "natural": asdict(self.natural),
            "beats_natural": self.beats_natural,
            "agreement": [asdict(entry) for entry in self.agreement],
            "pull": self.pull,
            "insight": None if self.insight is None else self.insight.plain(),
            "fallback": self.fallback,
            "guard": None if self.guard is None else dict(self.guard),
        }


@one_thread
def recommend(evidence: Evidence, problem: Problem) -> Recommendation:
    """Return the mixture with the least cautious prediction; without observations, the natural one."""
    heard = listen(evidence, problem)
    if heard is None:
        return _unmeasured(problem)
    model = heard.model
    natural = problem.natural.array(problem.space.names)
    allowed = reference(problem).array(problem.space.names)
    towards_natural = strength(model, problem)
    pick = choose(model, evidence, problem, np.array([allowed]), pull=towards_natural)
    belief = Belief.of(model, problem, model.encoding.inputs(np.array([pick, natural])))
    predicted, of_natural, beats_natural = compared(belief, same=alike(pick, natural))
    return Recommendation(
        mixture=Mixture.from_array(problem.space.names, pick),
        predicted=predicted,
        natural=of_natural,
        beats_natural=beats_natural,
        agreement=heard.agreement,
        pull=towards_natural,
        insight=insight(heard, problem, pick),
        fallback=_fallback(model, problem),
        model=describe(model),
        fitted=model,
        guard=guarding.plain(standing(model, problem, pick[None])),
    )


def predict(model: Surrogate | None, problem: Problem, mixtures: Sequence[Mixture]) -> list[Prediction]:
    """Return the objective of `mixtures` at the top rung, in or outside of the space; nan without a model."""
    if model is None:
        return [NOTHING] * len(mixtures)
    belief = Belief.of(model, problem, model.encoding.inputs(model.encoding.weights(mixtures)))
    pairs = zip(belief.top_mean, belief.sd(len(belief.mean) - 1), strict=True)
    return [Prediction(mean=float(mean), sd=float(sd)) for mean, sd in pairs]


def choose(
    model: Surrogate,
    evidence: Evidence,
    problem: Problem,
    starts: Array,
    *,
    pull: float = 0.0,
    rounds: int = ROUNDS,
) -> Array:
    """Return the weights (`d`) of the space with the least cautious mean, and little risk.

    At the top rung; where there is a target, on the way to it (`Belief.to_compare`). Of the doubt, what mixtures do not
    share counts: the way is as doubtful for all of them. pull: what a nat of divergence from the natural mixture
    counts, in bits per byte.
    """
    rng, natural = np.random.default_rng(problem.seed), problem.natural.array(problem.space.names)

    def score(rows: Array) -> Array:
        belief = Belief.to_compare(model, problem, model.encoding.weighed(rows))
        risky = candidates.risk(evidence, problem.space.names, rows) > TOO_RISKY
        total: Array = belief.top_mean + CAUTION * belief.own_sd
        total = total + pull * divergence(rows, natural) if pull else total
        total = penalised(total, standing(model, problem, rows), model.rungs[-1].scale.objective_width)
        return np.where(risky, np.inf, total)

    measured = measured_rows(model, problem)
    drawn = candidates.draw(problem.space, POOL, rng)
    pool = candidates.distinct(np.vstack([starts, measured, drawn]))
    scores = score(pool)
    found = [candidates.polish(problem.space, pool[place], score, rounds=rounds) for place in scores.argsort()[:2]]
    best, value = min(found, key=lambda pair: pair[1])
    tidy = candidates.feasible(problem.space, without_traces(best)[None])
    slack = 0.05 * model.rungs[-1].noise_sd
    pick = tidy[0] if len(tidy) and score(tidy)[0] <= value + slack else best
    if model.rungs[-1].name != problem.ladder.top.name:
        return pick
    return settled(pick, float(score(pick[None])[0]), _at_top(model, problem, score), caution=CAUTION)


def _at_top(model: Surrogate, problem: Problem, score: Callable[[Array], Array]) -> Measured:
    """Return the mixtures of the space that were measured at the top rung."""
    rung = model.rungs[-1]
    table, values = rung.table, model.objective.of_array(rung.table.losses, model.encoding.sets)
    _, first, place, counts = np.unique(table.groups, return_index=True, return_inverse=True, return_counts=True)
    weights = table.inputs.weights[first]
    inside = np.array([len(candidates.feasible(problem.space, row[None])) > 0 for row in weights])
    means = np.bincount(place, weights=values) / counts
    missed = means - model.means(model.encoding.inputs(weights))[-1]
    return Measured(
        weights=weights[inside],
        scores=score(weights[inside]) if inside.any() else np.zeros(0),
        missed=missed[inside],
        counts=counts[inside].astype(np.float64),
        noise_sd=rung.noise_sd,
    )


def without_traces(weights: Array) -> Array:
    """Return `weights` (`d`) with those below half a percent given to the others."""
    kept = np.where(weights < TRACE, 0.0, weights)
    result: Array = kept / kept.sum()
    return result


def measured_rows(model: Surrogate, problem: Problem) -> Array:
    """Return the different mixtures of the space with observations at any rung, `B x d`."""
    rows = np.vstack([rung.table.inputs.weights for rung in model.rungs])
    return candidates.feasible(problem.space, candidates.distinct(rows))


def describe(model: Surrogate) -> dict[str, object]:
    """Return what the store keeps of a fit: members, noise, errors and out-of-fold residuals of every rung, plain."""
    return {"sets": list(model.encoding.sets), "rungs": [_described(model, rung) for rung in model.rungs]}


def _described(model: Surrogate, rung: RungFit) -> dict[str, object]:
    values = model.objective.of_array(rung.table.losses, model.encoding.sets)
    predicted = values - rung.out_of_fold
    agreement = spearman(np.stack([values, predicted], axis=1)) if len(values) > 2 else float("nan")
    return {
        "name": rung.name,
        "observations": len(values),
        "mixtures": rung.table.distinct,
        "shares": {name: float(share) for name, share in zip(rung.members, rung.shares.mean(1), strict=True)},
        "noise_sd": rung.noise_sd,
        "residual_sd": rung.residual.amplitude,
        "residual_length": rung.residual.length,
        "out_of_fold": [
            {"measured": float(value), "predicted": float(guess)}
            for value, guess in zip(values, predicted, strict=True)
        ],
        "out_of_fold_rmse": float(np.sqrt(np.mean(rung.out_of_fold**2))),
        "out_of_fold_spearman": None if np.isnan(agreement) else agreement,
        "rmse": {name: float(error) for name, error in zip(model.encoding.sets, rung.rmse, strict=True)},
    }


def _fallback(model: Surrogate, problem: Problem) -> str | None:
    reasons = list(model.fallbacks)
    if model.rungs[-1].name != problem.ladder.top.name:
        last, top = model.rungs[-1].name, problem.ladder.top.name
        reasons.insert(0, f"nothing was measured at the top rung {top!r}: predicted from {last!r}, errors guessed")
    return "; ".join(reasons) or None


def _unmeasured(problem: Problem) -> Recommendation:
    return Recommendation(
        mixture=reference(problem),
        predicted=NOTHING,
        natural=NOTHING,
        beats_natural=0.5,
        agreement=(),
        pull=0.0,
        insight=None,
        fallback="nothing was measured: the natural mixture, or the allowed one nearest to it",
        model={},
        fitted=None,
    )
