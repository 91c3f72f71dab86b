"""View: which moments of a segment are looked at and at what size; the same for training, testing, app and service.

Only arithmetic on seconds: frame rates, variable rates and rotation are the decoder's business.
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
HAIR = 1e-6  # seconds: less than any tick of a clock that pictures are shown by
MOST_WINDOWS = 10_000


@dataclass(frozen=True)
class Cut:
    """A square of a picture: its left and top corner, and whether it is mirrored."""

    left: int
    top: int
    size: int
    mirrored: bool = False

    def out_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The square out of pictures (T, H, W, C)."""
        piece = pixels[:, self.top : self.top + self.size, self.left : self.left + self.size]
        return np.ascontiguousarray(piece[:, :, ::-1] if self.mirrored else piece)


@dataclass(frozen=True)
class View:
    """Which moments of a segment are looked at, and what the picture is brought to.

    Without `fps`, `frames` moments spread evenly over each of `windows` equal parts of the segment. With `fps`, each window is
    `frames` moments at that pace, and `windows=None` means as many as cover the segment. A segment too short for its
    window shows its last frame again: never a black one. `stride` (with `fps`, without `windows`) starts a window every so many seconds
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
            raise ConfigError("frames", f"from 1 to 4096 frames a window, not {self.frames}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ConfigError("fps", f"above 0 and at most 1000, not {self.fps}")
        if not 8 <= self.size <= 4096:
            raise ConfigError("size", f"from 8 to 4096 pixels, not {self.size}")
        if self.windows is None and self.fps is None:
            raise ConfigError("windows", "covering windows need a pace: set fps too")
        if self.stride is not None and not (self.fps is not None and self.windows is None and 0 < self.stride < math.inf):
            raise ConfigError("stride", f"a time above 0 between windows that have a pace (fps) and no fixed number, not {self.stride}")
        check_views(self.windows, self.crops)
        if self.crops > 1 and self.fit != "crop":
            raise ConfigError("crops", f"several crops need a view that crops, and this one has fit {self.fit!r}")
        if self.edge is not None and self.edge < self.size:
            raise ConfigError("edge", f"the short edge before cropping is at least the size ({self.size}), not {self.edge}")

    def moments(self, start: float, end: float) -> NDArray[np.float64]:
        """The seconds to look at, (W, F), each inside [start, end) and ascending in a window.

        Every moment stands in the middle of its share of time, so that rounding never turns it into the frame beside it.
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
        moments: NDArray[np.float64] = starts[:, None] + length * share[None, :]  # (W, F)
        return within(moments, start, end)

    def picture(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """For an upright width x height: the (width, height) to scale to, then the (left, top, width, height) to keep."""
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
    def spoken(self) -> str:
        """How often a segment is looked at, in words."""
        windows = "as many windows as cover it" if self.windows is None else f"{self.windows} window{'s' * (self.windows != 1)}"
        return f"{windows} x {self.crops} crop{'s' * (self.crops != 1)}"

    def uncut(self) -> View:
        """The same moments of the same scaled picture, of which nothing is cut off yet."""
        return replace(self, fit="uncut", crops=1) if self.fit == "crop" else self

    def cuts(self, width: int, height: int) -> list[Cut]:
        """The squares of `size` to look at in a scaled, uncut picture of width x height, as many as `crops`."""
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
    if windows is not None and not 1 <= windows <= MOST_WINDOWS:
        raise ConfigError("windows", f"from 1 to {MOST_WINDOWS} windows, not {windows}")
    if crops is not None and crops not in CROPS:
        raise ConfigError("crops", f"one of {', '.join(map(str, CROPS))} looks at each window, not {crops}")


def within(moments: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    """Moments moved into [start, end), where they are not: the picture that begins just at the end is not the segment's."""
    inside: NDArray[np.float64] = np.clip(moments, start, max(start, end - HAIR))
    return inside


def _by_short_edge(width: int, height: int, target: int) -> tuple[int, int]:
    """The size whose short edge is `target`; the long one is cut to whole pixels, as the image processors do."""
    if width <= height:
        return target, max(1, int(target * height / width))
    return max(1, int(target * width / height)), target
