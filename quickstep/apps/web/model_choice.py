"""The models to choose from: those given, those made in the app, and one that only this session has; and the one in use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from quickstep.apps.web.session import cache, started
from quickstep.models.ensemble import AnyModel, load_model
from quickstep.models.model import Model
from quickstep.storage.model_folder import RECORD

BEST = "best"  # where a search for settings puts its model, in its own folder
OWN = "retrained here"  # the name under which a model stands that only this session has


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
    return load_model(folder, cache=cache()), threading.Lock()


def chosen() -> str:
    """The name of the model in use."""
    names = [*folders(), *([OWN] if "own_model" in st.session_state else [])]
    name = st.session_state.get("chosen")
    return name if name in names else names[0]


def opened() -> tuple[AnyModel, threading.Lock]:
    """The model in use, and the lock under which it is asked."""
    return _of(chosen())


def model() -> AnyModel:
    """The model in use."""
    return opened()[0]


def lead() -> Model:
    """The model in use; of several that answer together, the one that counts most."""
    return model().lead


def write_its_card(made: AnyModel, folder: Path) -> None:
    """The card of a model that was made here."""
    from quickstep.evaluation.rendering import write_card

    if isinstance(made, Model):
        write_card(made, folder)


@contextmanager
def in_turn() -> Iterator[AnyModel]:
    """The model in use, for one person at a time: two at once would only slow each other down."""
    model, lock = opened()
    with lock:
        yield model


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
