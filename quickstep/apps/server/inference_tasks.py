"""What the engines do: name videos together, draw up a timeline, find poses, search. Knows models by their interface; no HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.apps.server.no_cache import Forgetful
from quickstep.inference.timelines import Timeline, timeline
from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.estimation import PoseFinder, select_person
from quickstep.storage.cache import Cache
from quickstep.types.errors import LibraryError
from quickstep.types.segment import Segment
from quickstep.types.signals import Poses

if TYPE_CHECKING:
    from quickstep.backbones import Backbone
    from quickstep.library.moment_search import SearchResult


def done_with(cache: Cache) -> None:
    """Let go of what one batch needed."""
    if isinstance(cache, Forgetful):
        cache.forget()


@dataclass(frozen=True)
class Naming:
    """Names segments of several clients in one go: their windows share the network's batches."""

    model: AnyModel
    cache: Cache

    def __call__(self, segments: Sequence[Segment]) -> list[Any]:
        """A Prediction for each, or the error that stands for it."""
        try:
            found = self.model.predict(segments, cache=self.cache)
        finally:
            done_with(self.cache)
        of: dict[Segment, Any] = {failure.segment: failure.error for failure in found.failures}
        of |= {prediction.segment: prediction for prediction in found.predictions}
        return [of[segment] for segment in segments]


@dataclass(frozen=True)
class Timing:
    """Draws up timelines, one video after the other."""

    model: AnyModel
    cache: Cache

    def __call__(self, segments: Sequence[Segment]) -> list[Timeline]:
        """The timeline of each video."""
        try:
            return [timeline(self.model, segment.path, cache=self.cache) for segment in segments]
        finally:
            done_with(self.cache)


@dataclass(frozen=True)
class Posing:
    """Finds everybody's joints, one video after the other: an estimator follows one at a time."""

    config: PoseConfig
    cache: Cache
    finder: PoseFinder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "finder", PoseFinder(self.config, self.cache))

    def __call__(self, segments: Sequence[Segment]) -> list[Poses]:
        """The poses of each segment."""
        try:
            return [self._found(segment) for segment in segments]
        finally:
            done_with(self.cache)

    def _found(self, segment: Segment) -> Poses:
        poses = self.finder.find(segment.path)
        if self.config.person != "all" and poses.seen.any():
            poses = select_person(poses, self.config.number, segment.path)
        return poses if segment.start == 0 and segment.end is None else poses.span(segment.start, segment.end)


@dataclass(frozen=True)
class Question:
    """What is looked for in the library."""

    words: str | None
    label: str | None
    top: int
    all: bool


@dataclass
class Searching:
    """Searches one library, which is opened at once and whose network loads with the first question."""

    place: str
    weights: str | None
    cache: Cache
    models: Sequence[AnyModel]
    _backbone: Backbone | None = None

    def __post_init__(self) -> None:
        from quickstep.library import Library

        self.library = Library.open(self.place)

    def __call__(self, questions: Sequence[Question]) -> list[SearchResult]:
        """The answer to each question."""
        from quickstep.library import search
        from quickstep.library.config import SearchConfig

        return [
            search(
                self.library,
                each.words,
                SearchConfig(label=each.label, top=each.top, all=each.all),
                backbone=None if each.words is None else self.backbone,
                cache=self.cache,
            )
            for each in questions
        ]

    @property
    def backbone(self) -> Backbone:
        """What reads the words: a served model's own, where the library was made with the same."""
        if self._backbone is None:
            self._backbone = self._shared() or self.library.backbone(weights=self.weights, cache=self.cache)
        return self._backbone

    def _shared(self) -> Backbone | None:
        from quickstep.library.table import check_same_backbone

        for member in (each for model in self.models for each in model.members):
            with contextlib.suppress(LibraryError):
                check_same_backbone(self.library, member.backbone)
                return member.backbone
        return None


def poses_to_json(poses: Poses) -> dict[str, Any]:
    """Plain data: the joints of each person at each moment, null where they were not seen."""
    joints = np.round(poses.joints.astype(np.float64), 3)  # (T, P, K, 3)
    there = np.asarray(poses.seen.any(axis=2))  # (T, P)
    people = []
    for place, number in enumerate(poses.people):
        moments = np.flatnonzero(there[:, place])
        if len(moments):
            people.append({"person": number, "times": poses.times[moments].tolist(), "joints": _without_nan(joints[moments, place])})
    size = None if poses.size is None else list(poses.size)
    return {"skeleton": poses.skeleton.to_json(), "size": size, "moments": len(poses), "people": people}


def _without_nan(joints: Any) -> list[Any]:
    """(T, K, C) as lists; a joint that was not seen is null."""
    return [[joint if all(value == value for value in joint) else None for joint in moment] for moment in joints.tolist()]
