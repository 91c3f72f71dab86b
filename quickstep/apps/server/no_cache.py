"""Forgetful: a cache that remembers nothing of the videos that are sent; knows no request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quickstep.storage.cache import Arrays, Cache, Json
from quickstep.types.errors import MediaError

_SMALL = ("features", "poses")


class Forgetful(Cache):
    """Its folder serves downloads alone: arrays live in memory until `forget`, digests and facts are not kept at all."""

    def __init__(self, folder: str | Path | None = None) -> None:
        super().__init__(folder)
        self._arrays: dict[Path, Arrays] = {}

    def get(self, key: Mapping[str, Json]) -> Arrays | None:
        """The arrays of this batch under a key, or None."""
        return self._arrays.get(self._file(key))

    def put(self, key: Mapping[str, Json], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays until the batch is done; not flow, of which there is too much for memory."""
        if key.get("kind") in _SMALL:
            self._arrays[self._file(key)] = dict(arrays)

    def remember(self, kind: str, key: Mapping[str, Json], value: Json) -> None:
        """Nothing."""

    def digest(self, path: str | Path) -> str:
        """The sha256 of a file's bytes, found anew each time."""
        try:
            with Path(path).open("rb") as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest()
        except FileNotFoundError:
            raise MediaError(path, "there is no such file") from None
        except OSError as error:
            raise MediaError(path, f"cannot be read: {error.strerror or error}") from error

    def forget(self) -> None:
        """Let go of everything."""
        self._arrays.clear()
