"""Elements that the pages share: title, errors, progress bars, uploaded videos, and results kept for the session."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from quickstep.apps.web import session
from quickstep.apps.web.formatting import counted
from quickstep.apps.web.theme import STYLE
from quickstep.evaluation.report import Report
from quickstep.storage.cache import Cache
from quickstep.storage.files import write_bytes
from quickstep.types.errors import QuickstepError
from quickstep.types.progress import Progress, ProgressUpdate, RemainingTime
from quickstep.types.segment import Segment

T = TypeVar("T")
LABELS = 12  # of the model that are listed
SOON = 2.0  # seconds before the time left is shown
_JOINER = "\u2060"  # a word joiner


@dataclass(frozen=True)
class Video:
    """An uploaded video, or a sample."""

    name: str  # as the user sees it
    path: Path
    key: str
    own: bool = True  # uploaded: removed with what is computed from it


def cache_for(video: Video) -> Cache:
    """Return the cache for what is computed from a video."""
    return session.own_cache() if video.own else session.cache()


# -- the page ----------------------------------------------------------------------------------------------------------------


def header(title: str, about: str) -> None:
    """Show the page's title and, where there are several models, a choice of the model."""
    names = session.model_names()
    if len(names) < 2:
        st.title(title, anchor=False)
        st.html(f'<p class="qs-lead">{about}</p>')
        return
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        st.title(title, anchor=False)
        st.html(f'<p class="qs-lead">{about}</p>')
    with right:
        place = names.index(session.chosen())
        st.session_state["chosen"] = st.selectbox("Model", names, index=place, key=f"model {title} {place} {len(names)}")


def model_facts() -> None:
    """Show which model answers, its labels, and how accurate it is on videos it was not trained on."""
    folder, labels = session.model_folder(), session.model().labels
    shown = ", ".join(labels[:LABELS]) + (f" and {len(labels) - LABELS} more" if len(labels) > LABELS else "")
    measured = "Its accuracy has not been measured yet."
    report = _report(folder) if folder is not None else None
    if report is not None:
        value = report.figures.accuracy
        measured = (
            f"{100 * value.value:.0f} % of {counted(len(report.tested), 'test video')} right "
            f"(95 % interval {100 * value.low:.0f} to {100 * value.high:.0f} %)."
        )
    labels_line = f"{counted(len(labels), 'label')}: {escape(shown)}"
    st.html(f'<p class="qs-model"><b>{escape(session.chosen())}</b> answers. {measured}<small>{labels_line}</small></p>')


def _report(folder: Path) -> Report | None:
    """Return the report in a model's folder, if there is one that can be read."""
    file = folder / "report.json"
    if not file.is_file():
        return None

    def make() -> Report | None:
        try:
            return Report.load(file)
        except QuickstepError:  # the page Report says what is wrong with it
            return None

    return remembered(f"report {file} {file.stat().st_mtime_ns}", make)


def pages() -> dict[str, Any]:
    """Return the pages. Each is imported when it is first opened, so a missing library breaks only its own page."""

    def page_of(name: str) -> Callable[[], None]:
        return lambda: import_module(f"quickstep.apps.web.pages.{name}").page()

    return {
        url: st.Page(page_of(module), title=title, icon=f":material/{icon}:", url_path=url, default=url == "try")
        for url, module, title, icon in (
            ("try", "try_it", "Try", "play_circle"),
            ("live", "live", "Live", "videocam"),
            ("library", "library", "Library", "search"),
            ("review", "review", "Review", "fact_check"),
            ("teach", "teach", "Teach", "model_training"),
            ("report", "report", "Report", "monitoring"),
        )
    }


def style() -> None:
    """Add our style to a page."""
    st.html(STYLE)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show errors of the user's input and of the disk as a sentence on the page."""
    try:
        yield
    except QuickstepError as error:
        st.error(plain(_without_paths(str(error))), icon=":material/error:")
    except OSError as error:  # such as a full disk
        st.error(plain(f"The disk of the app's machine reports: {error.strerror or error}."), icon=":material/hard_drive:")


def error_text(error: QuickstepError, video: Video | None = None) -> str:
    """Return an error with the user's name of the video instead of its path."""
    text = str(error)
    if video is not None:
        text = text.replace(str(video.path), video.name)
    return _without_paths(text)


def _without_paths(text: str) -> str:
    """Remove the server's temporary folder from a message."""
    folder = str(session.started().folder)
    return text if folder not in text else " ".join(Path(word).name if word.startswith(folder) else word for word in text.split(" "))


@contextmanager
def bar(text: str) -> Iterator[Progress]:
    """Show a progress bar with the time left; reports of other threads than the page's are ignored."""
    shown, owner, remaining = st.empty(), threading.get_ident(), RemainingTime()

    def progress(stage: str, done: int, total: int) -> None:
        if threading.get_ident() != owner or total <= 0:
            return
        update = ProgressUpdate(stage, done, total)
        seconds = remaining.seconds(update)
        left = "" if seconds is None or remaining.elapsed(stage) < SOON else f", about {seconds:.0f} s left"
        shown.progress(update.share, text=f"{text} ({stage}: {done} of {total}{left})")

    shown.progress(0.0, text=text)
    yield progress
    shown.empty()


# -- what was computed -------------------------------------------------------------------------------------------------------


def remembered(key: str, make: Callable[[], T], *, most: int = 200) -> T:
    """Return what `make` gives, computed once a session."""
    kept: dict[str, Any] = st.session_state.setdefault("kept", {})
    if key not in kept:
        kept[key] = make()
        while len(kept) > most:
            kept.pop(next(iter(kept)))
    value: T = kept[key]
    return value


def save_uploads(uploads: Sequence[Any]) -> list[Video]:
    """Save uploaded files in the session's folder; remove those that the user took back."""
    home = session.folder() / "uploads"
    home.mkdir(exist_ok=True)
    videos = []
    for upload in uploads:
        suffix = Path(upload.name).suffix.lower()
        path = home / f"{upload.file_id}{suffix if suffix[1:].isalnum() else ''}"
        if not path.exists():
            write_bytes(path, upload.getbuffer(), sync=False)
        videos.append(Video(display_name(upload.name), path, upload.file_id))
    keep = {video.path for video in videos}
    for path in home.iterdir():
        if path not in keep:
            path.unlink(missing_ok=True)
    return videos


def save_example(upload: Any) -> Video:
    """Save an uploaded example for the search; it replaces the one before."""
    home = session.folder() / "example"
    home.mkdir(exist_ok=True)
    path = home / f"{upload.file_id}.{suffix if (suffix := Path(upload.name).suffix[1:].lower()).isalnum() else 'bin'}"
    for other in home.iterdir():
        if other != path:
            other.unlink(missing_ok=True)
    if not path.exists():
        path.write_bytes(upload.getbuffer())
    return Video(display_name(upload.name), path, upload.file_id)


def picture(jpeg: bytes, about: str) -> str:
    """Return a picture as HTML; it is part of the page, so it does not vanish while the page is made again."""
    return f'<img class="qs-picture" alt="{escape(about)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'


def plain(text: str) -> str:
    """Return text with Markdown's letters escaped; an invisible joiner after a colon keeps Streamlit from drawing `:heart:`."""
    escaped = "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+-.!|~:$<>" else letter for letter in text)
    return escaped.replace(":", f":{_JOINER}")


def samples() -> list[Video]:
    """Return videos to try: those given, and one test video a label, marked as hard where the evaluated model got all of them wrong."""
    titles = {sample.path: sample.name for sample in session.started().samples}
    manifest = session.model().manifest
    if manifest is not None:
        tested = manifest.part("test").segments or manifest.segments
        whole = [segment for segment in tested if segment.start == 0 and segment.end is None and segment.path.exists()]
        mistaken = _mistaken(session.model_folder())
        by_label: dict[str | None, Segment] = {}
        for segment in sorted(whole, key=lambda segment: segment.path.resolve() in mistaken):
            by_label.setdefault(segment.label, segment)
        for segment in by_label.values():
            titles.setdefault(segment.path, f"hard: {segment.label}" if segment.path.resolve() in mistaken else str(segment.label))
    ordered = sorted(titles.items(), key=lambda item: (item[1].startswith("hard"), not item[1].startswith("new"), item[1]))
    return [Video(name, path, f"sample {path}", own=False) for path, name in ordered[:8]]


def _mistaken(folder: Path | None) -> set[Path]:
    """Return the videos that the model got wrong in its evaluation."""
    report = _report(folder) if folder is not None else None
    return set() if report is None else {Path(one.path).resolve() for one in report.tested if not one.correct}


def display_name(name: str) -> str:
    """Return a file's name for display: one line, not too long, no folder."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    plain = "".join(letter if letter.isprintable() else "?" for letter in last).strip() or "video"
    return plain if len(plain) <= 80 else f"{plain[:50]}…{plain[-25:]}"
