"""Where the results of one search come from: its configurations, and who ran it with what."""

from __future__ import annotations

import streamlit as st

from dashboard import choice, frames, wording

REFRESH_S = 10


@st.fragment(run_every=REFRESH_S)
def page() -> None:
    """Draw the page; it draws itself again while it is open."""
    view = choice.shown()
    if view is None:
        return
    known = frames.load_provenance(choice.location(), view.name)
    st.header(f"Provenance of {view.name}")
    st.subheader("Configurations")
    st.caption("What the file said, and from when on. Trials stand with the results of their own time.")
    revisions = known.revisions.assign(since=known.revisions["since"].map(wording.moment))
    st.dataframe(revisions, hide_index=True, alt="configurations, one row each")
    st.subheader("Drivers")
    if known.sessions.empty:
        st.caption(
            "No driver has run this search: its trials were imported or told, or ran before drivers were recorded."
        )
        return
    st.caption("Every start of the search: the machine, its workers, the code's revision, and the packages.")
    sessions = known.sessions.assign(since=known.sessions["since"].map(wording.moment))
    st.dataframe(sessions, hide_index=True, alt="drivers, one row each")


page()
