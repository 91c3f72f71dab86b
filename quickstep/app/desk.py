"""One person's things: what the app was started with, the model they chose, their files, and what was computed for them."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from quickstep.app.settings import Started
from quickstep.app.theme import STYLE
from quickstep.ensemble import AnyModel, lead_of, load_model
from quickstep.errors import QuickstepError
from quickstep.model import Model
from quickstep.progress import Progress
from quickstep.records import from_plain
from quickstep.sealed import RECORD
from quickstep.segment import Segment
from quickstep.store import Store

T = TypeVar("T")
BEST = "best"  # where a search for settings puts its model, in its own folder
OWN = "retrained here"  # the name under which a model stands that only this session has


@dataclass(frozen=True)
class Video:
    """A video that somebody brought, or a sample."""

    name: str  # as they call it
    path: Path
    key: str
    own: bool = True  # theirs alone; what is computed of it goes with it


@st.cache_resource(show_spinner=False)
def started() -> Started:
    """What the app was started with."""
    return from_plain(Started, json.loads(sys.argv[1]), where="the app's settings")


@st.cache_resource(scope="session", on_release=shutil.rmtree, show_spinner=False)
def room() -> Path:
    """This session's own folder; it goes when the session ends."""
    return Path(tempfile.mkdtemp(prefix="session-", dir=started().room))


def store() -> Store:
    """The store for what belongs to everybody: samples, libraries, the models' own videos."""
    return Store(started().cache)


def own_store() -> Store:
    """The store for what somebody brought: it goes with their session."""
    return Store(room() / "cache")


def store_for(video: Video) -> Store:
    """Where what is computed of a video is kept."""
    return own_store() if video.own else store()


# -- models ------------------------------------------------------------------------------------------------------------------


def folders() -> dict[str, Path]:
    """The models there are, under names that tell them apart: those given, and those made in the app."""
    given = list(started().models)
    out = started().config.out
    made = sorted(path.parent for pattern in (f"*/{RECORD}", f"*/{BEST}/{RECORD}") for path in out.glob(pattern))
    found: dict[str, Path] = {}
    for folder in dict.fromkeys(path.resolve() for path in (*given, *made)):
        name = name_of(folder)
        if name in found:
            name = f"{folder.parent.name}/{folder.name}"
        found[name] = folder
    return found


def name_of(folder: Path) -> str:
    """What a model is called after its folder."""
    return folder.parent.name if folder.name == BEST else folder.name


@st.cache_resource(show_spinner="Opening the model …", max_entries=6)
def _opened(folder: Path, stamp: float) -> tuple[AnyModel, threading.Lock]:  # noqa: ARG001 - the stamp is a part of the cache's key
    return load_model(folder, store=store()), threading.Lock()


def chosen() -> str:
    """The name of the model in use."""
    names = [*folders(), *([OWN] if "own_model" in st.session_state else [])]
    name = st.session_state.get("chosen")
    return name if name in names else names[0]


def model() -> AnyModel:
    """The model in use."""
    return _of(chosen())[0]


def lead() -> Model:
    """The model in use; of several that answer together, the one that counts most."""
    return lead_of(model())


def write_its_card(made: AnyModel, folder: Path) -> None:
    """The card of a model that was made here."""
    from quickstep.reporting import write_card

    if isinstance(made, Model):
        write_card(made, folder)


@contextmanager
def in_turn() -> Iterator[AnyModel]:
    """The model in use, for one person at a time: two at once would only slow each other down."""
    opened, lock = _of(chosen())
    with lock:
        yield opened


def stamp() -> str:
    """What names the model in use and its state: what was computed with another one is not shown for it."""
    name = chosen()
    if name == OWN:
        return f"{OWN} {id(st.session_state['own_model'])}"
    return f"{folders()[name]} {(folders()[name] / RECORD).stat().st_mtime_ns}"


def folder() -> Path | None:
    """The folder of the model in use; None for one that only this session has."""
    return folders().get(chosen())


def use(made: AnyModel) -> None:
    """Take a model that was made here into use, for this session."""
    st.session_state["own_model"], st.session_state["own_lock"] = made, threading.Lock()
    st.session_state["chosen"] = OWN


def _of(name: str) -> tuple[AnyModel, threading.Lock]:
    if name == OWN:
        return st.session_state["own_model"], st.session_state["own_lock"]
    place = folders()[name]
    try:
        return _opened(place, (place / RECORD).stat().st_mtime)
    except FileNotFoundError:
        return _opened(place, 0.0)


# -- the page ----------------------------------------------------------------------------------------------------------------


def header(title: str, about: str) -> None:
    """The page's title and, where there are several models, which one is used."""
    names = [*folders(), *([OWN] if "own_model" in st.session_state else [])]
    if len(names) < 2:
        st.title(title, anchor=False)
        st.html(f'<p class="qs-lead">{about}</p>')
        return
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        st.title(title, anchor=False)
        st.html(f'<p class="qs-lead">{about}</p>')
    with right:
        place = names.index(chosen())
        st.session_state["chosen"] = st.selectbox("Model", names, index=place, key=f"model {title} {place} {len(names)}")


def pages() -> dict[str, Any]:
    """The pages; each is imported when it is first opened, so that one whose libraries are missing keeps nobody from the others."""

    def page_of(name: str) -> Callable[[], None]:
        return lambda: import_module(f"quickstep.app.{name}").page()

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
    place = str(started().room)
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
    home = room() / "uploads"
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
    home = room() / "asked"
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
    found = {path: f"new: {path.parent.name}" for path in started().samples}
    manifest = model().manifest
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
