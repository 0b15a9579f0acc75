"""What is known around a recommendation, as parts of a page."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import figures, wording
from dashboard.frames import Around, AtTarget, Recommended


def draw(chosen: Recommended, around: Around) -> None:
    """Draw whether to go on, what is predicted at the target, and what domains do."""
    advice = sentence(around)
    (st.success if around.advice == "stop" else st.info)(advice, icon=":material/timeline:")
    if around.target is not None:
        _target(chosen, around.target)
    st.subheader("What domains do")
    st.caption(
        "One percentage point more of a domain, taken from the others in proportion: the change of the objective at "
        "the top rung, with two standard deviations. Left of 0 the loss falls. The table has the weights between which "
        "a mixture does as well within the noise, and the change of every evaluation set."
    )
    st.plotly_chart(figures.effects(around.effects), key="effects")
    st.dataframe(_table(around.effects, chosen), hide_index=True, alt="what domains do, one row each")
    for place, example in enumerate(around.examples, 1):
        largest = sorted(example.items(), key=lambda pair: -pair[1])
        shown = ", ".join(f"{name} {wording.percent(weight)}" for name, weight in largest if weight > 0.0)
        st.caption(f"As good within the noise ({place}): {shown}")


def sentence(around: Around) -> str:
    """Return in words what there is still to gain, by which trial, and whether to go on."""
    said = f"Still to gain, as expected: {around.to_gain:.2g} bits per byte"
    if around.rung is None:
        return f"{said}; advice: stop, no trial promises a gain."
    return (
        f"{said}; the trial that would help most is at rung {around.rung}, {around.gain_for_top_cost:.2g} for what one "
        f"at the top costs. Advice: {around.advice}."
    )


def _target(chosen: Recommended, target: AtTarget) -> None:
    st.subheader("At your target")
    rows = [
        ("top rung", chosen.mean, chosen.sd, chosen.natural_mean, chosen.natural_sd, chosen.beats_natural),
        ("target", target.mean, target.sd, target.natural_mean, target.natural_sd, target.beats_natural),
    ]
    table = pd.DataFrame(
        [
            {
                "as predicted": name,
                "recommended": wording.plus_minus(mean, sd),
                "natural": wording.plus_minus(natural, natural_sd),
                "beats natural": wording.percent(sure),
            }
            for name, mean, sd, natural, natural_sd, sure in rows
        ]
    )
    st.dataframe(table, hide_index=True, alt="predictions at the top rung and at the target")
    for doubt in target.doubts:
        st.caption(f"In doubt: {doubt}")


def _table(effects: pd.DataFrame, chosen: Recommended) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "domain": effects["domain"],
            "recommended": [wording.weight(chosen.mixture.get(name, 0.0)) for name in effects["domain"]],
            "as good from": effects["low"].map(wording.weight),
            "to": effects["high"].map(wording.weight),
        }
    )
    sets = [str(column) for column in effects.columns if str(column).startswith("on ")]
    return table.assign(**{name: effects[name].map(wording.signed) for name in sets})
