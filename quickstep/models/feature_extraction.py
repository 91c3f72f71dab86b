"""Compute the features of segments through the cache; worker threads decode while the network computes.

What is in the cache is never decoded again. A segment that cannot be read is listed as a failure.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quickstep.backbones import check_view, reads_flow, reads_poses
from quickstep.models.pose_input import PoseReader
from quickstep.signals.flow import FlowConfig
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.video import DECODING_VERSION, read_windows
from quickstep.signals.video.prefetch import Finished, prefetch_many
from quickstep.storage.cache import Arrays, Cache, Json
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import MediaError, QuickstepError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features, Flow, Frames

if TYPE_CHECKING:
    from quickstep.backbones import Backbone
    from quickstep.types.view import View


WindowCallback = Callable[[Segment, Frames], None]


@dataclass(frozen=True)
class WindowReader:
    """Reads the windows of segments for one backbone; optical flow goes through the cache."""

    backbone: Backbone
    view: View
    cache: Cache
    on_window: WindowCallback | None = None  # called with the frames of each window

    def read(self, segment: Segment, *, threads: int = 1) -> Iterator[Frames | Flow]:
        """Yield the windows of a segment; `threads` of them compute optical flow at once."""
        on_window = None if self.on_window is None else partial(self.on_window, segment)
        config = flow_config_of(self.backbone)
        if config is not None:
            from quickstep.signals.flow.reader import read_flow  # a backbone that reads frames needs no OpenCV

            yield from read_flow(segment, self.view, config, self.cache, threads=threads, watch=on_window)
            return
        for frames in read_windows(segment, self.view):
            if on_window is not None:
                on_window(frames)
            yield frames

    @property
    def key(self) -> dict[str, Json]:
        """Return what decides the windows besides the video, the view and the decoder."""
        config = flow_config_of(self.backbone)
        if config is None:
            return {}
        from quickstep.signals.flow.reader import identity_of

        return {"flow": identity_of(config)}


def flow_config_of(backbone: Backbone) -> FlowConfig | None:
    """Return how to compute the optical flow that a backbone reads; None for a backbone that reads something else."""
    return backbone.flow_config if reads_flow(backbone) else None


MAX_WAITING_BYTES = 256 * 2**20  # of decoded frames that wait for the network
MAX_LOST = 0.5  # share of the timestamps of a segment that may be unreadable; above it the segment is a failure

_log = logging.getLogger(__name__)

Span = tuple[object, ...]


@dataclass(frozen=True)
class Extraction:
    """The features of the readable segments, in the given order, and the failures of the others."""

    features: dict[Segment, Features]
    failures: tuple[Failure, ...] = ()
    damaged: dict[Segment, float] = field(default_factory=dict)  # share of the timestamps that could not be read, where any
    computed: int = 0  # segments that were read; the others came from the cache
    seconds: float = 0.0

    def check(self, *, strict: bool) -> Extraction:
        """Return itself; with `strict`, raise the first failure."""
        if strict and self.failures:
            raise self.failures[0].error
        return self


@dataclass(frozen=True)
class _Job:
    segment: Segment
    key: dict[str, Json]


def extract(
    segments: Sequence[Segment],
    backbone: Backbone,
    *,
    view: View | None = None,
    cache: Cache | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    on_window: WindowCallback | None = None,
    use_cache: bool = True,
) -> Extraction:
    """Return the features of every segment, from the cache where it has them, else computed and cached.

    `use_cache=False` is for a network that is being trained: features are neither looked up nor stored. `on_window` is called with the
    frames of each window as they are decoded, in order for each segment, in a thread; for thumbnails, for example.
    """
    started = time.perf_counter()
    view, cache = view or backbone.view, cache or Cache()
    check_view(backbone, view)
    windows = WindowReader(backbone, view, cache, on_window)
    people = PoseReader.of(backbone, view, cache) if reads_poses(backbone) else None
    results, jobs = _look_up(segments, people or windows, cache if use_cache else None)
    total = len(results) + len(jobs)
    if jobs:
        _log.info("computing %d of %d features with %s; the others are cached", len(jobs), total, backbone.name)
    progress("features", len(results), total)
    for job, result in _results(jobs, people, windows, workers or os.cpu_count() or 1, progress):
        if isinstance(result, QuickstepError):
            _log.info("could not be read: %s: %s", job.segment, result)
        elif use_cache:
            cache.put(job.key, result)
        results[job.segment.span] = result
        progress("features", len(results), total)
    return _collected(segments, results, len(jobs), time.perf_counter() - started)


def _look_up(
    segments: Sequence[Segment], reader: PoseReader | WindowReader, cache: Cache | None
) -> tuple[dict[Span, Arrays | QuickstepError], list[_Job]]:
    """Return what the cache has of each span, or why its file cannot be read, and the spans that have to be computed."""
    results: dict[Span, Arrays | QuickstepError] = {}
    jobs: list[_Job] = []
    for span, segment in {segment.span: segment for segment in segments}.items():  # a span that is given twice is read once
        try:
            key = reader.key(segment) if isinstance(reader, PoseReader) else _key(segment, reader)
            cached = cache.get(key) if cache is not None else None
        except MediaError as error:
            results[span] = error
            continue
        if cached is None:
            jobs.append(_Job(segment, key))
        else:
            results[span] = cached
    return results, jobs


def _collected(segments: Sequence[Segment], results: dict[Span, Arrays | QuickstepError], computed: int, seconds: float) -> Extraction:
    features: dict[Segment, Features] = {}
    damaged: dict[Segment, float] = {}
    failures: list[Failure] = []
    for segment in segments:
        result = results[segment.span]
        if isinstance(result, QuickstepError):
            failures.append(Failure(segment, result))
            continue
        features[segment] = Features(result["values"], result["times"])
        lost, total = result["lost"]
        if lost:
            damaged[segment] = float(lost) / float(total)
    return Extraction(features, tuple(failures), damaged, computed, seconds)


def _results(
    jobs: Sequence[_Job], people: PoseReader | None, windows: WindowReader, workers: int, progress: Progress
) -> Iterator[tuple[_Job, Arrays | QuickstepError]]:
    if people is None:
        yield from _compute(jobs, windows, workers=workers)
        return
    for number, result in people.extract_all([job.segment for job in jobs], progress):
        yield jobs[number], result


def _key(segment: Segment, windows: WindowReader) -> dict[str, Json]:
    """Return everything that decides a segment's features: the hash of the file's content, never its name."""
    backbone = windows.backbone
    if is_pose_name(segment.path):
        raise MediaError(
            segment.path,
            f"has the name of a file of poses; the backbone {backbone.name!r} reads videos, joints reads poses",
        )
    return {
        "kind": "features",
        "video": windows.cache.digest(segment.path),
        "span": [segment.start, segment.end],
        "view": to_plain(windows.view),
        "decoding": DECODING_VERSION,
        "backbone": dict(backbone.identity),
        **windows.key,
    }


@dataclass(frozen=True, eq=False)
class _Window:
    """One decoded window, or its features, with the number of frames that could not be decoded."""

    content: Frames | Flow | Features
    lost: int
    frames: int


def _compute(jobs: Sequence[_Job], reader: WindowReader, *, workers: int) -> Iterator[tuple[_Job, Arrays | QuickstepError]]:
    """Yield the features of each job as soon as they are complete.

    Worker threads decode windows (and compute flow, where the backbone reads it); windows of several videos are embedded together. A
    backbone that says `parallel` embeds in the worker threads: each call keeps one core busy, and batches do not make it faster.
    """
    threads = max(1, workers // max(1, len(jobs)))
    sources = [partial(_windows, job.segment, reader, threads) for job in jobs]
    decoded = prefetch_many(sources, workers=workers, size=_buffer_size(reader.view, workers), name="decode")
    assembly = _Assembly(reader.backbone, [_Parts(job.segment.path) for job in jobs])
    try:
        for number, item in decoded:
            for ready, result in assembly.add(number, item):
                yield jobs[ready], result
    finally:
        decoded.close()


def _windows(segment: Segment, reader: WindowReader, threads: int) -> Iterator[_Window]:
    """Decode the windows of a segment; embed each one here if the backbone is parallel."""
    backbone = reader.backbone
    for window in reader.read(segment, threads=threads):
        content = backbone.embed([window])[0] if backbone.capabilities.parallel else window  # type: ignore[list-item]  # what it reads
        yield _Window(content, window.lost, len(window))


def _buffer_size(view: View, workers: int) -> int:
    """Return how many decoded windows may wait: a few for each worker, but at most some hundred megabytes of frames."""
    return max(2, min(4 * workers, MAX_WAITING_BYTES // (view.frames * view.size**2 * 3)))


@dataclass
class _Parts:
    """The windows of one job so far."""

    path: Path
    features: list[Features | None] = field(default_factory=list)  # one for each window; None until it is embedded
    lost: int = 0
    total: int = 0
    ended: bool = False


@dataclass
class _Assembly:
    """Collects windows of all jobs into batches, embeds them, and returns each job that is complete."""

    backbone: Backbone
    parts: list[_Parts]
    open: int = field(init=False)
    waiting: list[tuple[int, int, Frames | Flow]] = field(default_factory=list)  # job, window, its content

    def __post_init__(self) -> None:
        self.open = len(self.parts)

    def add(self, number: int, item: _Window | Finished) -> list[tuple[int, Arrays | QuickstepError]]:
        """Take one window or the end of a job; return the jobs that are complete with it."""
        if isinstance(item, Finished):
            return self._end(number, item.error)
        part = self.parts[number]
        part.lost, part.total = part.lost + item.lost, part.total + item.frames
        if isinstance(item.content, Features):
            part.features.append(item.content)
            return []
        self.waiting.append((number, len(part.features), item.content))
        part.features.append(None)
        full = sum(len(window) for _, _, window in self.waiting) >= self.backbone.batch
        return self._flush() if full else []

    def _end(self, number: int, error: BaseException | None) -> list[tuple[int, Arrays | QuickstepError]]:
        """End a job; an error that is not about its video (a full disk, a setting) is raised."""
        if error is not None and not isinstance(error, MediaError):
            raise error
        self.open -= 1
        if error is not None:
            self.waiting = [waiting for waiting in self.waiting if waiting[0] != number]
            return [(number, error), *(self._flush() if self.open == 0 else [])]
        self.parts[number].ended = True
        return self._finished({number}) + (self._flush() if self.open == 0 else [])

    def _flush(self) -> list[tuple[int, Arrays | QuickstepError]]:
        """Embed the waiting windows."""
        waiting, self.waiting = self.waiting, []
        if waiting:
            embedded = self.backbone.embed([content for _, _, content in waiting])  # type: ignore[misc]  # what it reads
            for (number, window, _), features in zip(waiting, embedded, strict=True):
                self.parts[number].features[window] = features
        return self._finished({number for number, _, _ in waiting})

    def _finished(self, numbers: set[int]) -> list[tuple[int, Arrays | QuickstepError]]:
        done: list[tuple[int, Arrays | QuickstepError]] = []
        for number in sorted(numbers):
            part = self.parts[number]
            features = [f for f in part.features if f is not None]
            if part.ended and part.features and len(features) == len(part.features):
                done.append((number, _joined(features, part)))
                self.parts[number] = _Parts(part.path)
        return done


def _joined(windows: list[Features], part: _Parts) -> Arrays | QuickstepError:
    if part.lost > MAX_LOST * part.total:
        return MediaError(part.path, f"{part.lost} of its {part.total} timestamps cannot be read")
    return {
        "values": np.concatenate([window.values for window in windows]),
        "times": np.concatenate([window.times for window in windows]),
        "lost": np.array([part.lost, part.total]),
    }
