"""Cut a video into windows, and make a vector, a thumbnail and labels for each. Every frame is decoded and embedded once.

A backbone for single frames gets frames at a steady rate, and a window's vector is the mean of its frames' vectors; a backbone for
several frames gets overlapping windows.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quickstep.backbones import Backbone
from quickstep.models.model import Model
from quickstep.signals.video import VideoReader
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

THUMBNAIL_EDGE = 256  # pixels
JPEG_QUALITY = 80
MAX_LABELS = 5  # for each window
MIN_PROBABILITY = 0.01  # of a label that is kept

Vectors = NDArray[np.float32]
Spans = NDArray[np.float64]  # (W, 2) in seconds


@dataclass(frozen=True)
class WindowGrid:
    """How a library cuts videos into windows, and which frames of them it reads."""

    window: float  # seconds
    stride: float
    view: View
    single_frames: bool

    def spans(self, duration: float) -> Spans:
        """Return the (start, end) of each window, (W, 2): one every stride, the last one ends with the video."""
        slack = max(0.0, duration - self.window)
        count = math.ceil(slack / self.stride - 1e-6) + 1
        starts = np.minimum(self.stride * np.arange(count), slack)
        return np.stack([starts, np.minimum(starts + self.window, duration)], axis=1)

    def timestamps(self, duration: float) -> NDArray[np.float64]:
        """Return the seconds of the frames that are read, in the order of reading."""
        return self.view.timestamps(0.0, duration).reshape(-1)

    def middle_frames(self, duration: float) -> NDArray[np.int64]:
        """Return for each window the number of the frame that is nearest to its middle."""
        spans = self.spans(duration)
        if not self.single_frames:
            return np.arange(len(spans)) * self.view.frames + self.view.frames // 2
        timestamps = self.timestamps(duration)
        order = np.argsort(timestamps, kind="stable")  # the last frames end with the video, so they may step back a little
        middle = spans.mean(axis=1)
        after = np.clip(np.searchsorted(timestamps[order], middle), 1, max(1, len(order) - 1))
        neighbours = np.stack([order[after - 1], order[np.minimum(after, len(order) - 1)]])  # (2, W)
        nearer = np.abs(timestamps[neighbours] - middle).argmin(axis=0)
        return np.asarray(neighbours[nearer, np.arange(len(spans))], dtype=np.int64)

    def pool(self, features: Features, duration: float) -> Vectors:
        """Pool a video's features to one vector of length 1 for each window, (W, D)."""
        spans, rows = self.spans(duration), unit(features.values)
        if not self.single_frames:
            if len(rows) % len(spans):
                raise ValueError(f"{len(rows)} vectors for {len(spans)} windows")
            return unit(rows.reshape(len(spans), -1, rows.shape[1]).mean(axis=1))
        timestamps = self.timestamps(duration)
        if len(timestamps) != len(rows):
            raise ValueError(f"{len(rows)} vectors for {len(timestamps)} frames")
        order = np.argsort(timestamps, kind="stable")
        first, last = (np.searchsorted(timestamps[order], ends) for ends in spans.T)
        nearest = self.middle_frames(duration)  # for a window so short that it contains no frame
        means = [
            rows[order[begin:stop]].mean(axis=0, dtype=np.float64) if stop > begin else rows[nearest[number]]
            for number, (begin, stop) in enumerate(zip(first, last, strict=True))
        ]
        return unit(np.asarray(means, dtype=np.float32))

    def vectors(self, path: str, features: Features, duration: float) -> Vectors:
        """Pool as `pool` does; a file that changed while it was read is a MediaError."""
        try:
            return self.pool(features, duration)
        except ValueError as error:
            raise MediaError(path, f"its length changed while it was read ({error})") from error


def window_grid(backbone: Backbone, *, window: float, stride: float, fps: float) -> WindowGrid:
    """Choose how windows are read with a backbone; it embeds one black window, to see whether it gives a vector for each frame."""
    if backbone.capabilities.reads != "frames":
        raise ConfigError("backbone", f"a library needs one that reads frames; {backbone.name} reads {backbone.capabilities.reads}")
    view = backbone.view
    if view.frames == 1 or _gives_vector_per_frame(backbone):
        frames = max(1, round(stride * fps))  # from one window's start to the next, so that each frame is read once
        return WindowGrid(window, stride, replace(view, frames=frames, fps=frames / stride, windows=None, stride=stride), True)
    frames = view.frames if view.fps is None else max(2, round(window * view.fps))
    return WindowGrid(window, stride, replace(view, frames=frames, fps=frames / window, windows=None, stride=stride), False)


def _gives_vector_per_frame(backbone: Backbone) -> bool:
    size, count = backbone.view.size, backbone.view.frames
    black = Frames(np.zeros((count, size, size, 3), np.uint8), np.arange(count, dtype=np.float64))
    values = backbone.embed([black])[0].values
    if values.ndim != 2:
        raise ConfigError("backbone", f"{backbone.name} with these settings does not give single vectors, which a search needs")
    return len(values) == count


def unit(vectors: NDArray[np.float32]) -> Vectors:
    """Scale vectors to length 1; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def mean_direction(vectors: Vectors) -> Vectors:
    """Return the mean of several vectors (N, D), scaled to length 1 (D,)."""
    mean: Vectors = unit(np.mean(np.asarray(vectors, dtype=np.float64), axis=0, keepdims=True).astype(np.float32))[0]
    return mean


# -- thumbnails -------------------------------------------------------------------------------------------------------------


@dataclass
class ThumbnailCollector:
    """Makes thumbnails of the frames that the backbone embeds; frames that came from the cache are read from the video."""

    grid: WindowGrid
    _jpegs: dict[Segment, dict[int, bytes | None]] = field(default_factory=dict)  # number of the frame -> JPEG
    _frames_read: dict[Segment, int] = field(default_factory=dict)

    def expect(self, segment: Segment, duration: float) -> None:
        """Collect a thumbnail for each window of this video."""
        self._jpegs[segment] = dict.fromkeys(self.grid.middle_frames(duration).tolist())
        self._frames_read[segment] = 0

    def __call__(self, segment: Segment, frames: Frames) -> None:
        """Take the thumbnails among some frames of a video, which come in order."""
        first = self._frames_read[segment]
        for number in range(first, first + len(frames)):
            if number in self._jpegs[segment]:
                self._jpegs[segment][number] = to_jpeg(frames.pixels[number - first])
        self._frames_read[segment] = first + len(frames)

    def take(self, segment: Segment, duration: float) -> list[bytes]:
        """Return the thumbnail of each window, and forget the video."""
        jpegs = self._jpegs.pop(segment)
        missing = [number for number, jpeg in jpegs.items() if jpeg is None]
        if missing:
            with VideoReader(segment.path) as video:
                frames = video.frames(self.grid.timestamps(duration)[missing], view=self.grid.view)
            jpegs.update((number, to_jpeg(pixels)) for number, pixels in zip(missing, frames.pixels, strict=True))
        return [jpegs[number] or b"" for number in self.grid.middle_frames(duration).tolist()]


def to_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a frame as a small JPEG."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


# -- labels -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WindowLabels:
    """The most probable labels of each window of a video, best first, with their probabilities."""

    names: tuple[tuple[str, ...], ...] = ()
    scores: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class WindowLabeler:
    """Labels windows with a model; uses the library's own features where the model reads the same frames."""

    model: Model
    grid: WindowGrid
    library_identity: dict[str, object]  # of the library's backbone
    cache: Cache

    @property
    def shares_frames(self) -> bool:
        """Whether the model's backbone and frame sizes are those of the library, so that features of frames serve both."""
        sizes = [(view.size, view.fit, view.edge, view.resample) for view in (self.model.view, self.grid.view)]
        return self.grid.single_frames and dict(self.model.backbone.identity) == self.library_identity and sizes[0] == sizes[1]

    def label(self, path: str, spans: Spans, features: Features | None) -> WindowLabels:
        """Label each window of one video; `features` are the library's own, of the whole video."""
        segments = [Segment(Path(path), start=float(start), end=float(end)) for start, end in spans]
        scores: list[NDArray[np.float64] | None] = [None] * len(segments)
        if features is not None and self.shares_frames:
            for number, segment in enumerate(segments):
                own = self._select_features(features, segment, duration=float(spans[-1, 1]))
                scores[number] = None if own is None else self.model.scores([own])[0]
        missing = [number for number, score in enumerate(scores) if score is None]
        if missing:
            if len(segments) == 1:
                segments = [Segment(Path(path))]  # the whole video: its features may be in the cache from training
            answer = self.model.predict([segments[number] for number in missing], cache=self.cache)
            by_segment = {prediction.segment: prediction.scores for prediction in answer.predictions}
            for number in missing:
                scores[number] = by_segment.get(segments[number])
        ranked = [[] if score is None else _most_probable(self.model.labels, score) for score in scores]
        names = tuple(tuple(name for name, _ in row) for row in ranked)
        return WindowLabels(names, tuple(tuple(score for _, score in row) for row in ranked))

    def _select_features(self, features: Features, segment: Segment, *, duration: float) -> Features | None:
        """Select the library's features at the timestamps that the model reads; None if any is missing."""
        assert segment.end is not None
        expected = self.model.view.timestamps(segment.start, segment.end).reshape(-1)
        available = self.grid.timestamps(duration)
        if len(available) != len(features):
            return None
        order = np.argsort(available, kind="stable")
        places = order[np.clip(np.searchsorted(available[order], expected - 1e-6), 0, len(order) - 1)]
        if np.abs(available[places] - expected).max() > 1e-6:
            return None
        return Features(features.values[places], features.times[places])


def _most_probable(labels: Sequence[str], scores: NDArray[np.float64]) -> list[tuple[str, float]]:
    order = np.argsort(-scores, kind="stable")[:MAX_LABELS]
    return [(labels[i], float(scores[i])) for i in order if scores[i] >= MIN_PROBABILITY]
