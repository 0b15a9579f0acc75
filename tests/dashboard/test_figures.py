"""Figures show the numbers of their frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard import figures, frames, palette, progress, wording
from dashboard.frames import SearchFrames


@pytest.fixture
def view(filled: Path) -> SearchFrames:
    return frames.load(str(filled), "quickstart")


def table(d: int, n: int = 5) -> pd.DataFrame:
    weights = np.random.default_rng(0).dirichlet(np.ones(d), n)
    frame = pd.DataFrame(weights, columns=[f"domain-{place:02d}" for place in range(d)])
    return frame.assign(label=[f"#{number}" for number in range(n)], objective=np.linspace(1, 2, n))


@pytest.mark.parametrize("d", [1, 7, 40])
def test_bars_of_every_mixture_sum_to_one(d: int) -> None:
    mixtures = table(d)
    figure = figures.mixture_bars(mixtures, list(mixtures.columns[:d]))
    assert np.sum([trace.x for trace in figure.data], axis=0) == pytest.approx(np.ones(5))
    assert len(figure.data) == min(d, figures.MOST_COLORS + 1)


def test_a_domain_keeps_its_colour_whatever_is_left_out() -> None:
    mixtures = table(40)
    domains = list(mixtures.columns[:40])
    shown = {trace.name: trace.marker.color for trace in figures.mixture_bars(mixtures, domains).data[:-1]}
    colors = dict(zip(domains, palette.colors(40), strict=True))
    assert shown == {name: colors[name] for name in shown}


@pytest.mark.parametrize("n", [1, 10, 48])
def test_colours_are_all_different(n: int) -> None:
    assert len(set(palette.colors(n))) == n


def test_ternary_coordinates_sum_to_one_and_skip_mixtures_outside_of_it() -> None:
    mixtures = table(5)
    mixtures.loc[0, ["domain-00", "domain-01", "domain-02"]] = 0.0
    trace = figures.ternary(mixtures, ("domain-00", "domain-01", "domain-02")).data[0]
    assert np.asarray(trace.a) + np.asarray(trace.b) + np.asarray(trace.c) == pytest.approx(np.ones(4))


def test_the_history_has_every_measured_trial_once(view: SearchFrames) -> None:
    rows = progress.measured(view)
    figure = figures.best_so_far(rows, progress.ladder(view))
    points = [y for trace in figure.data if trace.mode == "markers" for y in trace.y]
    assert sorted(points) == sorted(rows["objective"])


def test_the_proof_colours_what_the_interval_says(view: SearchFrames) -> None:
    assert view.recommended is not None
    trace = figures.proof(view.recommended.proof).data[0]
    assert dict(zip(trace.y, trace.marker.color, strict=True)) == {
        "natural": palette.GOOD,
        "uniform": palette.GOOD,
        "unimax": palette.GOOD,
        "only docs": palette.NEUTRAL,
    }


@pytest.mark.parametrize("d", [1, 4, 5, 40])
def test_small_multiples_have_one_panel_a_domain(d: int) -> None:
    mixtures = table(d)
    assert len(figures.weight_against_objective(mixtures, list(mixtures.columns[:d])).data) == d


@pytest.mark.parametrize(("layers", "experts"), [(1, 8), (3, 16), (5, 56)])
def test_the_use_of_routed_experts_has_one_panel_a_layer_with_its_shares(layers: int, experts: int) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(experts), (layers, 7))
    names = [f"domain-{place}" for place in range(7)]
    figure = figures.expert_usage([pd.DataFrame(each, index=names, columns=range(1, experts + 1)) for each in shares])
    assert np.array([trace.z for trace in figure.data]).tolist() == shares.tolist()
    assert {tuple(trace.y) for trace in figure.data} == {tuple(names)}
    assert [title.text for title in figure.layout.annotations][-1] == f"layer {layers} of {layers}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.9999, ">99 %"), (0.001, "<1 %"), (0.5, "50 %"), (float("nan"), "-")],
)
def test_percent_never_claims_certainty(value: float, text: str) -> None:
    assert wording.percent(value) == text


@pytest.mark.parametrize(
    ("elapsed_s", "text"), [(4.21, "4.2 s"), (42.0, "42 s"), (185.0, "3 min 5 s"), (7_800.0, "2 h 10 min")]
)
def test_durations_read_as_people_say_them(elapsed_s: float, text: str) -> None:
    assert wording.duration(elapsed_s) == text


def test_names_that_are_cut_still_differ_at_their_ends() -> None:
    names = [f"a-rather-long-name-of-a-domain-{place:02d}" for place in range(40)]
    assert len({wording.short(name) for name in names}) == 40
    assert max(len(wording.short(name)) for name in names) == wording.LONGEST_NAME
