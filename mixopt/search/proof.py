"""The proof: the recommended mixture and its plain rivals, measured on fresh seeds and on text not looked at before."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from mixopt.evidence import Prediction
from mixopt.mixture import Mixture
from mixopt.optimize.heuristics import unimax
from mixopt.problem import Problem

CONFIDENCE = 0.95
SAME = 5e-3  # total variation below which two mixtures are one: half a percent of the tokens
MUST_BEAT = ("natural", "uniform", "unimax")


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A mixture that the proof trains; `names` are all the rivals that it stands for.

    allowed: False where the search's constraints forbid it: a reference, never recommended.
    """

    names: tuple[str, ...]
    mixture: Mixture
    allowed: bool

    @property
    def label(self) -> str:
        """The names as one: "uniform = unimax"."""
        return " = ".join(self.names)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One mixture of the proof, in bits per byte of the objective.

    measured, standard_error: mean over seeds; difference: mean over paired seeds of this mixture's loss less the
    recommended one's (positive: the recommended one is better), with its two-sided 95 % t interval;
    beats_natural: probability that its mean loss is below the natural mixture's (paired t).
    None where the seeds do not suffice.
    """

    name: str
    mixture: Mapping[str, float]
    allowed: bool
    predicted_mean: float | None
    predicted_sd: float | None
    measured: float | None
    standard_error: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    beats_natural: float | None
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The rows, the recommended mixture first; whether its claim holds, and that in words."""

    rows: tuple[Row, ...]
    holds: bool
    verdict: str
    best_measured: str

    def plain(self) -> dict[str, object]:
        """Return the proof as JSON holds it."""
        return asdict(self)


def rivals(problem: Problem, recommended: Mixture, *, wanted: Sequence[str], single: str) -> list[Rival]:
    """Return the recommended mixture and the `wanted` rivals, mixtures that are the same on one row.

    single: the best single domain, as far as the search has seen.
    """
    return _merged(problem, [("recommended", recommended), *_plain(problem, wanted, single)])


def most_rivals(problem: Problem, *, wanted: Sequence[str]) -> int:
    """Return the rows of the proof where the recommended mixture is none of its rivals."""
    return 1 + len(_merged(problem, _plain(problem, wanted, problem.space.names[-1])))


def lasting(problem: Problem, *, wanted: Sequence[str]) -> set[Mixture]:
    """Return the rivals that are the same whatever is recommended: all but the single domain."""
    single = problem.space.names[-1]
    return {mixture for name, mixture in _plain(problem, [each for each in wanted if each != "single"], single)}


def _plain(problem: Problem, wanted: Sequence[str], single: str) -> list[tuple[str, Mixture]]:
    """Return the `wanted` plain mixtures under the names that people know them by."""
    names = problem.space.names
    candidates = {
        "natural": ("natural", problem.natural),
        "uniform": ("uniform", Mixture(dict.fromkeys(names, 1.0 / len(names)))),
        "unimax": ("unimax", unimax(problem.available_tokens, tokens=problem.tokens, max_epochs=problem.max_epochs)),
        "single": (f"{single} alone", Mixture({name: float(name == single) for name in names})),
    }
    return [named for name, named in candidates.items() if name in wanted]


def _merged(problem: Problem, candidates: Sequence[tuple[str, Mixture]]) -> list[Rival]:
    """Return a rival for every different mixture, with all the names it goes by."""
    rows: list[tuple[list[str], Mixture]] = []
    for name, mixture in candidates:
        twin = next((row for row in rows if row[1].distance(mixture) < SAME), None)
        if twin is None:
            rows.append(([name], mixture))
        else:
            twin[0].append(name)
    return [Rival(names=tuple(names), mixture=mixture, allowed=mixture in problem.space) for names, mixture in rows]


def prove(
    entries: Sequence[Rival],
    losses: Sequence[Mapping[int, float]],
    predicted: Sequence[Prediction | None],
) -> Proof:
    """Return the proof from `losses` of every rival by seed; the first entry is the recommended mixture."""
    natural = next((row for rival, row in zip(entries, losses, strict=True) if "natural" in rival.names), None)
    rows = tuple(
        _row(rival, row, losses[0], natural, guess)
        for rival, row, guess in zip(entries, losses, predicted, strict=True)
    )
    failed = _unproven(entries, rows)
    best = _best_measured(rows)
    if not failed:
        return Proof(rows=rows, holds=True, verdict=_success(entries, rows), best_measured=best or rows[0].name)
    verdict = "not proven: " + "; ".join(failed) + f"; best measured: {best or 'nothing'}"
    return Proof(rows=rows, holds=False, verdict=verdict, best_measured=best or rows[0].name)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, float, float, float] | None:
    """Return mean, low and high (95 % t interval) of a - b over shared seeds, and P(a's mean is below b's).

    None with fewer than two shared seeds.
    """
    seeds = sorted(set(a) & set(b))
    if len(seeds) < 2:
        return None
    differences = np.array([a[seed] - b[seed] for seed in seeds])
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / len(seeds) ** 0.5
    if error == 0.0:
        return mean, mean, mean, float(mean < 0.0) if mean else 0.5
    degrees = len(seeds) - 1
    margin = float(stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)) * error
    return mean, mean - margin, mean + margin, float(stats.t.cdf(-mean / error, degrees))


def _row(
    rival: Rival,
    losses: Mapping[int, float],
    recommended: Mapping[int, float],
    natural: Mapping[int, float] | None,
    predicted: Prediction | None,
) -> Row:
    values = np.array(list(losses.values()))
    against = None if losses is recommended else paired(losses, recommended)
    with_natural = None if natural is None or losses is natural else paired(losses, natural)
    return Row(
        name=rival.label,
        mixture=dict(rival.mixture),
        allowed=rival.allowed,
        predicted_mean=predicted.mean if predicted else None,
        predicted_sd=predicted.sd if predicted else None,
        measured=float(values.mean()) if len(values) else None,
        standard_error=float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None,
        difference=against[0] if against else None,
        difference_low=against[1] if against else None,
        difference_high=against[2] if against else None,
        beats_natural=with_natural[3] if with_natural else None,
        seeds=len(values),
    )


def _unproven(entries: Sequence[Rival], rows: Sequence[Row]) -> list[str]:
    """Return, in words, every allowed rival against which the recommended mixture's claim does not stand."""
    pairs = zip(entries[1:], rows[1:], strict=True)
    found = [f"against {row.name} {doubt}" for rival, row in pairs if rival.allowed and (doubt := _doubt(rival, row))]
    found += [f"the recommended mixture is the {name} one" for name in MUST_BEAT if name in entries[0].names]
    if not found and not any(rival.allowed and set(rival.names) & set(MUST_BEAT) for rival in entries[1:]):
        found.append("the constraints allow none of the rivals that it would have to beat")
    return found


def _doubt(rival: Rival, row: Row) -> str | None:
    """Return why the recommended mixture is not shown to do as well as it must against `rival`; None where it is.

    It must beat natural, uniform and UniMax outside the noise, and not be worse than a single domain outside of it.
    """
    if row.difference is None or row.difference_low is None or row.difference_high is None:
        return f"too few seeds finished to compare ({row.seeds})"
    interval = f"{row.difference:+.4f} ({row.difference_low:+.4f} to {row.difference_high:+.4f}) bits per byte"
    if row.difference_high < 0.0:
        return f"it is worse: {interval}"
    if set(rival.names) & set(MUST_BEAT) and row.difference_low <= 0.0:
        return f"the difference is within the noise: {interval}"
    return None


def _best_measured(rows: Sequence[Row]) -> str | None:
    """Return the name of the allowed row of lowest measured loss; None where none was measured."""
    measured = [(row.measured, row.name) for row in rows if row.allowed and row.measured is not None]
    return min(measured)[1] if measured else None


def _success(entries: Sequence[Rival], rows: Sequence[Row]) -> str:
    """Return, in words, what was shown: who is beaten outside the noise, who is not, and who is only a reference."""
    pairs = list(zip(entries[1:], rows[1:], strict=True))
    clear = [
        row for rival, row in pairs if rival.allowed and row.difference_low is not None and row.difference_low > 0.0
    ]
    verdict = "proven: the recommended mixture beats " + ", ".join(
        f"{row.name} by {row.difference:.4f}" for row in clear
    )
    verdict += " bits per byte"
    close = [row.name for rival, row in pairs if rival.allowed and row not in clear]
    forbidden = [f"{row.name} ({doubt})" for rival, row in pairs if not rival.allowed and (doubt := _doubt(rival, row))]
    return (
        verdict
        + ("; not told apart from: " + ", ".join(close) if close else "")
        + ("; for reference, not beaten but not allowed: " + ", ".join(forbidden) if forbidden else "")
    )
