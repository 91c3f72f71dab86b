"""The page Report: the report that `evaluate` wrote, and the model's card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import streamlit as st

from quickstep.apps.web import page_elements, session
from quickstep.evaluation.rendering import html, model_card
from quickstep.evaluation.report import Report
from quickstep.types.errors import ModelError

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


_JS = """export default function(component) {
  const place = component.parentElement.querySelector('.report');
  place.innerHTML = `<style>${component.data.style}</style>${component.data.content}`;
}"""
_component: Any = None


def _mount() -> Any:
    """Return the component that shows a page of ours; register it when it is first used."""
    global _component
    if _component is None:
        _component = st.components.v2.component("quickstep_report", html='<div class="report"></div>', js=_JS)
    return _component


def show(folder: Path) -> None:
    """Show the report in a model's folder."""
    if not (folder / "report.json").is_file():
        name = page_elements.plain(session.name_of(folder))
        st.info(f"{name} has not been evaluated yet: run `quickstep evaluate`.", icon=":material/monitoring:")
        return
    try:  # the numbers alone: a page in somebody's model folder may hold scripts
        report = Report.load(folder)
    except ModelError as error:
        st.error(page_elements.plain(str(error)), icon=":material/error:")
        return
    st.download_button(
        "Download the report",
        html.page(report),
        f"{session.name_of(folder)}.html",
        "text/html",
        on_click="ignore",
        icon=":material/download:",
    )
    style, content = html.embedded(report)
    _mount()(key=f"report-{session.name_of(folder)}", data={"style": style, "content": content})


def _card(folder: Path | None) -> None:
    """Show the model's card."""
    file = folder / "README.md" if folder is not None else None
    text = file.read_text(encoding="utf-8") if file is not None and file.is_file() else model_card(session.lead())
    with st.container(key="card"):
        st.markdown(_PICTURE.sub("", _FRONT_MATTER.sub("", text)))
