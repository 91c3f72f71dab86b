"""One person's session: what the app was started with, a folder of their own, and where what is computed is kept."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import streamlit as st

from quickstep.apps.web.config import Started
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain


@st.cache_resource(show_spinner=False)
def started() -> Started:
    """What the app was started with."""
    return from_plain(Started, json.loads(sys.argv[1]), where="the app's settings")


@st.cache_resource(scope="session", on_release=shutil.rmtree, show_spinner=False)
def room() -> Path:
    """This session's own folder; it goes when the session ends."""
    return Path(tempfile.mkdtemp(prefix="session-", dir=started().room))


def cache() -> Cache:
    """The cache for what belongs to everybody: samples, libraries, the models' own videos."""
    return Cache(started().cache)


def own_cache() -> Cache:
    """The cache for what somebody brought: it goes with their session."""
    return Cache(room() / "cache")
