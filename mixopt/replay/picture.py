"""A replayed search as a picture: one HTML file with nothing to load, regret and rank against charged cost."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mixopt.replay.score import Mean
from mixopt.replay.search import SearchReport, SearchScore

WIDTH, HEIGHT = 520.0, 360.0  # of a panel's plot, in pixels
LEFT, TOP, BELOW, BETWEEN = 70.0, 50.0, 60.0, 90.0
TICKS = 5
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)  # of Okabe and Ito
DASHES = ("", "7 3", "2 3", "9 3 2 3")
DODGE = 2.5  # pixels between the error bars of two strategies at one cost


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """A panel: where costs and values lie, in pixels."""

    left: float
    costs: tuple[float, float]
    values: tuple[float, float]

    def x(self, cost: float) -> float:
        low, high = (math.log10(end) for end in self.costs)
        share = (math.log10(cost) - low) / (high - low) if high > low else 0.5
        return self.left + WIDTH * (0.04 + 0.92 * share)

    def y(self, value: float) -> float:
        low, high = self.values
        share = (min(value, high) - low) / (high - low)
        return TOP + HEIGHT * (1.0 - share)


def picture(report: SearchReport, *, title: str) -> str:
    """Return the HTML file: means over draws, bars of one standard error; costs on a logarithmic axis."""
    names = list(dict.fromkeys(score.strategy for score in report.scores))
    panels = [
        _panel(report.scores, names, lambda s: s.regret, words="regret (loss above the pool's best)", left=LEFT),
        _panel(
            report.scores, names, lambda s: s.rank, words="rank of the pick (1: the best)", left=LEFT + WIDTH + BETWEEN
        ),
    ]
    left = LEFT + 2 * WIDTH + BETWEEN + 30.0
    width, height = left + 190.0, max(TOP + HEIGHT + BELOW, TOP + 22.0 * len(names) + 20.0)
    notes = "".join(f"<li>{html.escape(f'{n} is left out: {why}')}</li>" for n, why in report.left_out.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title></head>\n"
        '<body style="font-family: sans-serif; background: white; color: black">\n'
        f"<h1>{html.escape(title)}</h1>\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(title)}" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" font-size="13">\n'
        + "\n".join([*panels, _legend(names, left)])
        + f"\n</svg>\n<p>Means over draws; bars are one standard error.</p>\n<ul>{notes}</ul>\n</body></html>\n"
    )


def _panel(
    scores: Sequence[SearchScore],
    names: Sequence[str],
    value: Callable[[SearchScore], Mean],
    *,
    words: str,
    left: float,
) -> str:
    costs = [score.cost for score in scores]
    highest = max((value(s).value + _bar(value(s)) for s in scores), default=1.0)
    axes = _Axes(left=left, costs=(min(costs), max(costs)), values=(0.0, 1.05 * highest if highest > 0.0 else 1.0))
    lines = [_frame(axes, sorted(set(costs)), words)]
    for place, name in enumerate(names):
        own = sorted((score for score in scores if score.strategy == name), key=lambda score: score.cost)
        shift = DODGE * (place - 0.5 * (len(names) - 1))
        points = [(axes.x(s.cost) + shift, axes.y(value(s).value), s) for s in own]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        lines.append(f'<polyline points="{path}" fill="none" {_stroke(place)}/>')
        for x, y, score in points:
            mean = value(score)
            top, bottom = axes.y(mean.value + _bar(mean)), axes.y(max(mean.value - _bar(mean), 0.0))
            said = html.escape(f"{name} at {score.cost:g}: {mean.value:.4g} (se {_bar(mean):.2g})")
            lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}" {_stroke(place, "")}/>')
            lines.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{_colour(place)}"><title>{said}</title></circle>'
            )
    return "\n".join(lines)


def _frame(axes: _Axes, costs: Sequence[float], words: str) -> str:
    """Return the axes with their labels: a mark at every cost that was played, five at values."""
    bottom, right = TOP + HEIGHT, axes.left + WIDTH
    parts = [f'<path d="M{axes.left},{TOP} V{bottom} H{right}" fill="none" stroke="black"/>']
    for cost in costs:
        x = axes.x(cost)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}" stroke="black"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{cost:g}</text>')
    for k in range(TICKS + 1):
        value = axes.values[0] + (axes.values[1] - axes.values[0]) * k / TICKS
        y = axes.y(value)
        parts.append(f'<line x1="{axes.left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{axes.left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    middle = axes.left + 0.5 * WIDTH
    parts.append(f'<text x="{middle}" y="{bottom + 45}" text-anchor="middle">charged cost</text>')
    parts.append(f'<text x="{middle}" y="{TOP - 18}" text-anchor="middle">{html.escape(words)}</text>')
    return "\n".join(parts)


def _legend(names: Sequence[str], left: float) -> str:
    parts = []
    for place, name in enumerate(names):
        y = TOP + 22.0 * place
        parts.append(f'<line x1="{left}" x2="{left + 32}" y1="{y}" y2="{y}" {_stroke(place)}/>')
        parts.append(f'<text x="{left + 40}" y="{y + 4}">{html.escape(name)}</text>')
    return "\n".join(parts)


def _bar(mean: Mean) -> float:
    return 0.0 if math.isnan(mean.error) else mean.error


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _stroke(place: int, dash: str | None = None) -> str:
    pattern = DASHES[place // len(COLOURS) % len(DASHES)] if dash is None else dash
    dashed = f' stroke-dasharray="{pattern}"' if pattern else ""
    return f'stroke="{_colour(place)}" stroke-width="2"{dashed}'
