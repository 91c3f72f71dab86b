"""extract: segments -> Features, through the cache; decoding in worker threads overlaps with the network's work.

Knows backbones only by their contract. What was computed once is never decoded again; what fails is listed, never made up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quickstep.backbones import check_view, reads_poses
from quickstep.models.pose_input import Looker
from quickstep.models.window_input import Shown, Watch
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.video import DECODING_VERSION
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

MOST_WAITING = 256 * 2**20  # bytes of decoded pictures that may wait for the network
MOST_LOST = 0.5  # a segment more of whose moments than this cannot be read is a failure, not a guess


@dataclass(frozen=True)
class Extraction:
    """The features of the segments that could be used, in the order asked, and the failures of the others."""

    features: dict[Segment, Features]
    failures: tuple[Failure, ...] = ()
    damaged: dict[Segment, float] = field(default_factory=dict)  # the share of moments that could not be read, where any
    computed: int = 0  # videos looked at; the others came from the cache
    seconds: float = 0.0

    def check(self, *, strict: bool) -> Extraction:
        """Itself; where failures are not to be tolerated, the first one is raised."""
        if strict and self.failures:
            raise self.failures[0].error
        return self


def extract(
    segments: Sequence[Segment],
    backbone: Backbone,
    *,
    view: View | None = None,
    cache: Cache | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    watch: Watch | None = None,
    keep: bool = True,
) -> Extraction:
    """Features of every segment, from the cache where they are known, else computed and kept.

    Without `keep` the cache is not asked and told nothing: for a network that is still learning.

    `watch` is shown each window of pictures as it is decoded, window by window from one thread a segment: for whoever wants a
    thumbnail of what is looked at anyway.
    """
    started = time.perf_counter()
    view, cache = view or backbone.view, cache or Cache()
    check_view(backbone, view)
    shown = Shown(backbone, view, cache, watch)
    people = Looker.of(backbone, view, cache) if reads_poses(backbone) else None
    spans = {segment.span: segment for segment in segments}  # a span listed twice is looked at once
    known: dict[tuple[object, ...], Arrays] = {}
    errors: dict[tuple[object, ...], QuickstepError] = {}
    missing: list[_Job] = []
    for span, segment in spans.items():
        try:
            key = people.key(segment) if people else _key(segment, shown)
            found = cache.get(key) if keep else None
        except MediaError as error:
            errors[span] = error
            continue
        if found is None:
            missing.append(_Job(segment, key))
        else:
            known[span] = found
    done = len(known) + len(errors)
    progress("features", done, len(spans))
    for job, result in (
        ((missing[number], result) for number, result in people.compute([job.segment for job in missing], progress))
        if people
        else _compute(missing, shown, workers=workers or os.cpu_count() or 1)
    ):
        if isinstance(result, QuickstepError):
            errors[job.segment.span] = result
        else:
            if keep:
                cache.put(job.key, result)
            known[job.segment.span] = result
        done += 1
        progress("features", done, len(spans))
    features = {s: Features(known[s.span]["values"], known[s.span]["times"]) for s in segments if s.span in known}
    lost = {s: _share_lost(known[s.span]) for s in features}
    return Extraction(
        features,
        tuple(Failure(s, errors[s.span]) for s in segments if s.span in errors),
        {s: share for s, share in lost.items() if share > 0},
        len(missing),
        time.perf_counter() - started,
    )


@dataclass(frozen=True)
class _Job:
    segment: Segment
    key: dict[str, Json]


def _key(segment: Segment, shown: Shown) -> dict[str, Json]:
    """Everything that decides a segment's features; the file's bytes, never its name."""
    view, backbone = shown.view, shown.backbone
    if is_pose_name(segment.path):
        raise MediaError(segment.path, f"holds poses, and the backbone {backbone.name!r} looks at pictures: take --backbone joints")
    return {
        "kind": "features",
        "video": shown.cache.digest(segment.path),
        "span": [segment.start, segment.end],
        "view": to_plain(view),
        "decoding": DECODING_VERSION,
        "backbone": dict(backbone.identity),
        **shown.key,
    }


def _share_lost(arrays: Arrays) -> float:
    lost, asked = arrays["lost"]
    return float(lost) / float(asked)


@dataclass(frozen=True, eq=False)
class _Window:
    """One decoded window, or its features, with the number of frames that could not be decoded."""

    content: Frames | Flow | Features
    lost: int
    frames: int


def _compute(jobs: Sequence[_Job], shown: Shown, *, workers: int) -> Iterator[tuple[_Job, Arrays | QuickstepError]]:
    """Yield the features of each job as soon as they are complete.

    Worker threads decode windows (and compute flow, where the backbone reads it); windows of several videos are embedded together. A
    backbone that says `parallel` embeds in the worker threads: each call keeps one core busy, and batches do not make it faster.
    """
    threads = max(1, workers // max(1, len(jobs)))
    sources = [partial(_windows, job.segment, shown, threads) for job in jobs]
    decoded = prefetch_many(sources, workers=workers, size=_buffer_size(shown.view, workers), name="decode")
    assembly = _Assembly(shown.backbone, [_Parts(job.segment.path) for job in jobs])
    try:
        for number, item in decoded:
            for ready, result in assembly.add(number, item):
                yield jobs[ready], result
    finally:
        decoded.close()


def _windows(segment: Segment, shown: Shown, threads: int) -> Iterator[_Window]:
    """Decode the windows of a segment; embed each one here if the backbone is parallel."""
    backbone = shown.backbone
    for window in shown.windows(segment, threads=threads):
        content = backbone.embed([window])[0] if backbone.capabilities.parallel else window  # type: ignore[list-item]  # what it reads
        yield _Window(content, window.lost, len(window))


def _buffer_size(view: View, workers: int) -> int:
    """Return how many decoded windows may wait: a few for each worker, but at most some hundred megabytes of frames."""
    return max(2, min(4 * workers, MOST_WAITING // (view.frames * view.size**2 * 3)))


@dataclass
class _Parts:
    """What there is of one job so far."""

    path: Path
    features: list[Features | None] = field(default_factory=list)  # a place for each window, filled when it is embedded
    lost: int = 0
    asked: int = 0
    ended: bool = False


@dataclass
class _Assembly:
    """Gathers windows of all jobs into batches, has them embedded, and puts each result in its job's place."""

    backbone: Backbone
    parts: list[_Parts]
    open: int = field(init=False)
    waiting: list[tuple[int, int, Frames | Flow]] = field(default_factory=list)  # job, window, what is seen

    def __post_init__(self) -> None:
        self.open = len(self.parts)

    def add(self, number: int, item: _Window | Finished) -> list[tuple[int, Arrays | QuickstepError]]:
        """Take one window or the end of a job; return the jobs that are complete with it."""
        if isinstance(item, Finished):
            return self._end(number, item.error)
        part = self.parts[number]
        part.lost, part.asked = part.lost + item.lost, part.asked + item.frames
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
        """Embed what waits."""
        waiting, self.waiting = self.waiting, []
        if waiting:
            seen = self.backbone.embed([window for _, _, window in waiting])  # type: ignore[misc]  # what it reads
            for (number, place, _), features in zip(waiting, seen, strict=True):
                self.parts[number].features[place] = features
        return self._finished({number for number, _, _ in waiting})

    def _finished(self, numbers: set[int]) -> list[tuple[int, Arrays | QuickstepError]]:
        done: list[tuple[int, Arrays | QuickstepError]] = []
        for number in sorted(numbers):
            part = self.parts[number]
            features = [f for f in part.features if f is not None]
            if part.ended and part.features and len(features) == len(part.features):
                done.append((number, _whole(features, part)))
                self.parts[number] = _Parts(part.path)
        return done


def _whole(windows: list[Features], part: _Parts) -> Arrays | QuickstepError:
    if part.lost > MOST_LOST * part.asked:
        return MediaError(part.path, f"{part.lost} of the {part.asked} moments to look at cannot be read")
    return {
        "values": np.concatenate([window.values for window in windows]),
        "times": np.concatenate([window.times for window in windows]),
        "lost": np.array([part.lost, part.asked]),
    }
