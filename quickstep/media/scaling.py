"""Upright, how a coded picture is brought upright, and Painter, decoded picture -> RGB pixels of a view; opens no file.

Scaling goes straight from the coded colours to the view's size, with antialiasing. Conventions:
untagged colour is read as BT.601, limited range (as FFmpeg does); HDR curves are not tone-mapped; what is transparent is shown
over black.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from quickstep.view import View

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Upright:
    """What the display matrix and the pixels' shape ask for: turn, mirror, make pixels square."""

    width: int  # as coded
    height: int
    aspect: float = 1.0  # width of a coded pixel over its height
    turn: int = 0  # degrees counter-clockwise: 0, 90, 180 or 270
    mirrored: bool = False  # left and right are swapped, after turning

    @property
    def square(self) -> tuple[int, int]:
        """Width and height with square pixels, before turning."""
        return max(1, round(self.width * self.aspect)), self.height

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as shown."""
        width, height = self.square
        return (height, width) if self.turn in (90, 270) else (width, height)

    def apply(self, pixels: Pixels) -> Pixels:
        """Turn and mirror a picture that was scaled as coded."""
        turned = np.rot90(pixels, self.turn // 90)
        return turned[:, ::-1] if self.mirrored else turned


def upright_of(frame: VideoFrame, aspect: float) -> Upright:
    """How a decoded frame has to be shown, from its display matrix."""
    matrix = None
    entries = cast(Iterable[SideData], frame.side_data)  # the stubs call it a dict of strings; its iteration gives the entries
    for data in entries:
        if data.type.name == "DISPLAYMATRIX":
            matrix = struct.unpack("=9i", bytes(data)[:36])
    if matrix is None:
        return Upright(frame.width, frame.height, aspect)
    turn, mirrored = read_matrix(matrix)
    return Upright(frame.width, frame.height, aspect, turn, mirrored)


def read_matrix(matrix: tuple[int, ...]) -> tuple[int, bool]:
    """A display matrix as (degrees counter-clockwise, mirrored after turning), to the nearest quarter turn.

    The matrix maps a coded point (x, y), y downwards, to the shown (a x + c y, b x + d y).
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    mirrored = a * d - b * c < 0
    if mirrored:
        a, c = -a, -c
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (0 if a + d >= 0 else 180), mirrored
    return (90 if c - b >= 0 else 270), mirrored


class Painter:
    """Turns decoded frames into upright RGB pixels of one size; keeps its scaler between frames."""

    def __init__(self, upright: Upright, view: View | None) -> None:
        self.upright = upright
        width, height = upright.size
        self.scaled, self.box = view.picture(width, height) if view else ((width, height), (0, 0, width, height))
        self.resample = view.resample if view else "bicubic"
        self._reformatter = VideoReformatter()
        self._last: tuple[int, Pixels] | None = None

    def paint_once(self, pts: int, frame: VideoFrame) -> Pixels:
        """The pixels of a picture; asked for the same one again, the same array."""
        if self._last is None or self._last[0] != pts:
            self._last = (pts, self.paint(frame))
        return self._last[1]

    def paint(self, frame: VideoFrame) -> Pixels:
        width, height = self.scaled if self.upright.turn in (0, 180) else self.scaled[::-1]
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb24",
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        pixels = self.upright.apply(cast(Pixels, rgb.to_ndarray()))
        left, top, width, height = self.box
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])
