"""What a page is made with: its title, errors as sentences, bars of progress, the videos somebody brought, what was computed for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from quickstep.apps.web import model_choice, session
from quickstep.apps.web.theme import STYLE
from quickstep.storage.cache import Cache
from quickstep.types.errors import QuickstepError
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment

T = TypeVar("T")


@dataclass(frozen=True)
class Video:
    """A video that somebody brought, or a sample."""

    name: str  # as they call it
    path: Path
    key: str
    own: bool = True  # theirs alone; what is computed of it goes with it


def store_for(video: Video) -> Cache:
    """Where what is computed of a video is kept."""
    return session.own_cache() if video.own else session.cache()


# -- the page ----------------------------------------------------------------------------------------------------------------


def header(title: str, about: str) -> None:
    """The page's title and, where there are several models, which one is used."""
    names = [*model_choice.folders(), *([model_choice.OWN] if "own_model" in st.session_state else [])]
    if len(names) < 2:
        st.title(title, anchor=False)
        st.html(f'<p class="qs-lead">{about}</p>')
        return
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        st.title(title, anchor=False)
        st.html(f'<p class="qs-lead">{about}</p>')
    with right:
        place = names.index(model_choice.chosen())
        st.session_state["chosen"] = st.selectbox("Model", names, index=place, key=f"model {title} {place} {len(names)}")


def pages() -> dict[str, Any]:
    """The pages; each is imported when it is first opened, so that one whose libraries are missing keeps nobody from the others."""

    def page_of(name: str) -> Callable[[], None]:
        return lambda: import_module(f"quickstep.apps.web.pages.{name}").page()

    return {
        url: st.Page(page_of(module), title=title, icon=f":material/{icon}:", url_path=url, default=url == "try")
        for url, module, title, icon in (
            ("try", "try_it", "Try", "play_circle"),
            ("live", "live", "Live", "videocam"),
            ("library", "library", "Library", "search"),
            ("review", "review", "Review", "fact_check"),
            ("train", "train", "Train", "model_training"),
            ("report", "report", "Report", "monitoring"),
        )
    }


def style() -> None:
    """Our own style, on every page."""
    st.html(STYLE)


@contextmanager
def sentences() -> Iterator[None]:
    """Errors as a sentence on the page; what is our own mistake goes to the terminal in full."""
    try:
        yield
    except QuickstepError as error:
        st.error(plain(_without_room(str(error))), icon=":material/error:")
    except OSError as error:  # a full disk, a folder that is gone
        st.error(plain(f"The disk of the machine that runs the app says: {error.strerror or error}."), icon=":material/hard_drive:")


def told(error: QuickstepError, video: Video | None = None) -> str:
    """An error in the words of who brought the video."""
    text = str(error)
    if video is not None:
        text = text.replace(str(video.path), video.name)
    return _without_room(text)


def _without_room(text: str) -> str:
    """Nobody is told where files lie on the server."""
    place = str(session.started().room)
    return text if place not in text else " ".join(Path(word).name if word.startswith(place) else word for word in text.split(" "))


@contextmanager
def bar(text: str) -> Iterator[Progress]:
    """A bar of progress with the time left, for as long as something takes; calls from other threads than the page's are left out."""
    place, owner, began = st.empty(), threading.get_ident(), time.monotonic()

    def tell(stage: str, done: int, total: int) -> None:
        if threading.get_ident() != owner or total <= 0:
            return
        spent = time.monotonic() - began
        left = f", about {spent / done * (total - done):.0f} s left" if done and spent > 2 and done < total else ""
        place.progress(min(1.0, done / total), text=f"{text} ({stage}: {done} of {total}{left})")

    place.progress(0.0, text=text)
    yield tell
    place.empty()


# -- what was computed -------------------------------------------------------------------------------------------------------


def remembered(key: str, make: Callable[[], T], *, most: int = 200) -> T:
    """What `make` gives, for this session; made once."""
    kept: dict[str, Any] = st.session_state.setdefault("kept", {})
    if key not in kept:
        kept[key] = make()
        while len(kept) > most:
            kept.pop(next(iter(kept)))
    value: T = kept[key]
    return value


def bring(uploads: Sequence[Any]) -> list[Video]:
    """Uploaded files as files of this session; those that were taken away again are removed."""
    home = session.room() / "uploads"
    home.mkdir(exist_ok=True)
    videos = []
    for upload in uploads:
        suffix = Path(upload.name).suffix.lower()
        path = home / f"{upload.file_id}{suffix if suffix[1:].isalnum() else ''}"
        if not path.exists():
            aside = path.with_suffix(".part")
            aside.write_bytes(upload.getbuffer())
            aside.replace(path)
        videos.append(Video(_called(upload.name), path, upload.file_id))
    keep = {video.path for video in videos}
    for path in home.iterdir():
        if path not in keep:
            path.unlink(missing_ok=True)
    return videos


def bring_one(upload: Any) -> Video:
    """An uploaded file that stands for itself."""
    home = session.room() / "asked"
    home.mkdir(exist_ok=True)
    path = home / f"{upload.file_id}.{suffix if (suffix := Path(upload.name).suffix[1:].lower()).isalnum() else 'bin'}"
    for other in home.iterdir():
        if other != path:
            other.unlink(missing_ok=True)
    if not path.exists():
        path.write_bytes(upload.getbuffer())
    return Video(_called(upload.name), path, upload.file_id)


def plain(text: str) -> str:
    """Words without what Markdown would make of them."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+-.!|~:$<>" else letter for letter in text)


def samples() -> list[Video]:
    """Videos to try: those given, and one of each label that the model was tested on."""
    found = {path: f"new: {path.parent.name}" for path in session.started().samples}
    manifest = model_choice.model().manifest
    if manifest is not None:
        tested = manifest.part("test").segments or manifest.segments
        whole = [each for each in tested if each.start == 0 and each.end is None and each.path.exists()]
        for segment in {each.label: each for each in reversed(whole)}.values():
            found.setdefault(segment.path, str(segment.label))
    ordered = sorted(found.items(), key=lambda item: (not item[1].startswith("new"), item[1]))
    return [Video(name, path, f"sample {path}", own=False) for path, name in ordered[:8]]


def segment_of(video: Video) -> Segment:
    """The whole of a video."""
    return Segment(video.path)


def _called(name: str) -> str:
    """A file's name, for reading only: one line, not too long, no folder."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    plain = "".join(letter if letter.isprintable() else "?" for letter in last).strip() or "video"
    return plain if len(plain) <= 80 else f"{plain[:50]}…{plain[-25:]}"
