"""Upright, how a coded picture is brought upright, and Painter, decoded picture -> RGB pixels of a view; opens no file.

Scaling goes straight from the coded colours to the view's size, with antialiasing. Conventions:
untagged colour is read as BT.601, limited range (as FFmpeg does); HDR curves are not tone-mapped; what is transparent is shown
over black.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import cast

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from quickstep.types.view import View

Pixels = NDArray[np.uint8]
LONG = 4  # times the side that is kept: what is longer is cut before it is scaled
EDGE = 8  # pixels beyond the cut that the scaler may look at
INTERPOLATION = {
    "bicubic": Interpolation.BICUBIC,
    "bilinear": Interpolation.BILINEAR,
    "lanczos": Interpolation.LANCZOS,
    "nearest": Interpolation.POINT,
    "area": Interpolation.AREA,
}
# What the stream says about its colours -> the matrix to undo. What is missing or unknown is read as BT.601.
MATRIX = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}


@cache
def see_through(name: str) -> bool:
    """Whether a pixel format can be transparent."""
    form = av.VideoFormat(name)
    return form.has_palette or any(part.is_alpha for part in form.components)


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
        self.flags = INTERPOLATION[view.resample if view else "bicubic"] | Interpolation.ACCURATE_RND
        self.flags |= Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
        self._reformatter = VideoReformatter()
        self._cutter: _Cutter | None = None
        self._last: tuple[int, Pixels] | None = None

    def paint_once(self, pts: int, frame: VideoFrame) -> Pixels:
        """The pixels of a picture; asked for the same one again, the same array."""
        if self._last is None or self._last[0] != pts:
            self._last = (pts, self.paint(frame))
        return self._last[1]

    def paint(self, frame: VideoFrame) -> Pixels:
        """Scale, colour, turn and crop one frame."""
        (full_width, full_height), (left, top, width, height) = self.scaled, self.box
        if max(full_width, full_height) > LONG * max(width, height):
            frame, (full_width, full_height) = self._cut(frame)
            left, top = (full_width - width) // 2, (full_height - height) // 2
        target = (full_width, full_height) if self.upright.turn in (0, 180) else (full_height, full_width)
        pixels = self.upright.apply(self._scale(frame, *target))
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])

    def _scale(self, frame: VideoFrame, width: int, height: int) -> Pixels:
        mixed = see_through(frame.format.name)
        scaled = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgba" if mixed else "rgb24",
            src_colorspace=None if frame.format.is_rgb else MATRIX.get(frame.colorspace, Colorspace.ITU601),
            src_color_range=ColorRange.JPEG if frame.format.name.startswith("yuvj") else None,
            dst_color_range=ColorRange.JPEG,
            interpolation=self.flags,
            threads=1,
        )
        pixels = cast(Pixels, scaled.to_ndarray())
        if not mixed:
            return pixels
        return (pixels[..., :3] * (pixels[..., 3:].astype(np.uint16)) // 255).astype(np.uint8)

    def _cut(self, frame: VideoFrame) -> tuple[VideoFrame, tuple[int, int]]:
        """The middle of a very long picture, and the size to scale it to, so that what is cropped away is never scaled."""
        if self._cutter is None or not self._cutter.fits(frame):
            self._cutter = _Cutter(frame, self.upright, self.scaled, self.box[2:])
        return self._cutter.cut(frame), self._cutter.scaled


class _Cutter:
    """Cuts the middle out of frames of one size without copying them."""

    def __init__(self, frame: VideoFrame, upright: Upright, scaled: tuple[int, int], keep: tuple[int, int]) -> None:
        self._like = (frame.width, frame.height, frame.format.name)
        flat = upright.turn in (0, 180)
        scales = [full / coded for full, coded in zip(scaled if flat else scaled[::-1], self._like[:2], strict=True)]
        wanted = keep if flat else keep[::-1]
        sides = []
        for coded, scale, side in zip(self._like[:2], scales, wanted, strict=True):
            margin = side / scale + 2 * EDGE * max(1.0, 1 / scale)
            spare = max(0, int((coded - margin) / 2)) // 8 * 8  # whole chroma samples are cut from both ends alike
            sides.append(coded - 2 * spare)
        shown = [max(least, round(side * scale)) for side, scale, least in zip(sides, scales, wanted, strict=True)]
        self.scaled = (shown[0], shown[1]) if flat else (shown[1], shown[0])
        self._graph = Graph()
        self._source = self._graph.add(
            "buffer", f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1:pixel_aspect=1/1"
        )
        crop = self._graph.add("crop", f"{sides[0]}:{sides[1]}:exact=1")
        self._sink = self._graph.add("buffersink")
        self._graph.link_nodes(self._source, crop, self._sink)
        self._graph.configure()

    def fits(self, frame: VideoFrame) -> bool:
        return (frame.width, frame.height, frame.format.name) == self._like

    def cut(self, frame: VideoFrame) -> VideoFrame:
        self._source.push(frame)
        return cast(VideoFrame, self._sink.pull())
