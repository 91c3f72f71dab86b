"""View: which timestamps of a segment are read and at what size; the same in training, evaluation, app and service.

It is arithmetic on seconds only: the decoder handles frame rates and rotation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quickstep.types.errors import ConfigError

Fit = Literal["crop", "stretch", "whole", "uncut"]
Resample = Literal["bicubic", "bilinear", "lanczos", "nearest", "area"]

CROPS = (1, 3, 5, 10)
EPSILON = 1e-6  # seconds: less than one tick of any video's time base
MAX_WINDOWS = 10_000


@dataclass(frozen=True)
class Cut:
    """A square crop of a picture: its left and top edge, its size, and whether it is mirrored."""

    left: int
    top: int
    size: int
    mirrored: bool = False

    def out_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the square out of pictures (T, H, W, C)."""
        piece = pixels[:, self.top : self.top + self.size, self.left : self.left + self.size]
        return np.ascontiguousarray(piece[:, :, ::-1] if self.mirrored else piece)


@dataclass(frozen=True)
class View:
    """Which timestamps of a segment are read, and how its pictures are scaled and cropped.

    Without `fps`, `frames` timestamps spread evenly over each of `windows` equal parts of the segment. With `fps`, each window is
    `frames` timestamps at that rate, and `windows=None` means as many windows as cover the segment. A segment that is shorter than its
    window repeats its last frame, never a black one. `stride` (with `fps`, without `windows`) starts a window every so many seconds
    instead, overlapping ones where it is shorter than a window; the last one ends where the segment ends.

    `fit="crop"`: the short edge becomes `edge` (by default `size`), then the central size x size is kept. `"stretch"`: size x
    size whatever the shape. `"whole"`: the short edge becomes `size` (never enlarged), nothing is cut off.
    """

    frames: int = 8
    fps: float | None = None
    size: int = 224
    windows: int | None = 1
    fit: Fit = "crop"
    edge: int | None = None
    resample: Resample = "bicubic"
    stride: float | None = field(default=None, metadata={"written_as": "hop"})  # seconds; files of 0.1 call it hop
    crops: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= 4096:
            raise ConfigError("frames", f"must be from 1 to 4096 frames a window, not {self.frames}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ConfigError("fps", f"must be above 0 and at most 1000, not {self.fps}")
        if not 8 <= self.size <= 4096:
            raise ConfigError("size", f"must be from 8 to 4096 pixels, not {self.size}")
        if self.windows is None and self.fps is None:
            raise ConfigError("windows", "windows that cover a segment need a frame rate: set fps too")
        if self.stride is not None and not (self.fps is not None and self.windows is None and 0 < self.stride < math.inf):
            raise ConfigError("stride", f"must be above 0 seconds, with fps and without a number of windows; not {self.stride}")
        check_views(self.windows, self.crops)
        if self.crops > 1 and self.fit != "crop":
            raise ConfigError("crops", "the backbone reads the whole frame, so there is nothing to crop; leave it out")
        if self.edge is not None and self.edge < self.size:
            raise ConfigError("edge", f"the short edge before cropping is at least the size ({self.size}), not {self.edge}")

    def timestamps(self, start: float, end: float) -> NDArray[np.float64]:
        """Return the timestamps in seconds, (W, F), each inside [start, end) and ascending in a window.

        Each is in the middle of its share of time, so that rounding never selects the neighbouring frame.
        """
        share = (np.arange(self.frames) + 0.5) / self.frames
        if self.fps is None:
            assert self.windows is not None
            length = (end - start) / self.windows
            starts = start + length * np.arange(self.windows)
        elif self.stride is not None:
            length = self.frames / self.fps
            slack = max(0.0, end - start - length)
            count = math.ceil(slack / self.stride - 1e-6) + 1
            starts = start + np.minimum(self.stride * np.arange(count), slack)
        else:
            length = self.frames / self.fps
            count = self.windows or max(1, math.ceil((end - start) / length - 1e-6))
            slack = max(0.0, end - start - length)
            starts = start + (np.linspace(0.0, slack, count) if count > 1 else np.array([slack / 2]))
        timestamps: NDArray[np.float64] = starts[:, None] + length * share[None, :]  # (W, F)
        return within(timestamps, start, end)

    def picture(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Return the (width, height) to scale an upright picture to, then the (left, top, width, height) to keep."""
        short = min(width, height)
        if self.fit == "stretch":
            return (self.size, self.size), (0, 0, self.size, self.size)
        if self.fit == "whole":
            target = min(self.size, short)
            scaled = _by_short_edge(width, height, target)
            return scaled, (0, 0, *scaled)
        scaled = _by_short_edge(width, height, self.edge or self.size)
        if self.fit == "uncut":
            return scaled, (0, 0, *scaled)
        left, top = (scaled[0] - self.size) // 2, (scaled[1] - self.size) // 2
        return scaled, (left, top, self.size, self.size)

    @property
    def description(self) -> str:
        """Return the number of windows and crops in words."""
        windows = "as many windows as cover it" if self.windows is None else f"{self.windows} window{'s' * (self.windows != 1)}"
        return f"{windows} x {self.crops} crop{'s' * (self.crops != 1)}"

    def uncut(self) -> View:
        """Return the same timestamps of the same scaled pictures, before cropping."""
        return replace(self, fit="uncut", crops=1) if self.fit == "crop" else self

    def cuts(self, width: int, height: int) -> list[Cut]:
        """Return the crops of a scaled, uncropped picture of width x height, as many as `crops`."""
        right, bottom = width - self.size, height - self.size
        centre = right // 2, bottom // 2
        if self.crops == 1:
            corners = [centre]
        elif self.crops == 3:
            along = [(0, centre[1]), (right, centre[1])] if width >= height else [(centre[0], 0), (centre[0], bottom)]
            corners = [along[0], centre, along[1]]
        else:
            corners = [(0, 0), (right, 0), centre, (0, bottom), (right, bottom)]
        return [Cut(left, top, self.size, mirrored) for mirrored in (False, True)[: 1 + (self.crops == 10)] for left, top in corners]


def check_views(windows: int | None, crops: int | None) -> None:
    """Refuse numbers of windows and crops that no view can have."""
    if windows is not None and not 1 <= windows <= MAX_WINDOWS:
        raise ConfigError("windows", f"must be from 1 to {MAX_WINDOWS} windows, not {windows}")
    if crops is not None and crops not in CROPS:
        raise ConfigError("crops", f"must be one of {', '.join(map(str, CROPS))} crops of each window, not {crops}")


def within(timestamps: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    """Clip timestamps to [start, end): the picture that begins exactly at the end does not belong to the segment."""
    inside: NDArray[np.float64] = np.clip(timestamps, start, max(start, end - EPSILON))
    return inside


def _by_short_edge(width: int, height: int, target: int) -> tuple[int, int]:
    """Return the size whose short edge is `target`; the long edge is rounded down, as image processors do."""
    if width <= height:
        return target, max(1, int(target * height / width))
    return max(1, int(target * width / height)), target
