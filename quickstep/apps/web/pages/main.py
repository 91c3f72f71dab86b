"""The script that Streamlit runs for each session and each click: the pages, and errors as sentences.

It lies among the pages: Streamlit would take a folder `pages` beside its script for scripts of their own, and run one alone when the
first visitor after a start opens its address.
"""

from __future__ import annotations

import logging
from pathlib import Path

import streamlit as st

from quickstep.apps.web import page_elements

st.set_page_config(
    page_title="quickstep", page_icon=str(Path(__file__).parents[1] / "icon.png"), layout="wide", initial_sidebar_state="auto"
)
page_elements.style()
page = st.navigation(list(page_elements.pages().values()), position="top")
try:
    with page_elements.errors_shown():
        page.run()
except Exception:
    logging.getLogger("quickstep.apps.web").exception("a page of the app failed")
    st.error("This page failed because of an error in quickstep; the terminal that runs the app shows the details. The other pages work.")
