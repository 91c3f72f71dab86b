"""Report: how good the model is, and whether that can be believed; its card. The page that `evaluate` wrote, in place."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from quickstep.apps.web import model_choice, page_elements
from quickstep.evaluation.rendering import model_card

_FRONT = re.compile(r"\A---\n.*?\n---\n", re.S)
_PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\s*$", re.M)


def page() -> None:
    """The page."""
    page_elements.header("Report", "How good the model is, on videos it has not seen, and whether that can be believed.")
    folder = model_choice.folder()
    report, card = st.tabs(["Evaluation", "Card"])
    with report:
        if folder is None:
            st.info(
                "This model is only in your session: save it on the page Review, then it can be evaluated.", icon=":material/monitoring:"
            )
        else:
            show(folder)
    with card:
        _card(folder)


def show(folder: Path, *, height: int | None = None) -> None:
    """The report of a model's folder, whole."""
    page = folder / "report.html"
    if not page.is_file():
        name = page_elements.plain(model_choice.name_of(folder))
        st.info(f"{name} has not been evaluated yet: `quickstep evaluate` measures it.", icon=":material/monitoring:")
        return
    st.download_button(
        "Download the report",
        page.read_bytes(),
        f"{model_choice.name_of(folder)}.html",
        "text/html",
        on_click="ignore",
        icon=":material/download:",
    )
    st.iframe(page, height="content" if height is None else height, alt=f"The report of {model_choice.name_of(folder)}")


def _card(folder: Path | None) -> None:
    """The model's card, as its folder has it."""
    file = folder / "README.md" if folder is not None else None
    text = file.read_text(encoding="utf-8") if file is not None and file.is_file() else model_card(model_choice.lead())
    with st.container(key="card"):
        st.markdown(_PICTURE.sub("", _FRONT.sub("", text)))
