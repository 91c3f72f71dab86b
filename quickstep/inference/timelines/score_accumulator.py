"""ScoreAccumulator: collects the scores of a video's windows, records what could not be read, and reports progress."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from quickstep.backbones import Backbone
from quickstep.inference.timelines.spans import WindowScores
from quickstep.inference.timelines.windows import Layout, TimelineConfig
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.types.errors import MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

PER_CORE = 2  # stretches that are computed together
MAX_DAMAGED = 0.02  # share of a stretch that may be unreadable before its pieces are read one by one
PIECES = 16  # of a damaged stretch
Stretch = tuple[int, int]  # half-open range of timestamps or windows

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class VideoScores:
    """The scores of one model over one video."""

    duration: float
    scores: tuple[WindowScores, ...]  # one for each person
    failures: tuple[Failure, ...] = ()
    damaged: float = 0.0


@dataclass(frozen=True)
class TimelineRequest:
    """One model and one video."""

    model: Model
    path: Path
    config: TimelineConfig
    cache: Cache
    progress: Progress = silent
    person: str | None = None


class StretchReader(Protocol):
    """How stretches of a video are read."""

    def segment(self, stretch: Stretch) -> Segment:
        """Return the segment of a stretch."""

    def view(self, length: int) -> View:
        """Return the view that reads a stretch of so many timestamps or windows."""


class ScoreAccumulator:
    """The scores of one video's windows, of one person where the model reads poses."""

    def __init__(self, request: TimelineRequest, layout: Layout, total: int, done: int = 0) -> None:
        self._request, self._layout = request, layout
        self._total, self._before, self._done = total, done, 0  # timestamps or windows
        self._scores = np.full((len(layout.starts), len(request.model.labels)), np.nan)
        self._failures: list[Failure] = []
        self._lost, self._lock = 0.0, Lock()
        self.report(0)

    @property
    def has_scores(self) -> bool:
        """Whether any window has scores."""
        return bool(np.isfinite(self._scores).any())

    def report(self, done: int) -> None:
        """Report that so many timestamps or windows are done."""
        self._done = done
        self._request.progress(f"timeline of {self._request.path.name}", min(self._before + done, self._total), self._total)

    def extract(self, stretches: Sequence[Stretch], backbone: Backbone, reader: StretchReader) -> list[tuple[Stretch, Features]]:
        """Return the features of stretches of one length; of a damaged stretch, those of its pieces that can be read."""
        readable: list[tuple[Stretch, Features]] = []
        extraction = self._extract(stretches, backbone, reader)
        for stretch in stretches:
            segment = reader.segment(stretch)
            damaged = extraction.damaged.get(segment, 0.0)
            if segment in extraction.features and damaged <= MAX_DAMAGED:
                readable.append((stretch, extraction.features[segment]))
                self._lost += damaged * (stretch[1] - stretch[0])
            else:
                _log.info("%s is damaged: its pieces are read one by one", segment)
                readable += self._extract_pieces(stretch, backbone, reader)
        self.report(stretches[-1][1])
        return readable

    def _extract_pieces(self, stretch: Stretch, backbone: Backbone, reader: StretchReader) -> list[tuple[Stretch, Features]]:
        readable: list[tuple[Stretch, Features]] = []
        for pieces in _pieces_of(stretch):
            extraction = self._extract(pieces, backbone, reader)
            self._failures += extraction.failures
            for piece in pieces:
                segment = reader.segment(piece)
                self._lost += extraction.damaged.get(segment, 0.0) * (piece[1] - piece[0])
                if segment in extraction.features:
                    readable.append((piece, extraction.features[segment]))
        return readable

    def _extract(self, stretches: Sequence[Stretch], backbone: Backbone, reader: StretchReader) -> Extraction:
        view, last, decoded = reader.view(stretches[0][1] - stretches[0][0]), stretches[-1][1], [0]
        per_window = max(1, (view.windows or 1) * view.crops if view.frames > 1 else view.crops)  # decoded windows

        def count(_segment: Segment, _frames: Frames) -> None:
            with self._lock:
                decoded[0] += 1
                self.report(max(self._done, min(stretches[0][0] + decoded[0] // per_window, last - 1)))

        reads_frames = backbone.capabilities.reads == "frames"  # cached optical flow has no frames
        segments = [reader.segment(stretch) for stretch in stretches]
        return extract(segments, backbone, view=view, cache=self._request.cache, on_window=count if reads_frames else None)

    def add(self, features: Mapping[int, Features | None]) -> None:
        """Score the features of windows; a window without features stays without scores."""
        readable = {number: window for number, window in features.items() if window is not None}
        if readable:
            self._scores[list(readable)] = self._request.model.scores(list(readable.values()))

    def window_scores(self, person: int | None = None) -> WindowScores:
        """Return the scores of all windows."""
        return WindowScores(self._layout.middles, self._scores, self._layout.length, self._layout.stride, person)

    def video_scores(self, duration: float) -> VideoScores:
        """Return everything; raise an error if no window of the video could be read."""
        if not self.has_scores:
            raise self._failures[0].error if self._failures else MediaError(self._request.path, "has no window that can be read")
        return VideoScores(duration, (self.window_scores(),), _gaps(self._failures, duration), self._lost / self._total)


def _gaps(failures: Sequence[Failure], duration: float) -> tuple[Failure, ...]:
    """Join failures that touch into one for each gap."""
    gaps: list[Segment] = []
    for segment in sorted((failure.segment for failure in failures), key=lambda segment: segment.start):
        end = duration if segment.end is None else segment.end
        if gaps and segment.start <= (gaps[-1].end or 0.0) + 1e-6:
            gaps[-1] = replace(gaps[-1], end=max(gaps[-1].end or 0.0, end))
        else:
            gaps.append(replace(segment, end=end))
    return tuple(Failure(gap, MediaError(gap.path, f"cannot be read from {gap.start:.1f} to {gap.end:.1f} s")) for gap in gaps)


def group_stretches(count: int, length: int) -> Iterator[list[Stretch]]:
    """Yield stretches of one length in groups that keep all cores busy, and a shorter last one by itself."""
    group = PER_CORE * (os.cpu_count() or 1)
    stretches = [(first, first + length) for first in range(0, count - length + 1, length)]
    yield from (stretches[first : first + group] for first in range(0, len(stretches), group))
    if count % length:
        yield [(count - count % length, count)]


def _pieces_of(stretch: Stretch) -> list[list[Stretch]]:
    """Cut a stretch into pieces; return those of one length together."""
    first, last = stretch
    if last - first < 2:
        return [[stretch]]
    length = max(1, (last - first) // PIECES)
    pieces = list(pairwise([*range(first, last, length), last]))
    odd = pieces[-1:] if pieces[-1][1] - pieces[-1][0] != length else []
    return [group for group in (pieces[: len(pieces) - len(odd)], odd) if group]
