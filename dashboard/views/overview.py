"""One search at a glance: how far it is, the best so far against its cost, the recommendation and its proof."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from dashboard import around, choice, figures, health, progress, wording
from dashboard.frames import Recommended, SearchFrames

REFRESH_S = 3
ICONS = {"good": ":material/check_circle:", "note": ":material/info:", "warning": ":material/warning:"}


@st.fragment(run_every=REFRESH_S)
def page() -> None:
    """Draw the page; it draws itself again while it is open."""
    view = choice.shown()
    if view is None:
        return
    st.header(view.name)
    st.caption(f"Objective: {_objective(view)}; bits per byte, lower is better. Seed {view.seed}.")
    _metrics(view)
    for hint in health.hints(view, now=datetime.now(UTC)):
        box = {"good": st.success, "note": st.info, "warning": st.warning}[hint.level]
        box(hint.text, icon=ICONS[hint.level])
    _history(view)
    if view.recommended is not None:
        _recommendation(view, view.recommended)
        if view.recommended.around is not None:
            around.draw(view.recommended, view.recommended.around)
    _rungs(view)


def _objective(view: SearchFrames) -> str:
    if view.objective.kind == "worst":
        return "the worst of " + ", ".join(view.objective.sets)
    return "mean of " + ", ".join(f"{name} ({weight:.3g})" for name, weight in view.objective.weights.items())


def _metrics(view: SearchFrames) -> None:
    counts, best = progress.totals(view), progress.best(view)
    chosen = view.recommended
    first = st.columns(3)
    recorded = f"last record {wording.ago(health.last_record(view), now=datetime.now(UTC))}"
    first[0].metric("State", view.state, delta=recorded, delta_color="off", delta_arrow="off", border=True)
    waiting = f"{counts.running} running, {counts.queued} queued, {counts.failed} failed"
    first[1].metric("Trials done", counts.done, delta=waiting, delta_color="off", delta_arrow="off", border=True)
    share = counts.spent_flops / view.budget_flops
    spent = f"{wording.percent(share)} of {wording.flops(view.budget_flops)}"
    first[2].metric(
        "FLOPs spent", wording.flops(counts.spent_flops), delta=spent, delta_color="off", delta_arrow="off", border=True
    )
    second = st.columns(3)
    lowest = "-" if best is None else wording.bits(best.objective)
    second[0].metric(
        "Best observed (bits per byte)",
        lowest,
        delta=health.best_line(best),
        delta_color="off",
        delta_arrow="off",
        border=True,
    )
    predicted = "-" if chosen is None else wording.bits(chosen.mean)
    against = "none yet" if chosen is None else f"sd {chosen.sd:.4f}; natural {wording.bits(chosen.natural_mean)}"
    second[1].metric(
        "Recommended, predicted", predicted, delta=against, delta_color="off", delta_arrow="off", border=True
    )
    sure = "-" if chosen is None else wording.percent(chosen.beats_natural)
    proved = {None: "not proved yet", True: "proof holds", False: "proof fails"}[
        None if chosen is None else chosen.holds
    ]
    second[2].metric(
        "Beats natural, probability", sure, delta=proved, delta_color="off", delta_arrow="off", border=True
    )


def _history(view: SearchFrames) -> None:
    st.subheader("Best so far")
    rows = progress.measured(view)
    if rows.empty:
        st.caption("No trial has been measured yet.")
        return
    st.caption(
        "Each point is a trial when it finished; the line is the lowest objective so far at its rung. "
        "Each rung has its own scale: a longer training lowers every loss, so compare within a rung only."
    )
    st.plotly_chart(figures.best_so_far(rows, progress.ladder(view)), key="history")


def _recommendation(view: SearchFrames, chosen: Recommended) -> None:
    st.subheader("Recommended mixture")
    named = {"recommended": chosen.mixture}
    rivals = chosen.proof.iloc[1:]  # the recommended mixture stands first
    named |= {str(row["name"]): row["mixture"] for _, row in rivals.iterrows()}
    bars = pd.DataFrame(
        [{"label": name, **{d: mixture.get(d, 0.0) for d in view.domains}} for name, mixture in named.items()]
    )
    bars["objective"] = [chosen.mean, *rivals["predicted_mean"]]
    st.caption("Beside each name: the loss predicted at the top rung.")
    st.plotly_chart(figures.mixture_bars(bars, view.domains), key="recommended")
    if chosen.proof.empty:
        st.caption("The proof (recommended mixture and rivals trained with the same seeds) has not been run yet.")
        return
    st.subheader("Proof")
    st.caption(
        "Trained at the top rung with the same seeds, measured on text that the search has not looked at. "
        "An interval (95 %) that lies wholly right of 0: the recommended mixture is better, outside the noise."
    )
    st.plotly_chart(figures.proof(chosen.proof), key="proof")
    st.dataframe(_proof_table(chosen.proof), hide_index=True, alt="the proof, one row a mixture")


def _proof_table(proof: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "mixture": wording.short(str(row["name"])),
            "predicted": wording.plus_minus(row["predicted_mean"], row["predicted_sd"]),
            "measured": wording.plus_minus(row["measured"], row["standard_error"]),
            "rival - recommended": wording.signed(row["difference"]),
            "95 % interval": wording.interval(row["difference_low"], row["difference_high"]),
            "beats natural": wording.percent(row["beats_natural"]),
            "seeds": row["seeds"],
        }
        for _, row in proof.iterrows()
    ]
    return pd.DataFrame(rows)


def _rungs(view: SearchFrames) -> None:
    st.subheader("Rungs")
    table = progress.by_rung(view)
    agreement = {} if view.recommended is None else _agreements(view.recommended.agreement)
    rows = [
        {
            "rung": row["rung"],
            "done": row["done"],
            "running or queued": row["running"],
            "failed": row["failed"],
            "FLOPs charged": wording.flops(row["charged_flops"]),
            "share of spent": wording.percent(row["share"]),
            "time a trial": wording.duration(row["mean_s"]),
            "best objective": wording.bits(row["best"]),
            "rank agreement with top": agreement.get(row["rung"], "-"),
        }
        for _, row in table.iterrows()
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="progress, one row a rung")


def _agreements(rows: pd.DataFrame) -> dict[str, str]:
    return {str(r["rung"]): f"{r['spearman']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for _, r in rows.iterrows()}


page()
