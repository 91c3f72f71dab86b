"""The second half of the page Teach: check a dataset of this machine, choose a preset, watch the progress, read the report."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from quickstep.apps.web import formatting, page_elements, session
from quickstep.apps.web.folder_browser import choose_folder, forget_folder
from quickstep.apps.web.formatting import Tone, counted
from quickstep.apps.web.job_progress import watch
from quickstep.apps.web.jobs import Job, Jobs
from quickstep.apps.web.pages import report
from quickstep.datasets.audit import Audit, check
from quickstep.datasets.manifest import read_manifest
from quickstep.storage.model_folder import RECORD
from quickstep.training.recipes import open_recipe, recipe_names

CHOICES = ("fast", "balanced", "best")
TONES: dict[str, Tone] = {"error": "warn", "warning": "care", "note": "note"}
MOST_FINDINGS = 12


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """Return the app's jobs."""
    return Jobs()


def section() -> None:
    """Show the part of the page."""
    latest = jobs().latest
    if latest is not None and latest.running:
        watch("Training", jobs())
        return
    if latest is not None:
        _ended(latest)
    st.markdown("A folder of labelled videos on the app's machine, with one folder a class, or a csv that lists them.")
    data = choose_folder("train on", with_lists=True)
    if data is None:
        return
    audit = page_elements.remembered(f"audit {data} {_stamp(data)}", lambda: _check(data))
    _show_findings(audit)
    _choose_preset(data)


def _check(data: Path) -> Audit:
    with page_elements.bar("Checking the videos") as progress:
        return check(read_manifest(data), cache=session.cache(), progress=progress)


def _show_findings(audit: Audit) -> None:
    """Show the size of the dataset and its problems."""
    st.subheader("The dataset", anchor=False)
    st.markdown(
        f"{counted(audit.segments, 'segment')} of {counted(len(audit.labels), 'class', 'classes')} in {counted(audit.videos, 'video')} "
        f"({audit.seconds / 60:.1f} minutes), {audit.readable} readable."
    )
    most = max(audit.labels.values(), default=1)
    with st.expander("Segments a class", expanded=len(audit.labels) <= 8):
        st.html(formatting.counts(audit.labels, most))
    if not audit.findings:
        st.html(formatting.verdict("No problems found.", "good"))
    sentences = [(_sentence(finding.sentence), TONES[finding.severity]) for finding in audit.findings[:MOST_FINDINGS]]
    if sentences:
        st.html("".join(formatting.verdict(text, tone) for text, tone in sentences))
    if len(audit.findings) > MOST_FINDINGS:
        st.caption(f"and {len(audit.findings) - MOST_FINDINGS} more: `quickstep check` lists them all")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _choose_preset(data: Path) -> None:
    """Ask for the preset and the name of the model, and start the training."""
    st.subheader("Train", anchor=False)
    presets = [name for name in CHOICES if name in recipe_names()]
    recipe = st.segmented_control("Preset", presets, default=presets[0], required=True, key="recipe")
    st.caption(page_elements.plain(_sentence(open_recipe(recipe).about)))
    with st.form("train", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the model", value=data.stem if data.is_file() else data.name, key="model name").strip()
        begin = st.form_submit_button("Train", type="primary", icon=":material/model_training:")
    if not begin:
        return
    if not name or Path(name).name != name or name.startswith((".", "-")):
        st.error("The name of a model is a plain word, such as dances.")
        return
    out = (session.started().config.out / name).absolute()
    verb = open_recipe(recipe).verb
    result = out / session.BEST if verb == "tune" else out
    if (result / RECORD).exists():
        st.error(f"A model {page_elements.plain(name)} exists already; choose another name.")
        return
    cache = ("--cache", str(session.started().cache)) if session.started().cache else ()
    commands = [[verb, str(data), "-o", str(out), "--recipe", recipe, *cache], ["evaluate", str(result), *cache]]
    if not jobs().begin(Job(f"{name} ({recipe})", commands, result)):
        st.error("Another model is being trained; wait until it is finished.")
        return
    st.rerun()


def _ended(job: Job) -> None:
    """Show the result of a job that ended."""
    if job.stopped:
        st.info("Stopped. What was computed is kept: the same training resumes.", icon=":material/stop_circle:")
    elif job.status:
        st.error(f"{page_elements.plain(job.title)}: {page_elements.plain(job.message)}", icon=":material/error:")
        with st.expander("Log"):
            st.code("\n".join(job.log[-60:]), language=None)
    else:
        st.success(f"{page_elements.plain(job.title)} is trained.", icon=":material/done_all:")
        with st.container(horizontal=True):
            if st.button("Try it", type="primary", icon=":material/play_circle:"):
                st.session_state["chosen"] = session.name_of(job.result)
                st.switch_page(page_elements.pages()["try"])
            again = st.button("Train another", icon=":material/add:")
        if again:
            jobs().latest = None
            forget_folder("train on")
            st.rerun()
        report.show(job.result)
        st.stop()


def _stamp(data: Path) -> float:
    return data.stat().st_mtime
