"""The progress of a job on a page, in the user's words, and the button that stops it."""

from __future__ import annotations

import streamlit as st

from quickstep.apps.web import page_elements
from quickstep.apps.web.jobs import Jobs

WORDS = {"features": "watching the videos", "files": "opening the videos", "starting": "starting", "windows": "watching the videos"}


@st.fragment(run_every=1.0)
def watch(doing: str, jobs: Jobs) -> None:
    """Show the progress of the job that runs; `doing` is a word such as Training."""
    job = jobs.latest
    if job is None or not job.running:
        st.rerun()
    step = "" if len(job.commands) == 1 else f"step {job.current + 1} of {len(job.commands)}, "
    st.subheader(f"{doing} {page_elements.plain(job.title)}", anchor=False)
    left = "" if job.seconds_left is None else f", about {job.seconds_left:.0f} s left"
    stage = page_elements.plain(WORDS.get(job.progress.stage, job.progress.stage))
    st.progress(job.progress.share, text=f"{step}{stage}{left}")
    with st.expander("Log"):
        st.code("\n".join(job.log[-30:]) or "…", language=None)
    if st.button("Stop", icon=":material/stop_circle:"):
        job.stop()
