"""Which rungs to listen to: how each ranks mixtures as the top rung does, and what is modelled without those that err.

Shapes: k mixtures measured at the top rung.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import rankdata

from mixopt.evidence import Evidence
from mixopt.optimize.encoding import SAME_WEIGHT, Array
from mixopt.optimize.fitting import fit
from mixopt.optimize.held_out import held_out
from mixopt.optimize.surrogate import RungFit, Surrogate
from mixopt.problem import Problem

BOOTSTRAPS = 400
LEAST_PAIRS = 3  # mixtures below which a rank correlation says nothing
LEAST_SHOWN = 16  # mixtures at a rung, below which it is not said to show nothing
LEAST_JUDGED = 5  # mixtures below which no rung is condemned
MISLEADS = 0.3  # rank correlation with the top that a rung must be able to have; a guess
RELIABLE = 0.5  # of the variance among mixtures at the top at least is no noise, or no rung is condemned
NORMAL_95 = 1.645  # one-sided 95 % quantile


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Spearman's correlation of a cheap rung with the top one, and its 90 % interval: of the bootstrap's and Fisher's.

    It reaches from the lower end of both to the upper one.
    Over the `mixtures` measured at the top: their objective there, and at the cheap rung (`shared` of them measured
    there also, the rest predicted by its model). misleads: whether it is certain to rank them hardly or the wrong way,
    or shows nothing but noise.
    """

    rung: str
    spearman: float
    low: float
    high: float
    mixtures: int
    shared: int
    misleads: bool


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What is believed of mixtures: the model, without the rungs that mislead; and how the rungs agree."""

    model: Surrogate
    agreement: tuple[Agreement, ...]

    @property
    def misleading(self) -> tuple[str, ...]:
        """The rungs that are listened to no longer."""
        return tuple(entry.rung for entry in self.agreement if entry.misleads)


def listen(evidence: Evidence, problem: Problem) -> Heard | None:
    """Return the model of all rungs that do not mislead, None where nothing was measured."""
    model = fit(evidence, problem)
    if model is None:
        return None
    found = agreements(model, problem)
    mute = {rung.name for rung in model.rungs if shows_nothing(model, rung)}
    heard = Heard(
        model=model, agreement=tuple(replace(entry, misleads=entry.misleads or entry.rung in mute) for entry in found)
    )
    if not heard.misleading:
        return heard
    kept = tuple(o for o in evidence.history.observations if o.fidelity not in heard.misleading)
    alone = fit(replace(evidence, history=replace(evidence.history, observations=kept)), problem)
    assert alone is not None  # a rung is judged by what was measured at the top
    return replace(heard, model=alone)


def agreements(model: Surrogate, problem: Problem) -> tuple[Agreement, ...]:
    """Return the rank agreement of every cheaper rung with the top one, on mixtures measured at the top."""
    fits = {rung.name: rung for rung in model.rungs}
    top = fits.get(problem.ladder.top.name)
    if top is None or top.table.distinct < LEAST_PAIRS:
        return ()
    cheaper = [(k, rung) for k, rung in enumerate(model.rungs) if rung is not top]
    means = model.means(top.table.inputs)
    return tuple(
        _agreement(rung.name, *_paired(model, rung, top, means[k]), noise_sd=top.noise_sd, seed=problem.seed)
        for k, rung in cheaper
    )


def shows_nothing(model: Surrogate, rung: RungFit) -> bool:
    """Return whether not even the rung's own mixtures are predicted by the others there: all that it shows is noise."""
    known = held_out(model, rung)
    count = len(known.measured)
    if count < LEAST_SHOWN:
        return False
    rho = spearman(np.stack([known.measured, known.predicted], axis=1))
    return _interval(float(np.nan_to_num(rho)), count)[1] < MISLEADS


def _paired(model: Surrogate, cheap: RungFit, top: RungFit, predicted: Array) -> tuple[Array, int]:
    """Return objectives at the cheap and the top rung of every mixture of the top, `k x 2`, and how many have both."""
    values = [model.objective.of_array(rung.table.losses, model.encoding.sets) for rung in (cheap, top)]
    weights = [rung.table.inputs.weights for rung in (cheap, top)]
    pairs, shared = [], 0
    for group in np.unique(top.table.groups):
        rows = top.table.groups == group
        same = np.abs(weights[0] - weights[1][rows][0]).max(1) < SAME_WEIGHT
        shared += bool(same.any())
        below = values[0][same].mean() if same.any() else predicted[rows].mean()
        pairs.append((below, values[1][rows].mean()))
    return np.array(pairs), shared


def _agreement(rung: str, pairs: Array, shared: int, *, noise_sd: float, seed: int) -> Agreement:
    rng = np.random.default_rng(seed)
    draws = [pairs[rng.integers(len(pairs), size=len(pairs))] for _ in range(BOOTSTRAPS)]
    values = np.array([value for draw in draws if not np.isnan(value := spearman(draw))] or [0.0])
    low, high = np.quantile(values, [0.05, 0.95])
    rho = float(np.nan_to_num(spearman(pairs)))  # nan: one of the rungs saw no difference: it says nothing
    least, most = _interval(rho, len(pairs))  # pairs in perfect order stay so however often they are drawn
    low, high = min(float(low), least), max(float(high), most)
    return Agreement(
        rung=rung,
        spearman=rho,
        low=low,
        high=high,
        mixtures=len(pairs),
        shared=shared,
        misleads=high < MISLEADS and _judged(pairs, noise_sd),
    )


def _judged(pairs: Array, noise_sd: float) -> bool:
    """Return whether `pairs` can condemn a rung: none can agree with a top whose own differences are noise."""
    return len(pairs) >= LEAST_JUDGED and noise_sd**2 <= (1.0 - RELIABLE) * float(pairs[:, 1].var(ddof=1))


def _interval(rho: float, count: int) -> tuple[float, float]:
    """Return the 90 % interval of a correlation over so many pairs, by Fisher's transformation; of three, all."""
    half = NORMAL_95 / np.sqrt(count - 3.0) if count > 3 else np.inf
    middle = np.arctanh(np.clip(rho, -0.999, 0.999))
    return float(np.tanh(middle - half)), float(np.tanh(middle + half))


def spearman(pairs: Array) -> float:
    """Return the rank correlation of two columns, `k x 2`; nan where one is constant."""
    ranks = np.stack([rankdata(column) for column in pairs.T])
    centered = ranks - ranks.mean(1, keepdims=True)
    scale = float(np.sqrt((centered[0] ** 2).sum() * (centered[1] ** 2).sum()))
    return float(centered[0] @ centered[1]) / scale if scale > 0.0 else float("nan")
