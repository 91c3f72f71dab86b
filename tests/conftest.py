"""What several test files use: the real data beside the checkout, and a cache of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from places import SHARED

from quickstep.types.registry import trust

settings.register_profile("quickstep", deadline=None)  # a machine that does something else is not a bug; pytest limits the time
settings.load_profile("quickstep")
trust("toys", "small_sets", "small_words", "library_sets", "pose_double")  # our own classes, whatever test comes first


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real videos and skeletons beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data of ../shared/data is not here")
    return SHARED


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("QUICKSTEP_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def decoding_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands decode in processes of their own, which take time to start; the tests of those ask for them."""
    monkeypatch.setenv("QUICKSTEP_DECODING", os.environ.get("QUICKSTEP_TEST_DECODING", "isolate=never"))
