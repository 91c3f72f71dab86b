"""Score window after window of one video: it is decoded once, and its features are cached stretch by stretch.

If the backbone embeds each frame by itself, overlapping windows share the features of frames. Else each window is embedded, and frames of
overlapping windows are decoded once. Poses are estimated once, and windows are cut from them. A few stretches are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import Backbone, reads_poses
from quickstep.inference.timelines.score_accumulator import ScoreAccumulator, Stretch, TimelineRequest, VideoScores, group_stretches
from quickstep.inference.timelines.windows import FrameGrid, Layout, SlidingView, lay_grid, lay_windows, window_length, window_stride
from quickstep.models.pose_input import PoseReader, end_of
from quickstep.signals.poses.resampling import present
from quickstep.signals.video import probe
from quickstep.types.errors import MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames, Poses
from quickstep.types.view import View

STRETCH_SECONDS = 120.0  # of video that are computed and cached together
MAX_STRETCH = 1024  # timestamps or windows of a stretch, however short the stride
POSE_BATCH = 64  # windows of one person that are scored together


def score_video(request: TimelineRequest) -> VideoScores:
    """Return the scores of the model over a whole video; raise MediaError if nothing of it can be read."""
    if reads_poses(request.model.backbone):
        return _score_people(request)
    info = probe(request.path)
    if not info.duration > 0:
        raise MediaError(request.path, "has no duration, and no frame after the first")
    window = window_length(request.model, request.config)
    if request.model.backbone.capabilities.frame_by_frame:
        return _score_shared_frames(request, info.duration, window)
    return _score_windows(request, info.duration, window)


# -- frame by frame ----------------------------------------------------------------------------------------------------------


def _score_shared_frames(request: TimelineRequest, duration: float, window: float) -> VideoScores:
    """Embed each frame of a grid once; a window is as many frames as the model's view has."""
    model = request.model
    per_window = model.view.frames * (1 if model.view.fps is not None else model.view.windows or 1)
    grid = lay_grid(duration, window, window_stride(window, request.config, shared=True), per_window=per_window)
    accumulator = ScoreAccumulator(request, grid.layout, grid.count)
    length = max(1, min(MAX_STRETCH, round(STRETCH_SECONDS / grid.step)))
    vectors: dict[int, NDArray[np.float32]] = {}  # timestamp -> its vectors, one for each crop; those that windows still need
    firsts, due, reader = grid.firsts, 0, _FrameReader(request, grid, duration)
    for group in group_stretches(grid.count, length):
        for (a, b), features in accumulator.extract(group, model.backbone, reader):
            values = features.values
            vectors |= zip(range(a, b), values.reshape(b - a, -1, *values.shape[1:]), strict=True)
        ready = due
        while ready < len(firsts) and firsts[ready] + per_window <= group[-1][1]:
            ready += 1
        accumulator.add({number: _window_features(vectors, firsts[number], grid, model.view) for number in range(due, ready)})
        due = ready
        vectors = {number: vector for number, vector in vectors.items() if due < len(firsts) and number >= firsts[due]}
    return accumulator.video_scores(duration)


@dataclass(frozen=True)
class _FrameReader:
    """Stretches of the timestamps of a grid."""

    request: TimelineRequest
    grid: FrameGrid
    duration: float

    def segment(self, stretch: Stretch) -> Segment:
        first, last = stretch
        return Segment(self.request.path, start=first * self.grid.step, end=min(last * self.grid.step, self.duration))

    def view(self, length: int) -> View:
        return replace(self.request.model.view, frames=1, fps=None, windows=length, stride=None)


def _window_features(vectors: Mapping[int, NDArray[np.float32]], first: int, grid: FrameGrid, view: View) -> Features | None:
    """Return a window's features in the order of the view, window by window and crop by crop; None if a timestamp is unreadable."""
    numbers = range(first, first + grid.per_window)
    if not all(number in vectors for number in numbers):
        return None
    stacked = np.stack([vectors[number] for number in numbers])  # (N, crops, D)
    times = (first + np.arange(grid.per_window) + 0.5) * grid.step
    parts, crops = range(0, grid.per_window, view.frames), range(stacked.shape[1])
    values = np.concatenate([stacked[part : part + view.frames, crop] for part in parts for crop in crops])
    return Features(values, np.concatenate([times[part : part + view.frames] for part in parts for _ in crops]))


# -- window by window --------------------------------------------------------------------------------------------------------


def _score_windows(request: TimelineRequest, duration: float, window: float) -> VideoScores:
    """Embed each window; the frames of overlapping ones are decoded once."""
    layout = lay_windows(duration, window, window_stride(window, request.config))
    count = len(layout.starts)
    accumulator = ScoreAccumulator(request, layout, count)
    length = max(1, min(MAX_STRETCH, round(STRETCH_SECONDS / layout.stride) if layout.stride > 0 else 1))
    marked = cast(Backbone, MarkedBackbone(request.model.backbone))
    reader = _WindowReader(request, layout, duration)
    for group in group_stretches(count, length):
        windows: dict[int, Features | None] = {}
        for (a, b), features in accumulator.extract(group, marked, reader):
            windows |= zip(range(a, b), split_windows(features, b - a), strict=True)
        accumulator.add(windows)
    return accumulator.video_scores(duration)


@dataclass(frozen=True)
class _WindowReader:
    """Stretches of windows."""

    request: TimelineRequest
    layout: Layout
    duration: float

    def segment(self, stretch: Stretch) -> Segment:
        starts, length = self.layout.starts, self.layout.length
        end = min(float(starts[stretch[1] - 1]) + length, self.duration)
        return Segment(self.request.path, start=float(starts[stretch[0]]), end=end)

    def view(self, _length: int) -> View:
        return sliding(self.request.model.view, self.layout)


def sliding(view: View, layout: Layout) -> SlidingView:
    """Return the view applied to each window of a layout; with a frame rate, a window is one window of the view."""
    settings = {field.name: getattr(view, field.name) for field in fields(View)} | {"stride": None}
    if view.fps is not None:
        settings["windows"] = None if view.stride is not None else 1
    return SlidingView(**settings, length=layout.length, step=layout.stride)


class MarkedBackbone:
    """A backbone whose vectors have one more number: 1 in the first vector of each embedded window, else 0."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Return the identity of the backbone, and that its vectors are marked."""
        return {**self._backbone.identity, "marked": 1}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Return the backbone's features with the mark as their last number."""
        return [_mark(features) for features in self._backbone.embed(batch)]


def _mark(features: Features) -> Features:
    mark = np.zeros((*features.values.shape[:-1], 1), np.float32)
    mark[0] = 1
    return Features(np.concatenate([features.values, mark], axis=-1), features.times)


def split_windows(features: Features, windows: int) -> list[Features]:
    """Split marked features into those of each window and remove the mark; each window has the same number of marks."""
    marks = np.flatnonzero(features.values.reshape(len(features), -1)[:, -1] == 1)
    cuts = marks[:: len(marks) // windows][1:]
    parts = zip(np.split(features.values[..., :-1], cuts), np.split(features.times, cuts), strict=True)
    return [Features(np.ascontiguousarray(values), times) for values, times in parts]


# -- people ------------------------------------------------------------------------------------------------------------------


def _score_people(request: TimelineRequest) -> VideoScores:
    """Estimate poses once, and cut each window from them, for each person that is asked for."""
    model = request.model
    assert reads_poses(model.backbone)
    reader = PoseReader.of(model.backbone, model.view, request.cache)
    poses = reader.finder.find(request.path, progress=request.progress)
    duration = end_of(poses, Segment(request.path))
    if not len(poses) or not duration > 0:
        raise MediaError(request.path, "has no frame in which anybody is visible")
    window = window_length(model, request.config)
    layout = lay_windows(duration, window, window_stride(window, request.config, shared=True))
    people = _people_of(request, poses)
    count = len(layout.starts)
    scores, error = [], MediaError(request.path, "nobody is visible in it")
    for place, number in enumerate(people):
        accumulator = ScoreAccumulator(request, layout, len(people) * count, place * count)
        for first in range(0, count, POSE_BATCH):
            batch = range(first, min(first + POSE_BATCH, count))
            windows, last_error = _person_windows(request, reader, poses, layout, batch, number)
            error = last_error or error
            accumulator.add(windows)
            accumulator.report(batch.stop)
        if accumulator.has_scores:
            scores.append(accumulator.window_scores(number))
    if not scores:
        raise error
    return VideoScores(duration, tuple(scores))


def _person_windows(
    request: TimelineRequest, reader: PoseReader, poses: Poses, layout: Layout, batch: range, person: int | None
) -> tuple[dict[int, Features | None], MediaError | None]:
    """Return the features of a person's windows, and the last error of a window in which the person is not visible."""
    windows: dict[int, Features | None] = {}
    last_error = None
    end = end_of(poses, Segment(request.path))
    for number in batch:
        start = float(layout.starts[number])
        segment = Segment(request.path, start=start, end=min(start + layout.length, end), person=person)
        try:
            arrays = reader.extract_from(poses, segment)
            windows[number] = Features(arrays["values"], arrays["times"])
        except MediaError as error:
            last_error = error
    return windows, last_error


def _people_of(request: TimelineRequest, poses: Poses) -> list[int | None]:
    """Return whose windows are scored: everybody's, one person's, or in each window the main person's (None)."""
    assert reads_poses(request.model.backbone)
    person = request.person or request.model.backbone.config.person
    if person == "all":
        frames = np.asarray(present(poses)).sum(axis=0)  # (P,)
        return [number for column, number in enumerate(poses.people) if frames[column] > 0]
    if person == "auto":
        return [None]
    if int(person) not in poses.people:
        raise MediaError(request.path, f"has no person {person}; its people are: {', '.join(map(str, poses.people))}")
    return [int(person)]
