"""Entry of the dashboard: `streamlit run dashboard/app.py -- --store mixopt.db [--search name]`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import choice

PAGES = Path(__file__).parent / "pages"

st.set_page_config(page_title="mixopt", layout="wide")
page = st.navigation(
    [
        st.Page(PAGES / "overview.py", title="Overview", default=True),
        st.Page(PAGES / "mixtures.py", title="Mixtures"),
        st.Page(PAGES / "trial.py", title="Trial"),
    ]
)
choice.sidebar()
page.run()
