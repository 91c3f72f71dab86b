"""The page Report: the report that `evaluate` wrote, and the model's card."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from quickstep.apps.web import page_elements, session
from quickstep.evaluation.rendering import model_card

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
_PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\s*$", re.M)


def page() -> None:
    """Show the page."""
    page_elements.header("Report", "How good the model is on videos it was not trained on.")
    folder = session.model_folder()
    report, card = st.tabs(["Evaluation", "Card"])
    with report:
        if folder is None:
            st.info("This model is only in your session: save it on the page Review to evaluate it.", icon=":material/monitoring:")
        else:
            show(folder)
    with card:
        _card(folder)


def show(folder: Path, *, height: int | None = None) -> None:
    """Show the report in a model's folder."""
    page = folder / "report.html"
    if not page.is_file():
        name = page_elements.plain(session.name_of(folder))
        st.info(f"{name} has not been evaluated yet: run `quickstep evaluate`.", icon=":material/monitoring:")
        return
    st.download_button(
        "Download the report",
        page.read_bytes(),
        f"{session.name_of(folder)}.html",
        "text/html",
        on_click="ignore",
        icon=":material/download:",
    )
    st.iframe(page, height="content" if height is None else height, alt=f"The report of {session.name_of(folder)}")


def _card(folder: Path | None) -> None:
    """Show the model's card."""
    file = folder / "README.md" if folder is not None else None
    text = file.read_text(encoding="utf-8") if file is not None and file.is_file() else model_card(session.lead())
    with st.container(key="card"):
        st.markdown(_PICTURE.sub("", _FRONT_MATTER.sub("", text)))
