"""What requests share: a cache that keeps nothing, an estimator of poses, a library to search."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.estimation import PoseFinder, select_person
from quickstep.storage.cache import Arrays, Cache, Json
from quickstep.types.errors import LibraryError, MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Poses

if TYPE_CHECKING:
    from quickstep.backbones import Backbone
    from quickstep.library.moment_search import SearchResult

_IN_MEMORY = ("features", "poses")


class BatchCache(Cache):
    """A cache of one request: arrays stay in memory until `clear`, and nothing about videos is written to disk."""

    def __init__(self, folder: str | Path | None = None) -> None:
        super().__init__(folder)
        self._arrays: dict[Path, Arrays] = {}

    def get(self, key: Mapping[str, Json]) -> Arrays | None:
        """Return the arrays of this request under a key, or None."""
        return self._arrays.get(self._file(key))

    def put(self, key: Mapping[str, Json], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep features and poses until the request is done; optical flow is too large for memory."""
        if key.get("kind") in _IN_MEMORY:
            self._arrays[self._file(key)] = dict(arrays)

    def remember(self, kind: str, key: Mapping[str, Json], value: Json) -> None:
        """Keep nothing."""

    def recall(self, kind: str, key: Mapping[str, Json]) -> Json | None:
        """Return None: nothing is kept."""

    def digest(self, path: str | Path) -> str:
        """Compute the sha256 of a file's bytes, every time."""
        try:
            with Path(path).open("rb") as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest()
        except FileNotFoundError:
            raise MediaError(path, "there is no such file") from None
        except OSError as error:
            raise MediaError(path, f"cannot be read: {error.strerror or error}") from error

    def clear(self) -> None:
        """Forget all arrays."""
        self._arrays.clear()


@dataclass(frozen=True)
class PoseTask:
    """Estimates the poses of all people, one video after the other: an estimator tracks people through one video at a time."""

    config: PoseConfig
    cache: Cache
    finder: PoseFinder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "finder", PoseFinder(self.config, self.cache))

    def __call__(self, segment: Segment) -> Poses:
        """Return the poses of a segment."""
        try:
            poses = self.finder.find(segment.path)
        finally:
            if isinstance(self.cache, BatchCache):
                self.cache.clear()
        if self.config.person != "all" and poses.seen.any():
            poses = select_person(poses, self.config.number, segment.path)
        return poses if segment.start == 0 and segment.end is None else poses.span(segment.start, segment.end)


@dataclass(frozen=True)
class SearchQuery:
    """A query to the library."""

    words: str | None
    label: str | None
    top: int
    all: bool


@dataclass
class SearchTask:
    """Searches one library, which is opened at once; its network is loaded for the first text query."""

    uri: str
    weights: str | None
    cache: Cache
    models: Sequence[AnyModel]
    _backbone: Backbone | None = None

    def __post_init__(self) -> None:
        from quickstep.library import Library

        self.library = Library.open(self.uri)

    def __call__(self, query: SearchQuery) -> SearchResult:
        """Return the result of a query."""
        from quickstep.library import SearchConfig, search

        result: SearchResult = search(
            self.library,
            query.words,
            SearchConfig(label=query.label, top=query.top, all=query.all),
            backbone=None if query.words is None else self.backbone,
            cache=self.cache,
        )
        return result

    @property
    def backbone(self) -> Backbone:
        """The backbone for text queries: a served model's own, if the library was made with it."""
        if self._backbone is None:
            self._backbone = self._shared_backbone() or self.library.backbone(weights=self.weights, cache=self.cache)
        return self._backbone

    def _shared_backbone(self) -> Backbone | None:
        from quickstep.library.table import check_same_backbone

        for member in (member for model in self.models for member in model.members):
            with contextlib.suppress(LibraryError):
                check_same_backbone(self.library, member.backbone)
                return member.backbone
        return None


def poses_to_json(poses: Poses) -> dict[str, Any]:
    """Return poses as plain data: the joints of each person at each time, null where they were not detected."""
    joints = np.round(poses.joints.astype(np.float64), 3)  # (T, P, K, 3)
    detected = np.asarray(poses.seen.any(axis=2))  # (T, P)
    people = []
    for place, number in enumerate(poses.people):
        frames = np.flatnonzero(detected[:, place])
        if len(frames):
            people.append({"person": number, "times": poses.times[frames].tolist(), "joints": _without_nan(joints[frames, place])})
    size = None if poses.size is None else list(poses.size)
    return {"skeleton": poses.skeleton.to_json(), "size": size, "moments": len(poses), "people": people}


def _without_nan(joints: NDArray[np.float64]) -> list[Any]:
    """Return (T, K, C) as lists; a joint that was not detected is null."""
    return [[joint if all(value == value for value in joint) else None for joint in frame] for frame in joints.tolist()]
