"""One trial: why it was proposed, what was predicted, and what came of it."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from dashboard import choice, figures, frames, wording
from dashboard.frames import SearchFrames, TrialFrames

REFRESH_S = 5
KEY = "trial"


@st.fragment(run_every=REFRESH_S)
def page() -> None:
    """Draw the page; it draws itself again while it is open."""
    view = choice.shown()
    if view is None:
        return
    if view.trials.empty:
        st.info("This search has no trial yet.")
        return
    number = _chosen(view)
    detail = frames.load_trial(choice.location(), view.name, number)
    row = view.trials.loc[[number]].iloc[0]
    st.header(f"Trial {number} of {view.name}")
    _facts(row)
    left, right = st.columns(2)
    with left:
        _losses(view, detail)
    with right:
        _weights(view, detail)
    _curve(detail)
    _usage(detail)
    _attempts(detail)
    _details(detail)


def _chosen(view: SearchFrames) -> int:
    numbers = [int(number) for number in view.trials.index]
    wanted = st.session_state.get(KEY, _from_address())
    st.session_state[KEY] = wanted if wanted in numbers else numbers[-1]
    number = st.selectbox("Trial", numbers, key=KEY)
    st.query_params[KEY] = str(number)
    return int(number)


def _from_address() -> int:
    text = st.query_params.get(KEY, "")
    return int(text) if text.isdecimal() else -1


def _facts(row: pd.Series) -> None:
    facts = st.columns([1.4, 1, 1.2, 1])
    facts[0].metric("State", str(row["state"]), border=True)
    facts[1].metric("Rung", str(row["rung"]), border=True)
    facts[2].metric("Objective (bits per byte)", wording.bits(row["objective"]), border=True)
    facts[3].metric("FLOPs charged", wording.flops(row["charged_flops"]), border=True)
    predicted = wording.plus_minus(row["predicted_mean"], row["predicted_sd"])
    st.caption(
        f"Purpose: {row['purpose']}. Seed {row['seed']}. Measured on the part of the text for the {row['part']}. "
        f"Trained for {wording.duration(row['elapsed_s'])}. Predicted when it was proposed: {predicted}."
    )
    if row["reason"]:
        st.caption(f"Why: {row['reason']}")
    if row["error"]:
        st.error(str(row["error"]))


def _losses(view: SearchFrames, detail: TrialFrames) -> None:
    st.subheader("Losses")
    measured = view.losses.loc[[detail.number]].iloc[0].dropna()
    if measured.empty:
        st.caption("Nothing measured.")
        return
    table = pd.DataFrame(
        {
            "evaluation set": measured.index,
            "measured": measured.map(wording.bits).tolist(),
            "predicted": [
                wording.plus_minus(*detail.predicted[name]) if name in detail.predicted else "-"
                for name in map(str, measured.index)
            ],
            "in the objective": ["yes" if name in view.objective.sets else "" for name in map(str, measured.index)],
        }
    )
    st.dataframe(table, hide_index=True, alt="losses, one row an evaluation set")


def _weights(view: SearchFrames, detail: TrialFrames) -> None:
    st.subheader("Mixture")
    epochs = [detail.epochs.get(name, math.nan) for name in view.domains]
    table = pd.DataFrame(
        {
            "domain": view.domains,
            "weight": view.weights.loc[[detail.number]].iloc[0].map(wording.weight).tolist(),
            "epochs": [wording.bits(value, digits=2) for value in epochs],
        }
    )
    st.dataframe(table, hide_index=True, alt="the mixture, one row a domain")


def _curve(detail: TrialFrames) -> None:
    st.subheader("Training")
    if detail.curve.empty:
        st.caption("No curve recorded.")
        return
    st.plotly_chart(figures.curve(detail.curve), key="curve")


def _usage(detail: TrialFrames) -> None:
    if not detail.usage:
        return
    st.subheader("Which routed experts a domain's tokens use")
    evenly = wording.percent(1 / len(detail.usage[0].columns))
    st.caption(
        "Every token is sent to some of a layer's routed experts. A row says where those of one domain go, in percent, "
        f"once the proxy is trained; it sums to 100, or to 0 where no expert was chosen. Used evenly, each would have "
        f"{evenly}. Domains whose rows are alike look alike to the model."
    )
    st.plotly_chart(figures.expert_usage(detail.usage), key="usage")


def _attempts(detail: TrialFrames) -> None:
    if detail.attempts.empty:
        return
    st.subheader("Attempts")
    found = detail.attempts
    table = found.assign(
        elapsed_s=found["elapsed_s"].map(wording.duration),
        started_at=found["started_at"].map(wording.moment),
        ended_at=["-" if pd.isna(moment) else wording.moment(moment) for moment in found["ended_at"]],
        spent=found["spent"].map(wording.flops),
    )
    names = {"started_at": "start", "ended_at": "end", "elapsed_s": "took", "spent": "FLOPs"}
    st.dataframe(table.astype(str).rename(columns=names), hide_index=True, alt="attempts, one row each")


def _details(detail: TrialFrames) -> None:
    if detail.details:
        st.caption("The run: " + ", ".join(f"{key} {value}" for key, value in detail.details.items()) + ".")


page()
