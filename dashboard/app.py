"""Entry of the dashboard: `streamlit run dashboard/app.py -- --store mixopt.db [--search name]`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import choice

# Not "pages": Streamlit would serve a folder of that name by itself to whoever opens a deep link first.
VIEWS = Path(__file__).parent / "views"

st.set_page_config(page_title="mixopt", layout="wide")
page = st.navigation(
    [
        st.Page(VIEWS / "overview.py", title="Overview", default=True),
        st.Page(VIEWS / "mixtures.py", title="Mixtures"),
        st.Page(VIEWS / "trial.py", title="Trial"),
        st.Page(VIEWS / "provenance.py", title="Provenance"),
    ]
)
choice.sidebar()
page.run()
