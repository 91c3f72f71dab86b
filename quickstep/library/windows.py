"""A video -> its windows: which spans, a vector and a thumbnail for each. Every picture is decoded and embedded once.

A network that looks at single frames is given a steady row of them, and a window's vector is the mean of its frames' vectors; one that
looks at whole windows is given overlapping ones. Knows no library and no disk.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quickstep.backbones import Backbone
from quickstep.signals.video import VideoReader
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

LARGEST = 256  # pixels across a thumbnail
QUALITY = 80

Vectors = NDArray[np.float32]
Spans = NDArray[np.float64]


@dataclass(frozen=True)
class Slicing:
    """How a library cuts videos into windows and looks at them."""

    window: float
    hop: float
    view: View
    single_frames: bool

    def spans(self, duration: float) -> Spans:
        """The (start, end) of each window, (W, 2): one every hop, the last one ends where the video ends."""
        slack = max(0.0, duration - self.window)
        count = math.ceil(slack / self.hop - 1e-6) + 1
        starts = np.minimum(self.hop * np.arange(count), slack)
        return np.stack([starts, np.minimum(starts + self.window, duration)], axis=1)

    def moments(self, duration: float) -> NDArray[np.float64]:
        """The seconds that are looked at, in the order of the frames."""
        return self.view.moments(0.0, duration).reshape(-1)

    def middles(self, duration: float) -> NDArray[np.int64]:
        """For each window, which of the moments is nearest to its middle."""
        spans = self.spans(duration)
        if not self.single_frames:
            return np.arange(len(spans)) * self.view.frames + self.view.frames // 2
        moments = self.moments(duration)
        order = np.argsort(moments, kind="stable")  # they go back a little where the last frames end with the video
        middle = spans.mean(axis=1)
        after = np.clip(np.searchsorted(moments[order], middle), 1, max(1, len(order) - 1))
        pair = np.stack([order[after - 1], order[np.minimum(after, len(order) - 1)]])  # (2, W)
        nearer = np.abs(moments[pair] - middle).argmin(axis=0)
        return np.asarray(pair[nearer, np.arange(len(spans))], dtype=np.int64)

    def pool(self, features: Features, duration: float) -> Vectors:
        """One vector of length 1 a window, (W, D)."""
        spans, rows = self.spans(duration), unit(features.values)
        if not self.single_frames:
            if len(rows) % len(spans):
                raise ValueError(f"{len(rows)} vectors for {len(spans)} windows")
            return unit(rows.reshape(len(spans), -1, rows.shape[1]).mean(axis=1))
        moments = self.moments(duration)
        if len(moments) != len(rows):
            raise ValueError(f"{len(rows)} vectors for {len(moments)} moments")
        order = np.argsort(moments, kind="stable")
        first, last = (np.searchsorted(moments[order], ends) for ends in spans.T)
        nearest = self.middles(duration)  # for a window so short that no moment is in it
        means = [
            rows[order[begin:stop]].mean(axis=0, dtype=np.float64) if stop > begin else rows[nearest[number]]
            for number, (begin, stop) in enumerate(zip(first, last, strict=True))
        ]
        return unit(np.asarray(means, dtype=np.float32))


def slicing_for(backbone: Backbone, *, window: float, hop: float, pace: float) -> Slicing:
    """How a backbone is to look at windows; it is shown a black one, to see whether it gives a vector a frame."""
    if backbone.reads != "frames":
        raise ConfigError(
            "backbone", f"{backbone.name} looks at {backbone.reads}; a library is made of pictures, take one that looks at frames"
        )
    view = backbone.view
    if view.frames == 1 or _gives_each_frame(backbone):
        frames = max(1, round(hop * pace))  # as many as there are from one window's start to the next, so that each is seen once
        return Slicing(window, hop, replace(view, frames=frames, fps=frames / hop, windows=None, stride=hop), True)
    frames = view.frames if view.fps is None else max(2, round(window * view.fps))
    return Slicing(window, hop, replace(view, frames=frames, fps=frames / window, windows=None, stride=hop), False)


def _gives_each_frame(backbone: Backbone) -> bool:
    size, count = backbone.view.size, backbone.view.frames
    black = Frames(np.zeros((count, size, size, 3), np.uint8), np.arange(count, dtype=np.float64))
    values = backbone.embed([black])[0].values
    if values.ndim != 2:
        raise ConfigError("backbone", f"{backbone.name} as it was opened gives no single vector that could be searched")
    return len(values) == count


def unit(vectors: NDArray[np.float32]) -> Vectors:
    """Vectors brought to length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


@dataclass
class Watcher:
    """Takes thumbnails from the pictures that the backbone is shown; what it was not shown is read from the video."""

    slicing: Slicing
    wanted: dict[Segment, dict[int, bytes | None]] = field(default_factory=dict)  # number of the picture -> JPEG
    seen: dict[Segment, int] = field(default_factory=dict)

    def expect(self, segment: Segment, duration: float) -> None:
        """Take a picture for each window of this video."""
        self.wanted[segment] = dict.fromkeys(self.slicing.middles(duration).tolist())
        self.seen[segment] = 0

    def __call__(self, segment: Segment, frames: Frames) -> None:
        first = self.seen[segment]
        for number in range(first, first + len(frames)):
            if number in self.wanted[segment]:
                self.wanted[segment][number] = to_jpeg(frames.pixels[number - first])
        self.seen[segment] = first + len(frames)

    def take(self, segment: Segment, duration: float) -> list[bytes]:
        """The thumbnail of each window."""
        taken = self.wanted.pop(segment)
        missing = [number for number, picture in taken.items() if picture is None]
        if missing:
            with VideoReader(segment.path) as video:
                frames = video.frames(self.slicing.moments(duration)[missing], view=self.slicing.view)
            taken.update((number, to_jpeg(pixels)) for number, pixels in zip(missing, frames.pixels, strict=True))
        return [taken[number] or b"" for number in self.slicing.middles(duration).tolist()]


def to_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A small JPEG of a picture."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((LARGEST, LARGEST))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def check_whole(path: str, features: Features, slicing: Slicing, duration: float) -> Vectors:
    """The vectors of a video's windows; a video that changed while it was read is an error of that video."""
    try:
        return slicing.pool(features, duration)
    except ValueError as error:
        raise MediaError(path, f"its length is not what it was when reading began ({error})") from error


def mean_of(vectors: Sequence[Vectors] | Vectors) -> Vectors:
    """The direction in which several vectors point together."""
    mean: Vectors = unit(np.mean(np.asarray(vectors, dtype=np.float64), axis=0, keepdims=True).astype(np.float32))[0]
    return mean
