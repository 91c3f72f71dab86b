"""What a model says in window after window of one video: decoded once from end to end, kept in the cache stretch by stretch.

Where the network looks at each picture by itself, windows share what it made of them; else each window is looked at, overlapping ones
from one pass of decoding. Poses are found once and windows cut out of them. What is in memory is a few stretches, however long the video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import Backbone, reads_poses
from quickstep.inference.timelines.score_accumulator import Account, Asked, Looked, Stretch, grouped
from quickstep.inference.timelines.windows import Grid, Layout, Sliding, hop_of, lay, lay_grid, one_by_one, window_of
from quickstep.models.pose_input import PoseReader, end_of
from quickstep.signals.poses.resampling import present
from quickstep.signals.video import probe
from quickstep.types.errors import MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames, Poses
from quickstep.types.view import View

STRETCH = 120.0  # seconds of video that are computed and kept together
MOST_TOGETHER = 1024  # moments or windows of a stretch, however short their hops
FEW = 64  # windows of one person whose scores are asked for together


def look(asked: Asked) -> Looked:
    """The scores of the model over the whole video; MediaError where nothing of it can be looked at."""
    if reads_poses(asked.model.backbone):
        return _at_people(asked)
    info = probe(asked.path)
    if not info.duration > 0:
        raise MediaError(asked.path, "does not tell how long it is, and holds no picture after the first")
    window = window_of(asked.model, asked.config)
    return _at_pictures(asked, info.duration, window) if one_by_one(asked.model.backbone) else _at_windows(asked, info.duration, window)


# -- pictures, one by one ----------------------------------------------------------------------------------------------------


def _at_pictures(asked: Asked, duration: float, window: float) -> Looked:
    """Each picture of a grid is embedded once; a window is as many of them as the model's view has."""
    model = asked.model
    each = model.view.frames * (1 if model.view.fps is not None else model.view.windows or 1)
    grid = lay_grid(duration, window, hop_of(window, asked.config, shared=True), each=each)
    account = Account(asked, grid.layout, grid.count)
    together = max(1, min(MOST_TOGETHER, round(STRETCH / grid.step)))
    seen: dict[int, NDArray[np.float32]] = {}  # moment -> its vectors, one a crop: those that windows still need
    firsts, due, shown = grid.firsts, 0, _Pictures(asked, grid, duration)
    for group in grouped(grid.count, together):
        for (a, b), features in account.extract(group, model.backbone, shown):
            values = features.values
            seen |= zip(range(a, b), values.reshape(b - a, -1, *values.shape[1:]), strict=True)
        ready = due
        while ready < len(firsts) and firsts[ready] + each <= group[-1][1]:
            ready += 1
        account.score({number: _window(seen, firsts[number], grid, model.view) for number in range(due, ready)})
        due = ready
        seen = {moment: vectors for moment, vectors in seen.items() if due < len(firsts) and moment >= firsts[due]}
    return account.looked(duration)


@dataclass(frozen=True)
class _Pictures:
    """Stretches of the moments of a grid."""

    asked: Asked
    grid: Grid
    duration: float

    def segment(self, stretch: Stretch) -> Segment:
        first, last = stretch
        return Segment(self.asked.path, start=first * self.grid.step, end=min(last * self.grid.step, self.duration))

    def view(self, length: int) -> View:
        return replace(self.asked.model.view, frames=1, fps=None, windows=length, stride=None)


def _window(seen: Mapping[int, NDArray[np.float32]], first: int, grid: Grid, view: View) -> Features | None:
    """A window's features in the order of the view: window by window of it, crop by crop; None where a moment could not be read."""
    if not all(moment in seen for moment in range(first, first + grid.each)):
        return None
    vectors = np.stack([seen[moment] for moment in range(first, first + grid.each)])  # (N, crops, D)
    times = (first + np.arange(grid.each) + 0.5) * grid.step
    parts = range(0, grid.each, view.frames)
    crops = range(vectors.shape[1])
    values = np.concatenate([vectors[part : part + view.frames, crop] for part in parts for crop in crops])
    return Features(values, np.concatenate([times[part : part + view.frames] for part in parts for _ in crops]))


# -- windows -----------------------------------------------------------------------------------------------------------------


def _at_windows(asked: Asked, duration: float, window: float) -> Looked:
    """Each window is embedded; the pictures of overlapping ones are decoded once."""
    model = asked.model
    layout = lay(duration, window, hop_of(window, asked.config))
    count = len(layout.starts)
    account = Account(asked, layout, count)
    together = max(1, min(MOST_TOGETHER, round(STRETCH / layout.hop) if layout.hop > 0 else 1))
    marked = cast(Backbone, Marked(model.backbone))
    shown = _Windows(asked, layout, duration)
    for group in grouped(count, together):
        rows: dict[int, Features | None] = {}
        for (a, b), features in account.extract(group, marked, shown):
            rows |= zip(range(a, b), told_apart(features, b - a), strict=True)
        account.score(rows)
    return account.looked(duration)


@dataclass(frozen=True)
class _Windows:
    """Stretches of windows."""

    asked: Asked
    layout: Layout
    duration: float

    def segment(self, stretch: Stretch) -> Segment:
        starts, length = self.layout.starts, self.layout.length
        end = min(float(starts[stretch[1] - 1]) + length, self.duration)
        return Segment(self.asked.path, start=float(starts[stretch[0]]), end=end)

    def view(self, _length: int) -> View:
        return sliding(self.asked.model.view, self.layout)


def sliding(view: View, layout: Layout) -> Sliding:
    """The view laid over each window; with a pace, a window is one look of it."""
    kept = {each.name: getattr(view, each.name) for each in fields(View)} | {"stride": None}
    if view.fps is not None:
        kept["windows"] = None if view.stride is not None else 1
    return Sliding(**kept, length=layout.length, step=layout.hop)


class Marked:
    """A backbone whose vectors say where each look begins: one number more, 1 in the first vector of a look, else 0."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of the backbone, and that its vectors are marked."""
        return {**self._backbone.identity, "marked": 1}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """The backbone's features with the mark as their last number."""
        return [self._mark(features) for features in self._backbone.embed(batch)]

    def _mark(self, features: Features) -> Features:
        mark = np.zeros((*features.values.shape[:-1], 1), np.float32)
        mark[0] = 1
        return Features(np.concatenate([features.values, mark], axis=-1), features.times)


def told_apart(features: Features, windows: int) -> list[Features]:
    """The features of each window, the mark taken off; every window is as many looks as the others."""
    begins = np.flatnonzero(features.values.reshape(len(features), -1)[:, -1] == 1)
    cuts = begins[:: len(begins) // windows][1:]
    parts = zip(np.split(features.values[..., :-1], cuts), np.split(features.times, cuts), strict=True)
    return [Features(np.ascontiguousarray(values), times) for values, times in parts]


# -- people ------------------------------------------------------------------------------------------------------------------


def _at_people(asked: Asked) -> Looked:
    """Poses are found once; each window is cut out of them, for each person that is asked for."""
    model = asked.model
    assert reads_poses(model.backbone)
    looker = PoseReader.of(model.backbone, model.view, asked.cache)
    poses = looker.finder.find(asked.path, progress=asked.progress)
    duration = end_of(poses, Segment(asked.path))
    if not len(poses) or not duration > 0:
        raise MediaError(asked.path, "holds no moment at which anybody is seen")
    window = window_of(model, asked.config)
    layout = lay(duration, window, hop_of(window, asked.config, shared=True))
    people = _people(asked, poses)
    count = len(layout.starts)
    made, unseen = [], MediaError(asked.path, "nobody is seen in it")
    for place, number in enumerate(people):
        account = Account(asked, layout, len(people) * count, place * count)
        for first in range(0, count, FEW):
            features: dict[int, Features | None] = {}
            for window in range(first, min(first + FEW, count)):
                start = float(layout.starts[window])
                segment = Segment(asked.path, start=start, end=min(start + layout.length, duration), person=number)
                try:
                    arrays = looker.extract_from(poses, segment)
                    features[window] = Features(arrays["values"], arrays["times"])
                except MediaError as error:
                    unseen = error
            account.score(features)
            account.tell(min(first + FEW, count))
        if account.any:
            made.append(account.moments(number))
    if not made:
        raise unseen
    return Looked(duration, tuple(made))


def _people(asked: Asked, poses: Poses) -> list[int | None]:
    """Whose windows are looked at: everybody's, one person's, or in each window the dancer's."""
    assert reads_poses(asked.model.backbone)
    person = asked.person or asked.model.backbone.config.person
    if person == "all":
        there = np.asarray(present(poses)).sum(axis=0)  # (P,)
        return [number for place, number in enumerate(poses.people) if there[place] > 0]
    if person == "auto":
        return [None]
    if int(person) not in poses.people:
        raise MediaError(asked.path, f"has no person {person}; its people are: {', '.join(map(str, poses.people))}")
    return [int(person)]
