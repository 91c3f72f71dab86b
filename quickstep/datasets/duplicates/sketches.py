"""Sketch: a video as small grey thumbnails at a steady rate and what they have in common; made once and kept in the cache.

A video longer than two minutes gets so few thumbnails that copies of all of it are found, but not copies of a part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.duplicates import frame_similarity
from quickstep.signals.video import DECODING_VERSION, VideoReader
from quickstep.storage.cache import Cache, Json
from quickstep.types.errors import MediaError
from quickstep.types.view import View

VERSION = 5
SKETCH_FPS = 15.0  # thumbnails a second of a short video
SIZE = 24  # pixels across a thumbnail
DENSE_SECONDS = 120.0  # videos up to this length get SKETCH_FPS thumbnails a second
_MAX_THUMBNAILS = 512  # of a longer video
_VIEW = View(frames=1, size=2 * SIZE, fit="stretch", resample="area")  # read at twice the size, then averaged here, exactly
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_HOLD_SECONDS = 0.2  # a frame that lasts longer is held, not blended into the next

Floats = NDArray[np.float32]
Times = NDArray[np.float64]
Span = tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Sketch:
    """The summary of a video's thumbnails that is kept in memory; the thumbnails stay in the cache."""

    digest: str
    fps: float  # thumbnails a second
    thumbnails: int
    lost: int  # timestamps whose own frame is damaged
    duration: float
    last_time: float  # seconds, of the last frame
    mean: Floats  # (12, 12) the mean thumbnail: the static image
    spread: Floats  # (12, 12) standard deviation: where something moves
    comovement: Floats  # (36, 36) which places, of 6 x 6, move together
    still: bool
    span: Span = None  # the part of the video that was sketched; None: the whole


def sketch_video(path: Path, cache: Cache, *, digest: str | None = None, span: Span = None) -> Sketch:
    """Return the sketch of a video, or of a span of it, from the cache or by decoding the video."""
    digest = digest or cache.digest(path)
    summary = cache.get(_key(digest, "summary", span))
    if summary is None:
        thumbnails, fps, duration, lost, last_time = _decode(path, span)
        grey = thumbnails.astype(np.float32)
        summary = {
            "mean": frame_similarity.shrink(grey.mean(0)[None], frame_similarity.COARSE)[0],
            "spread": frame_similarity.shrink(grey, frame_similarity.COARSE).std(0),
            "together": frame_similarity.comovement(grey),
            "facts": np.array([fps, len(thumbnails), lost, duration, last_time, frame_similarity.is_still(grey)], dtype=np.float64),
        }
        cache.put(_key(digest, "pictures", span), {"pictures": thumbnails})
        cache.put(_key(digest, "summary", span), summary)
    fps, count, lost, duration, last_time, still = summary["facts"].tolist()
    return Sketch(
        digest=digest,
        fps=fps,
        thumbnails=int(count),
        lost=int(lost),
        duration=duration,
        last_time=last_time,
        mean=summary["mean"],
        spread=summary["spread"],
        comovement=summary["together"],
        still=bool(still),
        span=span,
    )


def thumbnails_of(path: Path, sketch: Sketch, cache: Cache) -> Floats:
    """Return the thumbnails (T, 24, 24) of a sketch."""
    cached = cache.get(_key(sketch.digest, "pictures", sketch.span))
    thumbnails = cached["pictures"] if cached is not None else _decode(path, sketch.span)[0]
    return thumbnails.astype(np.float32)


def _key(digest: str, content: str, span: Span) -> dict[str, Json]:
    key: dict[str, Json] = {"kind": f"footage-{content}", "version": VERSION, "decoding": DECODING_VERSION, "sha256": digest}
    return key if span is None else {**key, "span": list(span)}


def _decode(path: Path, span: Span) -> tuple[NDArray[np.uint8], float, float, int, float]:
    """Return the thumbnails (T, 24, 24), their rate, the duration, the number of lost timestamps, and the time of the last frame."""
    with VideoReader(path) as video:
        first, duration = (0.0, video.info.duration) if span is None else (span[0], span[1] - span[0])
        fps = SKETCH_FPS
        limit = DENSE_SECONDS * SKETCH_FPS if duration <= DENSE_SECONDS else _MAX_THUMBNAILS
        while duration * fps > limit:
            fps /= 2
        fine = 2 * fps if fps == SKETCH_FPS else fps  # twice as many, averaged in pairs: fast movement blurs instead of flickering
        times = first + np.arange(max(1, int(duration * fine + 1e-6))) / fine
        frames = video.frames(times, view=_VIEW)
    if len(frames) == 0:
        raise MediaError(path, "has no frame")
    grey = frame_similarity.shrink(np.asarray(frames.pixels @ _LUMA, dtype=np.float32), SIZE)  # (T, 24, 24)
    steady = _interpolated(times, frames.times, grey) if fine > fps else grey
    if fine > fps and len(steady) > 1:
        steady = (steady[0 : len(steady) // 2 * 2 : 2] + steady[1::2]) / np.float32(2)
    return np.rint(steady).astype(np.uint8), fps, duration, frames.lost, float(frames.times.max())


def _interpolated(times: Times, frame_times: Times, grey: Floats) -> Floats:
    """Return images at exact times, blended from the frames before and after, so that the frame rate does not matter."""
    distinct, first = np.unique(frame_times, return_index=True)
    if len(distinct) < 2:
        return grey
    grey = grey[first]
    after = np.clip(np.searchsorted(distinct, times, side="right"), 1, len(distinct) - 1)
    gap = distinct[after] - distinct[after - 1]
    weight = np.clip((times - distinct[after - 1]) / gap, 0.0, 1.0)[:, None, None]
    weight = np.where(gap[:, None, None] > _HOLD_SECONDS, np.floor(weight), weight)
    return np.asarray(grey[after - 1] * (1 - weight) + grey[after] * weight, dtype=np.float32)
