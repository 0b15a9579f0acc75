"""The mixtures of one search: what they are made of, and what they measured."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import choice, figures, frames, progress, wording
from dashboard.frames import SearchFrames

REFRESH_S = 5
MOST_BARS = 40  # more do not fit on a screen
MOST_MULTIPLES = 12  # small scatters that a reader still compares
COSTLY_EPOCHS = 4.0  # repetition is nearly free up to here (arXiv:2305.16264)


@st.fragment(run_every=REFRESH_S)
def page() -> None:
    """Draw the page; it draws itself again while it is open."""
    view = choice.shown()
    if view is None:
        return
    st.header(f"Mixtures of {view.name}")
    measured = progress.measured(view)
    rungs = [rung for rung in reversed(progress.ladder(view)) if rung in set(measured["rung"])]
    if rungs:
        rung = st.selectbox("Rung", rungs, key="rung", help="Objectives of different rungs cannot be compared.")
        mixtures = progress.by_mixture(view, rung)
        _bars(view, mixtures)
        _ternary(view, mixtures)
        _small_multiples(view, mixtures)
        _epochs(view, mixtures)
    else:
        st.info("No trial has been measured yet.")
    _table(view)


def _bars(view: SearchFrames, mixtures: pd.DataFrame) -> None:
    st.subheader("Sorted by objective")
    shown = mixtures
    if len(mixtures) > MOST_BARS:
        st.caption(f"The best {MOST_BARS} of {len(mixtures)} mixtures; the table below has all.")
        shown = mixtures.head(MOST_BARS)
    st.plotly_chart(figures.mixture_bars(shown, view.domains), key="bars")


def _ternary(view: SearchFrames, mixtures: pd.DataFrame) -> None:
    if len(view.domains) < 3:
        return
    st.subheader("Three domains")
    three = st.multiselect(
        "Corners", view.domains, default=_varied(view, mixtures)[:3], max_selections=3, key="corners"
    )
    if len(three) != 3:
        st.caption("Choose three domains.")
        return
    st.caption("Position: how the tokens of these three are shared. Size: how many of all tokens are theirs.")
    st.plotly_chart(figures.ternary(mixtures, (three[0], three[1], three[2])), key="ternary")


def _small_multiples(view: SearchFrames, mixtures: pd.DataFrame) -> None:
    st.subheader("Weight against objective")
    st.caption(
        "Not importances: weights sum to 1, so a domain may only seem to matter because of what it displaces. "
        "Look for shapes, not for slopes."
    )
    domains = _varied(view, mixtures)[:MOST_MULTIPLES]
    if len(domains) < len(view.domains):
        st.caption(f"The {len(domains)} of {len(view.domains)} domains whose weights vary most.")
    st.plotly_chart(figures.weight_against_objective(mixtures, view.domains, shown=domains), key="multiples")


def _varied(view: SearchFrames, mixtures: pd.DataFrame) -> list[str]:
    variance = mixtures[list(view.domains)].var().fillna(0.0)
    return sorted(view.domains, key=lambda name: -variance[name])


def _epochs(view: SearchFrames, mixtures: pd.DataFrame) -> None:
    st.subheader("Epochs of each domain")
    rows: dict[str, list[float]] = {}
    best = int(mixtures["number"].iloc[0])
    realised = frames.load_trial(choice.location(), view.name, best).epochs
    if realised:
        rows[f"best measured, trial {best}"] = [realised.get(name, 0.0) for name in view.domains]
    chosen = view.recommended
    if chosen is not None:
        at_target = [progress.epochs_at_target(view, chosen.mixture.get(name, 0.0), name) for name in view.domains]
        if not all(pd.isna(at_target)):
            rows["recommended, at the target"] = at_target
    if not rows:
        st.caption("No trial has recorded its epochs yet.")
        return
    st.caption(
        f"How often the text of a domain is read. Right of the line ({COSTLY_EPOCHS:g}) repetition begins to cost."
    )
    st.plotly_chart(figures.epochs(rows, view.domains, limit=COSTLY_EPOCHS), key="epochs")


def _table(view: SearchFrames) -> None:
    st.subheader("Trials")
    columns = st.columns(3)
    chosen = {
        name: box.multiselect(label, sorted(view.trials[name].unique()), key=f"only_{name}", placeholder="all")
        for box, name, label in zip(columns, ("rung", "purpose", "state"), ("Rungs", "Purposes", "States"), strict=True)
    }
    rows = view.trials
    for name, values in chosen.items():
        rows = rows[rows[name].isin(values)] if values else rows
    table = pd.DataFrame(
        {
            "trial": rows.index,
            "state": rows["state"],
            "purpose": rows["purpose"],
            "rung": rows["rung"],
            "seed": rows["seed"],
            "objective": rows["objective"].map(wording.bits),
            "predicted": [
                wording.plus_minus(m, s) for m, s in zip(rows["predicted_mean"], rows["predicted_sd"], strict=True)
            ],
            **{name: view.weights.loc[rows.index, name].map(wording.weight) for name in view.domains},
            "error": rows["error"],
        }
    )
    st.caption(f"{len(table)} of {len(view.trials)} trials")
    st.dataframe(table, hide_index=True, alt="the trials, one row each")


page()
