"""The windows of a long video: how long they are for a model, where they start, and the views that read them.

A model reads a window exactly as it reads a segment of the same length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import reads_flow
from quickstep.models.model import Model
from quickstep.signals.poses.formats import is_pose_file, read_poses
from quickstep.signals.video import probe
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.segment import Segment
from quickstep.types.view import View

SMOOTHING = 1.0  # measured on drawn long videos of several kinds of dancing (benchmarks/timeline.py)


@dataclass(frozen=True)
class TimelineConfig:
    """The windows of a long video, and how their scores become spans; the defaults fit the model."""

    window: float | None = setting(None, "length of a window in seconds (default: that of the training segments)")
    stride: float | None = setting(
        None, "seconds from one window to the next (default: half a window, or a quarter where windows share frames)"
    )
    min_duration: float | None = setting(None, "shortest span in seconds (default: half a window)")
    smoothing: float = setting(SMOOTHING, "penalty for a change of label; 0: every window by itself")
    min_confidence: float | None = setting(
        None, "score below which a span is unsure (default: 0.5, or the model's threshold where that is lower; 0: never)"
    )

    def __post_init__(self) -> None:
        for name, seconds in (("window", self.window), ("stride", self.stride)):
            if seconds is not None and not (math.isfinite(seconds) and seconds >= 0.02):
                raise ConfigError(name, f"must be at least 0.02 seconds, not {seconds:g}")
        if self.min_duration is not None and not (math.isfinite(self.min_duration) and self.min_duration >= 0):
            raise ConfigError("min_duration", f"0 seconds or more, not {self.min_duration:g}")
        between("smoothing", self.smoothing, 0, 1000)
        if self.min_confidence is not None:
            between("min_confidence", self.min_confidence, 0, 1)
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ConfigError("stride", f"must be at most a window ({self.window:g} s), so that nothing is left out, not {self.stride:g}")


DEFAULT_SECONDS = 3.0  # of a window, where no segment length is known
MIN_SECONDS, MAX_SECONDS = 0.5, 10.0  # a shorter window shows no movement, a longer one mixes moves
MAX_PROBED = 24  # training videos whose length is read
STRIDES = 2  # strides in a window, where each window is embedded separately: more found hardly more spans
SHARED_STRIDES = 4  # where windows share the features of frames
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layout:
    """Windows of one length over a video."""

    starts: Array  # (K,) seconds, ascending, evenly spaced
    length: float  # seconds
    stride: float  # seconds

    @property
    def middles(self) -> Array:
        """Return the middle of each window in seconds, (K,)."""
        return self.starts + self.length / 2


@dataclass(frozen=True)
class SlidingView(View):
    """A view that is applied to window after window, each of `length` seconds and `step` seconds after the one before."""

    length: float = 1.0
    step: float = 1.0

    def timestamps(self, start: float, end: float) -> Array:
        """Return the timestamps of all windows of a stretch, (K * W, F)."""
        count = 1 if self.step <= 0 else max(1, round((end - start - self.length) / self.step) + 1)
        starts = [start + self.step * number for number in range(count)]
        return np.concatenate([super(SlidingView, self).timestamps(first, min(first + self.length, end)) for first in starts])


def window_length(model: Model, config: TimelineConfig) -> float:
    """Return the length of a window for a model in seconds."""
    if config.window is not None:
        return config.window
    view, trained = model.view, _training_length(model)
    if view.fps is None:
        return trained or DEFAULT_SECONDS
    frames = view.frames + reads_flow(model.backbone)  # the last flow field needs one more picture
    read = frames / view.fps
    if view.stride is not None:  # the model was trained on several windows of each segment
        return max(read, trained or DEFAULT_SECONDS)
    return min(read, trained or read)


def window_stride(window: float, config: TimelineConfig, *, shared: bool = False) -> float:
    """Return the seconds from one window to the next; `shared` says that more windows cost next to nothing."""
    stride = window / (SHARED_STRIDES if shared else STRIDES) if config.stride is None else config.stride
    if stride > window * (1 + 1e-9):
        raise ConfigError("stride", f"must be at most a window, which is {window:.3g} s here, so that nothing is left out, not {stride:g}")
    return stride


def lay_windows(duration: float, window: float, stride: float) -> Layout:
    """Place windows from the start to the end of a video, with a slightly shorter stride where that makes them fit."""
    if duration <= window * (1 + 1e-9):
        return Layout(np.zeros(1), duration, min(stride, duration))
    slack = duration - window
    count = math.ceil(slack / stride - 1e-6) + 1
    starts = slack * np.arange(count) / (count - 1)
    return Layout(starts, window, slack / (count - 1))


@dataclass(frozen=True, eq=False)
class FrameGrid:
    """Evenly spaced timestamps over a whole video, which overlapping windows share."""

    step: float  # seconds between two timestamps
    count: int  # timestamps
    per_window: int  # timestamps
    per_stride: int  # timestamps

    @property
    def firsts(self) -> list[int]:
        """Return the first timestamp of each window; the last window ends with the last timestamp."""
        last = self.count - self.per_window
        firsts = list(range(0, last + 1, self.per_stride))
        return firsts if firsts[-1] == last else [*firsts, last]

    @property
    def layout(self) -> Layout:
        """Return the windows in seconds."""
        return Layout(np.array(self.firsts) * self.step, self.per_window * self.step, self.per_stride * self.step)


def lay_grid(duration: float, window: float, stride: float, *, per_window: int) -> FrameGrid:
    """Place a grid whose windows have the wanted length, up to half a step."""
    step = min(window, duration) / per_window
    count = max(per_window, round(duration / step))
    return FrameGrid(duration / count, count, per_window, max(1, round(stride / step)))


def _training_length(model: Model) -> float | None:
    """Return the median length of the training segments, within limits; None if it is not known."""
    if model.manifest is None:
        return None
    segments = [segment for segment in model.manifest.segments if segment.split in ("train", None)]
    sample = [segments[int(number)] for number in np.linspace(0, len(segments) - 1, min(MAX_PROBED, len(segments)))]
    lengths = [seconds for segment in sample if (seconds := _length_of(segment)) is not None]
    return float(np.clip(np.median(lengths), MIN_SECONDS, MAX_SECONDS)) if lengths else None


def _length_of(segment: Segment) -> float | None:
    if segment.end is not None:
        return segment.end - segment.start
    try:
        if is_pose_file(segment.path):
            times = read_poses(segment.path).times
            seconds = float(times[-1] - times[0] + np.median(np.diff(times))) if len(times) > 1 else 0.0
        else:
            seconds = probe(segment.path).duration
    except MediaError:
        return None
    return seconds - segment.start if seconds > segment.start else None
