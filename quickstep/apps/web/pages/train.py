"""Train: a folder of this machine, what is wrong with it, how thorough to be; progress with the time left; the report in place."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from quickstep.apps.web import html_fragments, model_choice, page_elements, session
from quickstep.apps.web.confidence_words import Tone, some
from quickstep.apps.web.jobs import Job, Jobs
from quickstep.apps.web.pages import report
from quickstep.datasets.audit import Audit, check
from quickstep.datasets.manifest import read_manifest
from quickstep.storage.model_folder import RECORD
from quickstep.training.recipes import open_recipe, recipe_names

CHOICES = ("fast", "balanced", "best")
TONES: dict[str, Tone] = {"error": "warn", "warning": "care", "note": "note"}
MOST = 12  # findings


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """The app's jobs."""
    return Jobs()


def page() -> None:
    """The page."""
    page_elements.header("Train", "Name a folder of labelled videos on this machine: one folder per move, or a csv that lists them.")
    latest = jobs().latest
    if latest is not None and latest.running:
        _watch()
        return
    if latest is not None:
        _ended(latest)
    with st.form("data", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        named = st.text_input("Folder or csv", key="data folder", placeholder="DANCES")
        looked = st.form_submit_button("Look at it", icon=":material/fact_check:")
    roots = ", ".join(str(root) for root in session.started().roots)
    st.caption(f"It lies in {page_elements.plain(roots)}: only what is there may be used.")
    if looked:
        st.session_state["audited"] = str(session.started().allowed(named))
    if "audited" in st.session_state:
        data = Path(st.session_state["audited"])
        audit = page_elements.remembered(f"audit {data} {_stamp(data)}", lambda: _audit(data))
        _show(audit)
        _choose(data)


def _audit(data: Path) -> Audit:
    with page_elements.bar("Looking at the videos") as tell:
        return check(read_manifest(data), cache=session.cache(), progress=tell)


def _show(audit: Audit) -> None:
    """What is in the folder, and what is wrong with it."""
    st.subheader("What is there", anchor=False)
    st.markdown(
        f"{some(audit.segments, 'segment')} of {some(len(audit.labels), 'move')} in {some(audit.videos, 'video')} "
        f"({audit.seconds / 60:.1f} minutes), {audit.readable} readable."
    )
    most = max(audit.labels.values(), default=1)
    with st.expander("How many of each", expanded=len(audit.labels) <= 8):
        st.html(html_fragments.counts(audit.labels, most))
    if not audit.findings:
        st.html(html_fragments.verdict("Nothing wrong was found.", "good"))
    sentences = [(f"{each.sentence[:1].upper()}{each.sentence[1:]}.", TONES[each.severity]) for each in audit.findings[:MOST]]
    if sentences:
        st.html("".join(html_fragments.verdict(text, tone) for text, tone in sentences))
    if len(audit.findings) > MOST:
        st.caption(f"and {len(audit.findings) - MOST} more: `quickstep check` lists them all")


def _choose(data: Path) -> None:
    """How thorough, and the name of the model."""
    st.subheader("Train", anchor=False)
    known = [name for name in CHOICES if name in recipe_names()]
    recipe = st.segmented_control("How thorough", known, default=known[0], required=True, key="recipe")
    about = open_recipe(recipe).about
    st.caption(page_elements.plain(f"{about[:1].upper()}{about[1:]}."))
    with st.form("train", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the model", value=data.stem if data.is_file() else data.name, key="model name").strip()
        begin = st.form_submit_button("Train", type="primary", icon=":material/model_training:")
    if not begin:
        return
    if not name or Path(name).name != name or name.startswith((".", "-")):
        st.error("A model's name is a plain word, such as dances.")
        return
    out = (session.started().config.out / name).absolute()
    verb = open_recipe(recipe).verb
    result = out / model_choice.BEST if verb == "tune" else out
    if (result / RECORD).exists():  # what is only half there goes on
        st.error(f"There is a {page_elements.plain(name)} already; give another name.")
        return
    cache = ("--cache", str(session.started().cache)) if session.started().cache else ()
    commands = [[verb, str(data), "-o", str(out), "--recipe", recipe, *cache], ["evaluate", str(result), *cache]]
    if not jobs().begin(Job(f"{name} ({recipe})", commands, result)):
        st.error("Something else is being trained; wait until it is done.")
        return
    st.rerun()


@st.fragment(run_every=1.0)
def _watch() -> None:
    """The work that runs."""
    job = jobs().latest
    if job is None or not job.running:
        st.rerun()
    far, step = job.far, f"step {job.at + 1} of {len(job.commands)}"
    st.subheader(f"Training {page_elements.plain(job.title)}", anchor=False)
    left = "" if far.left is None else f", about {far.left:.0f} s left"
    st.progress(far.share, text=f"{step}, {job.commands[job.at][0]}: {page_elements.plain(far.stage)}{left}")
    with st.expander("What it says"):
        st.code("\n".join(job.lines[-30:]) or "…", language=None)
    if st.button("Stop", icon=":material/stop_circle:"):
        job.stop()


def _ended(job: Job) -> None:
    """What became of it."""
    if job.stopped:
        st.info("It was stopped; what was computed is kept, so the same again goes on from there.", icon=":material/stop_circle:")
    elif job.status:
        st.error(f"{page_elements.plain(job.title)}: {page_elements.plain(job.told)}", icon=":material/error:")
        with st.expander("What it said"):
            st.code("\n".join(job.lines[-60:]), language=None)
    else:
        st.success(f"{page_elements.plain(job.title)} is ready.", icon=":material/done_all:")
        with st.container(horizontal=True):
            if st.button("Try it", type="primary", icon=":material/play_circle:"):
                st.session_state["chosen"] = model_choice.name_of(job.result)
                st.switch_page(page_elements.pages()["try"])
            again = st.button("Train another", icon=":material/add:")
        if again:
            jobs().latest = None
            st.session_state.pop("audited", None)
            st.rerun()
        report.show(job.result, height=900)
        st.stop()


def _stamp(data: Path) -> float:
    return data.stat().st_mtime
