"""Where windows lie over a long video: how long they are for a model, how far apart, and the views that show them.

A model looks at a window exactly as it would look at a segment that is as long. Only arithmetic, and a look at how long the segments were
that a model learnt from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import reads_flow
from quickstep.inference.timelines.config import TimelineConfig
from quickstep.models.model import Model
from quickstep.signals.poses.formats import is_pose_file, read_poses
from quickstep.signals.video import probe
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.segment import Segment
from quickstep.types.view import View

if TYPE_CHECKING:
    from quickstep.backbones import Backbone

USUAL = 3.0  # seconds, where nothing says how long a segment is
LEAST, MOST = 0.5, 10.0  # seconds: shorter shows no movement, longer blurs what follows what
PROBED = 24  # training videos that are asked for their length
HOPS = 2  # hops a window, where each window costs a look of its own: more found hardly more spans
FREE_HOPS = 4  # where windows share what is looked at
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layout:
    """Windows of one length over a video."""

    starts: Array  # (K,) seconds, ascending, evenly apart
    length: float  # seconds
    hop: float  # seconds

    @property
    def middles(self) -> Array:
        """(K,) seconds."""
        return self.starts + self.length / 2


@dataclass(frozen=True)
class Sliding(View):
    """A view laid over window after window: each of `length` seconds, `step` seconds after the one before."""

    length: float = 1.0
    step: float = 1.0

    def timestamps(self, start: float, end: float) -> Array:
        """The seconds to look at in all windows of a stretch, (K * W, F)."""
        count = 1 if self.step <= 0 else max(1, round((end - start - self.length) / self.step) + 1)
        begins = [start + self.step * number for number in range(count)]
        return np.concatenate([super(Sliding, self).timestamps(begin, min(begin + self.length, end)) for begin in begins])


def window_of(model: Model, config: TimelineConfig) -> float:
    """How many seconds the model looks at together."""
    if config.window is not None:
        return config.window
    view, learnt = model.view, _learnt(model)
    if view.fps is None:
        return learnt or USUAL
    shown = view.frames + reads_flow(model.backbone)  # the last field of flow looks at one picture more
    paced = shown / view.fps
    if view.stride is not None:  # it is used to several windows a segment, and to what they have in common
        return max(paced, learnt or USUAL)
    return min(paced, learnt or paced)


def hop_of(window: float, config: TimelineConfig, *, shared: bool = False) -> float:
    """How many seconds lie between the beginnings of two windows; `shared` says that more of them cost next to nothing."""
    hop = window / (FREE_HOPS if shared else HOPS) if config.stride is None else config.stride
    if hop > window * (1 + 1e-9):
        raise ConfigError("stride", f"at most a window, which is {window:.3g} s here, so that nothing is left out, not {hop:g}")
    return hop


def lay(duration: float, window: float, hop: float) -> Layout:
    """Windows from the first second to the last, the hop a little shorter where that makes them fit; of a short video, one."""
    if duration <= window * (1 + 1e-9):
        return Layout(np.zeros(1), duration, min(hop, duration))
    slack = duration - window
    count = math.ceil(slack / hop - 1e-6) + 1
    starts = slack * np.arange(count) / (count - 1)
    return Layout(starts, window, slack / (count - 1))


@dataclass(frozen=True, eq=False)
class Grid:
    """Moments evenly over a whole video, which windows share: `each` of them are one window, one begins every `apart` of them."""

    step: float  # seconds
    count: int  # moments
    each: int
    apart: int

    @property
    def firsts(self) -> list[int]:
        """The first moment of each window; the last window ends with the last moment."""
        last = self.count - self.each
        firsts = list(range(0, last + 1, self.apart))
        return firsts if firsts[-1] == last else [*firsts, last]

    @property
    def layout(self) -> Layout:
        """The windows in seconds."""
        return Layout(np.array(self.firsts) * self.step, self.each * self.step, self.apart * self.step)


def lay_grid(duration: float, window: float, hop: float, *, each: int) -> Grid:
    """A grid whose windows are as long as wished, within half a moment's share."""
    step = min(window, duration) / each
    count = max(each, round(duration / step))
    return Grid(duration / count, count, each, max(1, round(hop / step)))


def one_by_one(backbone: Backbone) -> bool:
    """Whether it looks at each picture by itself, so that windows can share what was made of them."""
    return backbone.capabilities.frame_by_frame


def _learnt(model: Model) -> float | None:
    """The median length of the segments that the model learnt from, within reason; None where nobody knows."""
    if model.manifest is None:
        return None
    segments = [segment for segment in model.manifest.segments if segment.split in ("train", None)]
    chosen = [segments[int(place)] for place in np.linspace(0, len(segments) - 1, min(PROBED, len(segments)))]
    known = [seconds for segment in chosen if (seconds := _seconds(segment)) is not None]
    return float(np.clip(np.median(known), LEAST, MOST)) if known else None


def _seconds(segment: Segment) -> float | None:
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
