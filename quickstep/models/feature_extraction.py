"""extract: segments -> Features, through the cache; decoding in worker threads overlaps with the network's work.

Knows backbones only by their contract. What was computed once is never decoded again; what fails is listed, never made up.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quickstep.backbones import check_view
from quickstep.models.pose_input import Looker, reads_poses
from quickstep.models.window_input import Shown, Watch
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.video import DECODING_VERSION
from quickstep.storage.cache import Arrays, Cache, Json
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
        "view": asdict(view),
        "decoding": DECODING_VERSION,
        "backbone": dict(backbone.identity),
        **shown.key,
    }


def _share_lost(arrays: Arrays) -> float:
    lost, asked = arrays["lost"]
    return float(lost) / float(asked)


_Item = Frames | Flow | Features | BaseException | None  # a window, what was made of it, what went wrong, or: that was the last


def _room(view: View, workers: int) -> int:
    """How many windows may wait decoded: a few a worker, but never more than some hundred megabytes of pictures."""
    return max(2, min(4 * workers, MOST_WAITING // (view.frames * view.size**2 * 3)))


def _compute(jobs: Sequence[_Job], shown: Shown, *, workers: int) -> Iterator[tuple[_Job, Arrays | QuickstepError]]:
    """The features of each job, as they are finished.

    Workers decode window by window into a short queue (and look for flow, where that is wanted); windows of several videos are embedded
    together. A backbone that says `parallel` computes on the workers themselves (it keeps one core busy a call and gains nothing from
    batches).
    """
    backbone = shown.backbone
    decoded: queue.Queue[tuple[int, _Item, tuple[int, int]]] = queue.Queue(maxsize=_room(shown.view, workers))
    todo = iter(range(len(jobs)))
    stop = threading.Event()

    def hand_over(number: int, item: _Item, lost: tuple[int, int] = (0, 0)) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                decoded.put((number, item, lost), timeout=0.2)
                return

    def work() -> None:
        for number in todo:  # next() on a range iterator is atomic, so each job is taken once
            try:
                for window in shown.windows(jobs[number].segment, threads=max(1, workers // len(jobs))):
                    made = backbone.embed([window])[0] if backbone.parallel else window  # type: ignore[list-item]  # what it reads
                    hand_over(number, made, (window.lost, len(window)))
                    if stop.is_set():
                        return
                hand_over(number, None)
            except BaseException as error:  # whatever it is, the caller decides: it must not die with its thread
                hand_over(number, error)

    threads = [threading.Thread(target=work, name=f"decode-{i}", daemon=True) for i in range(min(workers, len(jobs)))]
    for thread in threads:
        thread.start()
    try:
        assembly = _Assembly(backbone, [_Parts(job.segment.path) for job in jobs])
        finished = 0
        while finished < len(jobs):
            number, item, lost = decoded.get()
            for ready, result in assembly.add(number, item, lost):
                finished += 1
                yield jobs[ready], result
    finally:
        stop.set()
        for thread in threads:
            thread.join()


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

    def add(self, number: int, item: _Item, lost: tuple[int, int]) -> list[tuple[int, Arrays | QuickstepError]]:
        """Take one thing from the queue; returns the jobs that it finished."""
        part = self.parts[number]
        if isinstance(item, MediaError):  # anything else (a full disk, a setting) is no fault of this video
            self.open -= 1
            self.waiting = [waiting for waiting in self.waiting if waiting[0] != number]
            return [(number, item), *(self._flush() if self.open == 0 else [])]
        if isinstance(item, BaseException):
            raise item
        part.lost, part.asked = part.lost + lost[0], part.asked + lost[1]
        if isinstance(item, Features):
            part.features.append(item)
            return []
        if isinstance(item, Frames | Flow):
            self.waiting.append((number, len(part.features), item))
            part.features.append(None)
            full = sum(len(window) for _, _, window in self.waiting) >= self.backbone.batch
            return self._flush() if full else []
        part.ended = True
        self.open -= 1
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
