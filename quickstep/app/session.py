"""One person's session: what the app was started with, a folder of their own, and where what is computed is kept."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import streamlit as st

from quickstep.app.settings import Started
from quickstep.records import from_plain
from quickstep.store import Store


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
