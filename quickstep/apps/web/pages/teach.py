"""The page Teach: make classes, record or drop clips, train at once, try the model live, and download it; or train on a big folder."""

from __future__ import annotations

import base64
import io
import re
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image

from quickstep.apps.publishing import PushConfig, push
from quickstep.apps.web import page_elements, session
from quickstep.apps.web.clips import VIDEO, Clip, Clips, plain_name
from quickstep.apps.web.formatting import counted, verdict
from quickstep.apps.web.pages import live, train
from quickstep.signals.video import VideoReader
from quickstep.storage.model_folder import RECORD
from quickstep.training.few_clips import ENOUGH, TrainedOnClips, train_on_clips
from quickstep.types.errors import QuickstepError
from quickstep.types.view import View

BY_CLIPS, BY_FOLDER = "A few clips", "A folder of videos"
TYPES = [*(suffix[1:] for suffix in VIDEO), "zip"]
ZIP_FACTOR = 4  # a zip may unpack to so many times the largest upload
_recorder: Any = None


def page() -> None:
    """Show the page."""
    page_elements.header("Teach", "Show a few clips of each move, press Train, and try the model at once.")
    job = train.jobs().latest
    running = job is not None and job.running
    ways = [BY_CLIPS, BY_FOLDER]
    way = st.segmented_control("Teach with", ways, default=ways[running], required=True, key="teach with", label_visibility="collapsed")
    if way == BY_FOLDER:
        train.section()
        return
    clips = _clips()
    st.caption(
        f"Clips stay in the folder {page_elements.plain(str(clips.folder))} of the app's machine until you delete them here. "
        "They are never sent anywhere. Everybody who can open this app sees them."
    )
    label = _choose_class(clips)
    if label is not None:
        person = st.text_input("Who is in the next clips?", value="me", key="person")
        person = plain_name(person, "person")
        camera, dropped = st.tabs(["Camera", "Files"])
        with camera:
            _record(clips, label, person)
        with dropped:
            _drop(clips, label, person)
    else:
        _drop(clips, None, "me")
    for name in clips.labels:
        _gallery(clips, name)
    if clips.labels:
        _train(clips)


def _clips() -> Clips:
    return Clips(session.started().config.videos / "clips")


def _choose_class(clips: Clips) -> str | None:
    """Let the user make a class and choose the one to add clips to."""
    with st.form("class", border=False, clear_on_submit=True), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("New class", placeholder="spin", key="new class")
        if st.form_submit_button("Add class", icon=":material/add:") and name.strip():
            clips.add_class(name)
            st.session_state["label"] = name.strip()
    if not clips.labels:
        st.info("Add two classes or more: one for each move.", icon=":material/category:")
        return None
    if st.session_state.get("label") not in clips.labels:
        st.session_state["label"] = clips.labels[0]
    label: str = st.selectbox("Add clips to", clips.labels, key="label")
    return label


# -- clips -------------------------------------------------------------------------------------------------------------------


def _mount() -> Any:
    """Return the recorder; register it when it is first used."""
    global _recorder
    if _recorder is None:
        folder = files("quickstep.apps.web")
        html, css, js = (folder.joinpath(f"recorder.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
        _recorder = st.components.v2.component("quickstep_recorder", html=html, css=css, js=js)
    return _recorder


def _record(clips: Clips, label: str, person: str) -> None:
    """Show the camera; save a clip that it has recorded."""
    received = st.session_state.setdefault("received", 0)
    data = {"label": label, "person": person, "received": received, "clips": len(clips.of(label))}
    sent = _mount()(key="recorder", data=data, on_clip_change=lambda: None).clip
    if not sent:
        return
    st.session_state["received"] = int(sent["number"])
    kind, _, content = str(sent["video"]).partition(";base64,")
    before = clips.of(str(sent["label"]))
    clips.add(str(sent["label"]), str(sent["person"]), base64.b64decode(content), ".mp4" if "mp4" in kind else ".webm")
    if sent["retake"] and before:
        clips.delete(before[-1])
    st.rerun()


def _drop(clips: Clips, label: str | None, person: str) -> None:
    """Take dropped videos, or a zip with a folder a class."""
    most = session.started().config.max_mb
    round_ = st.session_state.setdefault("drop", 0)
    uploads = st.file_uploader(
        "Videos, or a zip with a folder for each class" if label else "Or drop a zip with a folder for each class",
        type=TYPES if label else ["zip"],
        accept_multiple_files=True,
        max_upload_size=most,
        key=f"drop {round_}",
    )
    for problem in st.session_state.pop("not added", []):
        st.error(page_elements.plain(problem), icon=":material/error:")
    if not uploads:
        return
    problems = []
    for upload in uploads:
        try:
            if upload.name.lower().endswith(".zip"):
                clips.add_zip(label, person, upload.getvalue(), most_bytes=most * 1_000_000 * ZIP_FACTOR)
            elif label is not None:
                clips.add(label, person, upload.getvalue(), Path(upload.name).suffix.lower())
        except QuickstepError as error:
            problems.append(f"{upload.name}: {str(error).partition(': ')[2] or error}")
    st.session_state["drop"] = round_ + 1  # an empty uploader: the clips are below
    st.session_state["not added"] = problems
    st.rerun()


def _gallery(clips: Clips, label: str) -> None:
    """Show the clips of a class."""
    mine = clips.of(label)
    people = sorted({clip.person for clip in mine})
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{page_elements.plain(label)}**  \n{counted(len(mine), 'clip')}, {counted(len(people), 'person', 'people')}")
            about = f"Delete {label} and its clips from the disk"
            if st.button("Delete class", key=f"delete {label}", icon=":material/delete:", help=about):
                clips.delete_class(label)
                st.rerun()
        with st.container(horizontal=True):
            for clip in mine:
                _thumbnail(clips, clip)


def _thumbnail(clips: Clips, clip: Clip) -> None:
    name = f"{clip.label}, {clip.person}, {clip.path.stem}"
    with st.container(width=130, gap="xxsmall"):
        key = f"thumbnail {clip.path} {clip.path.stat().st_mtime_ns}"
        st.html(page_elements.picture(page_elements.remembered(key, lambda: _picture(clip.path), most=2000), name))
        if st.button(clip.person, key=f"delete {clip.path}", icon=":material/delete:", type="tertiary", help=f"Delete this clip ({name})"):
            clips.delete(clip)
            st.rerun()


def _picture(path: Path) -> bytes:
    """Return a small frame of the clip's middle, as JPEG."""
    with VideoReader(path) as reader:
        info = reader.info
        view = View(frames=1, size=min(160, info.width, info.height), fit="whole")
        pixels = next(iter(reader.windows([[info.duration / 2]], view=view))).pixels[0]
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=80)
    return out.getvalue()


# -- the model ---------------------------------------------------------------------------------------------------------------


def _train(clips: Clips) -> None:
    """Train on the clips, then show how good the model is, try it live, and offer it as a file."""
    st.subheader("Train", anchor=False)
    with st.form("teach", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the model", value="my moves", key="taught name")
        begin = st.form_submit_button("Train", type="primary", icon=":material/model_training:")
    result = st.empty()
    if begin:
        result.empty()
        place = session.started().config.out / plain_name(name, "name")
        if (place / RECORD).exists() and str(place) not in st.session_state.setdefault("made here", []):
            st.error(f"A model {page_elements.plain(name)} exists already; choose another name.")
            return
        with result.container(), page_elements.bar("Learning from your clips") as progress, session.locked_model():
            taught = train_on_clips(clips.manifest(), session.lead(), cache=session.own_cache(), progress=progress)
        taught.model.save(place)
        st.session_state.setdefault("made here", []).append(str(place))
        st.session_state["taught"], st.session_state["chosen"] = (taught, place), session.name_of(place)
    if "taught" in st.session_state:
        taught, place = st.session_state["taught"]
        with result.container():
            _result(taught, place)


def _result(taught: TrainedOnClips, place: Path) -> None:
    """Show what was trained."""
    name = page_elements.plain(place.name)
    clips = counted(len(taught.model.manifest or ()), "clip")
    st.success(f"{name} is trained on {clips}; all pages use it now.", icon=":material/done_all:")
    st.html(verdict(_measured(taught), "note"))
    for failure in taught.failures:
        st.error(page_elements.plain(page_elements.error_text(failure.error)), icon=":material/error:")
    packed = page_elements.remembered(f"zip {session.model_state()}", lambda: _zip(place))
    st.download_button("Download the model", packed, f"{place.name}.zip", "application/zip", on_click="ignore", icon=":material/download:")
    st.subheader("Try it", anchor=False)
    opened, lock = session.open_chosen()
    live.show_camera(opened, lock, key=f"taught {session.model_state()}")


def _measured(taught: TrainedOnClips) -> str:
    more = f"More clips make it better; from {ENOUGH} clips of each class on, another kind of classifier takes over."
    if not taught.tested:
        return f"No clip could be held out, so it is not known how good the model is. {more}"
    who = "of people" if taught.by_person else "of the same people"
    caution = "" if taught.by_person else " Expect less for other people, and add clips of them."
    return f"{taught.right} of {taught.tested} clips {who} were recognized by a model that had not seen them.{caution} {more}"


def _zip(folder: Path) -> bytes:
    """Return a model's folder as a zip, without the list of clips and the names of people."""
    out = io.BytesIO()
    with tempfile.TemporaryDirectory(dir=session.folder()) as place, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        word = re.sub(r"[^\w.-]+", "-", folder.name)
        written = Path(place) / word
        push(folder, PushConfig(to=f"me/{word}", dry_run=written), cache=session.own_cache())
        for file in sorted(path for path in written.rglob("*") if path.is_file()):
            packed.write(file, file.relative_to(place))
    return out.getvalue()
