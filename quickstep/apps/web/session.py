"""What the app was started with, the temporary folder and caches of a session, and the model that the session uses."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from quickstep.apps.web.config import Started
from quickstep.models.ensemble import AnyModel, load_model
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.model_folder import RECORD
from quickstep.storage.serialization import from_plain

BEST = "best"  # the folder in a study's folder that holds its best model
OWN = "retrained here"  # the name of a model that only this session has


@st.cache_resource(show_spinner=False)
def started() -> Started:
    """Return what the app was started with."""
    return from_plain(Started, json.loads(sys.argv[1]), where="the app's settings")


@st.cache_resource(scope="session", on_release=shutil.rmtree, show_spinner=False)
def folder() -> Path:
    """Return this session's temporary folder; it is removed when the session ends."""
    return Path(tempfile.mkdtemp(prefix="session-", dir=started().folder))


def cache() -> Cache:
    """Return the cache for shared videos: samples, libraries, the models' own videos."""
    return Cache(started().cache)


def own_cache() -> Cache:
    """Return the cache for uploaded videos; it is removed when the session ends."""
    return Cache(folder() / "cache")


# -- models ------------------------------------------------------------------------------------------------------------------


def models() -> dict[str, Path]:
    """Return the models by unique names: those given, and those made in the app."""
    opened = list(started().models)
    out = started().config.out
    trained = sorted(path.parent for pattern in (f"*/{RECORD}", f"*/{BEST}/{RECORD}") for path in out.glob(pattern))
    named: dict[str, Path] = {}
    for place in dict.fromkeys(path.resolve() for path in (*opened, *trained)):
        name = name_of(place)
        if name in named:
            name = f"{place.parent.name}/{place.name}"
        named[name] = place
    return named


def model_names() -> list[str]:
    """Return the names of the models that this session can choose."""
    return [*models(), *([OWN] if "own_model" in st.session_state else [])]


def name_of(model_folder: Path) -> str:
    """Return the name of a model after its folder."""
    return model_folder.parent.name if model_folder.name == BEST else model_folder.name


@st.cache_resource(show_spinner="Opening the model …", max_entries=6)
def _open(model_folder: Path, changed: float) -> tuple[AnyModel, threading.Lock]:  # noqa: ARG001 - part of the cache's key
    return load_model(model_folder, cache=cache()), threading.Lock()


def chosen() -> str:
    """Return the name of the model in use."""
    names = model_names()
    name = st.session_state.get("chosen")
    return name if name in names else names[0]


def open_chosen() -> tuple[AnyModel, threading.Lock]:
    """Return the model in use, and the lock to hold while it computes."""
    name = chosen()
    if name == OWN:
        return st.session_state["own_model"], st.session_state["own_lock"]
    place = models()[name]
    try:
        return _open(place, (place / RECORD).stat().st_mtime)
    except FileNotFoundError:
        return _open(place, 0.0)


def model() -> AnyModel:
    """Return the model in use."""
    return open_chosen()[0]


def lead() -> Model:
    """Return the model in use; of an ensemble, the member that counts most."""
    return model().lead


@contextmanager
def locked_model() -> Iterator[AnyModel]:
    """Give the model in use to one session at a time: two at once would only slow each other down."""
    opened, lock = open_chosen()
    with lock:
        yield opened


def model_state() -> str:
    """Return a key of the model in use and its state, for what was computed with it."""
    name = chosen()
    if name == OWN:
        return f"{OWN} {id(st.session_state['own_model'])}"
    return f"{models()[name]} {(models()[name] / RECORD).stat().st_mtime_ns}"


def model_folder() -> Path | None:
    """Return the folder of the model in use; None for one that only this session has."""
    return models().get(chosen())


def use(made: AnyModel) -> None:
    """Use a model that was made in this session."""
    st.session_state["own_model"], st.session_state["own_lock"] = made, threading.Lock()
    st.session_state["chosen"] = OWN
