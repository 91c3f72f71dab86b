"""Orientation: how a coded frame is rotated and mirrored; FrameScaler: decoded frames -> RGB pixels of a view.

Frames are scaled directly from the coded colours to the view's size, with antialiasing. Untagged colour is read as BT.601, limited range
(as FFmpeg does); HDR is not tone-mapped; transparent pixels are shown over black.
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
MAX_RATIO = 4  # of the scaled side to the kept one: a longer frame is cropped before it is scaled
MARGIN = 8  # pixels beyond the crop that the scaler may use
INTERPOLATION = {
    "bicubic": Interpolation.BICUBIC,
    "bilinear": Interpolation.BILINEAR,
    "lanczos": Interpolation.LANCZOS,
    "nearest": Interpolation.POINT,
    "area": Interpolation.AREA,
}
# Colour space of the stream -> the matrix to undo. A missing or unknown one is read as BT.601.
MATRIX = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}


@cache
def has_transparency(name: str) -> bool:
    """Whether a pixel format can be transparent."""
    form = av.VideoFormat(name)
    return form.has_palette or any(part.is_alpha for part in form.components)


@dataclass(frozen=True)
class Orientation:
    """The rotation, mirroring and pixel shape of a video, from its display matrix and aspect ratio."""

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
        """Width and height as presented."""
        width, height = self.square
        return (height, width) if self.turn in (90, 270) else (width, height)

    def apply(self, pixels: Pixels) -> Pixels:
        """Rotate and mirror pixels that were scaled as coded."""
        turned = np.rot90(pixels, self.turn // 90)
        return turned[:, ::-1] if self.mirrored else turned


def orientation_of(frame: VideoFrame, aspect: float) -> Orientation:
    """Return the orientation of a decoded frame, from its display matrix."""
    matrix = None
    entries = cast(Iterable[SideData], frame.side_data)  # the stubs call it a dict of strings; iterating gives the entries
    for data in entries:
        if data.type.name == "DISPLAYMATRIX":
            matrix = struct.unpack("=9i", bytes(data)[:36])
    if matrix is None:
        return Orientation(frame.width, frame.height, aspect)
    turn, mirrored = read_matrix(matrix)
    return Orientation(frame.width, frame.height, aspect, turn, mirrored)


def read_matrix(matrix: tuple[int, ...]) -> tuple[int, bool]:
    """Read a display matrix as (degrees counter-clockwise, mirrored after rotating), to the nearest quarter turn.

    The matrix maps a coded point (x, y), y downwards, to the presented point (a x + c y, b x + d y).
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    mirrored = a * d - b * c < 0
    if mirrored:
        a, c = -a, -c
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (0 if a + d >= 0 else 180), mirrored
    return (90 if c - b >= 0 else 270), mirrored


class FrameScaler:
    """Converts decoded frames to RGB pixels of one size, in the right orientation."""

    def __init__(self, orientation: Orientation, view: View | None) -> None:
        self.orientation = orientation
        width, height = orientation.size
        self.scaled, self.box = view.picture(width, height) if view else ((width, height), (0, 0, width, height))
        self.flags = INTERPOLATION[view.resample if view else "bicubic"] | Interpolation.ACCURATE_RND
        self.flags |= Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
        self._reformatter = VideoReformatter()
        self._cropper: _Cropper | None = None
        self._last: tuple[int, Pixels] | None = None

    def scale_once(self, pts: int, frame: VideoFrame) -> Pixels:
        """Scale a frame; for the same timestamp again, return the same array."""
        if self._last is None or self._last[0] != pts:
            self._last = (pts, self.scale(frame))
        return self._last[1]

    def scale(self, frame: VideoFrame) -> Pixels:
        """Scale, convert to RGB, rotate and crop one frame."""
        (full_width, full_height), (left, top, width, height) = self.scaled, self.box
        if max(full_width, full_height) > MAX_RATIO * max(width, height):
            frame, (full_width, full_height) = self._crop(frame)
            left, top = (full_width - width) // 2, (full_height - height) // 2
        target = (full_width, full_height) if self.orientation.turn in (0, 180) else (full_height, full_width)
        pixels = self.orientation.apply(self._scale(frame, *target))
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])

    def _scale(self, frame: VideoFrame, width: int, height: int) -> Pixels:
        transparent = has_transparency(frame.format.name)
        scaled = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgba" if transparent else "rgb24",
            src_colorspace=None if frame.format.is_rgb else MATRIX.get(frame.colorspace, Colorspace.ITU601),
            src_color_range=ColorRange.JPEG if frame.format.name.startswith("yuvj") else None,
            dst_color_range=ColorRange.JPEG,
            interpolation=self.flags,
            threads=1,
        )
        pixels = cast(Pixels, scaled.to_ndarray())
        if not transparent:
            return pixels
        return (pixels[..., :3] * (pixels[..., 3:].astype(np.uint16)) // 255).astype(np.uint8)

    def _crop(self, frame: VideoFrame) -> tuple[VideoFrame, tuple[int, int]]:
        """Return the centre of a very long frame, and the size to scale it to: pixels that are cropped away need no scaling."""
        if self._cropper is None or not self._cropper.fits(frame):
            self._cropper = _Cropper(frame, self.orientation, self.scaled, self.box[2:])
        return self._cropper.crop(frame), self._cropper.scaled


class _Cropper:
    """Crops the centre out of frames of one size without copying them."""

    def __init__(self, frame: VideoFrame, orientation: Orientation, scaled: tuple[int, int], keep: tuple[int, int]) -> None:
        self._input = (frame.width, frame.height, frame.format.name)
        flat = orientation.turn in (0, 180)
        scales = [full / coded for full, coded in zip(scaled if flat else scaled[::-1], self._input[:2], strict=True)]
        output = keep if flat else keep[::-1]
        sides = []
        for coded, scale, side in zip(self._input[:2], scales, output, strict=True):
            margin = side / scale + 2 * MARGIN * max(1.0, 1 / scale)
            spare = max(0, int((coded - margin) / 2)) // 8 * 8  # complete chroma samples are cut from both ends equally
            sides.append(coded - 2 * spare)
        targets = [max(least, round(side * scale)) for side, scale, least in zip(sides, scales, output, strict=True)]
        self.scaled = (targets[0], targets[1]) if flat else (targets[1], targets[0])
        self._graph = Graph()
        self._source = self._graph.add(
            "buffer", f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1:pixel_aspect=1/1"
        )
        crop = self._graph.add("crop", f"{sides[0]}:{sides[1]}:exact=1")
        self._sink = self._graph.add("buffersink")
        self._graph.link_nodes(self._source, crop, self._sink)
        self._graph.configure()

    def fits(self, frame: VideoFrame) -> bool:
        """Whether the frame has the size and format that the cropper was made for."""
        return (frame.width, frame.height, frame.format.name) == self._input

    def crop(self, frame: VideoFrame) -> VideoFrame:
        """Return the centre of the frame."""
        self._source.push(frame)
        return cast(VideoFrame, self._sink.pull())
