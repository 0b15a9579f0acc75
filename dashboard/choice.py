"""Which store and which search the screens show: from the command line, the side bar and the address."""

from __future__ import annotations

import argparse
import os
import sys

import streamlit as st

from dashboard import frames
from dashboard.frames import Kept, SearchFrames

KEY = "search"  # of the widget, and in the address
SHOWN = "shown_search"  # the widget's own state is not there while only a part of a page is drawn


def location() -> str:
    """Return the store that the command line names, or MIXOPT_STORE: a path or a database URL."""
    return str(_arguments().store)


def sidebar() -> None:
    """Let the reader choose one of the store's searches; the choice stands in the address as `?search=`."""
    with st.sidebar:
        names = _names()
        if names:
            _choose(names)
        st.caption(f"store: {frames.shown_location(location())} (read only)")


def shown() -> SearchFrames | None:
    """Return the chosen search; None, after saying why, where there is none to show."""
    try:
        if SHOWN in st.session_state:
            name = st.session_state[SHOWN]
            return _kept(location(), name).frames()
        found = frames.searches(location())
    except frames.StoreError as error:
        st.error(str(error))
        return None
    if len(found):  # the first search has begun while the page was open
        st.rerun(scope="app")
    st.info(
        "No search in this store yet. Start one with `mixopt run configs/quickstart.yaml`; this page fills by itself."
    )
    return None


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(location: str, name: str) -> Kept:
    """Return the search that all readers share: pages draw themselves every few seconds."""
    return Kept(location, name)


def _names() -> list[str]:
    try:
        names: list[str] = frames.searches(location())["name"].tolist()
    except frames.StoreError:  # the page says why, in `shown`
        return []
    return names


def _choose(names: list[str]) -> None:
    wanted = st.session_state.get(SHOWN, st.query_params.get(KEY, _arguments().search))
    if KEY not in st.session_state:
        st.session_state[KEY] = wanted if wanted in names else names[0]
    chosen = st.selectbox("Search", names, key=KEY)
    st.session_state[SHOWN] = chosen
    st.query_params[KEY] = chosen


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dashboard", description="Read-only screens on a store of searches.")
    parser.add_argument("--store", default=os.environ.get("MIXOPT_STORE", "mixopt.db"), help="path or database URL")
    parser.add_argument("--search", default=None, help="name of the search to open (default: the newest)")
    return parser.parse_args(sys.argv[1:])
