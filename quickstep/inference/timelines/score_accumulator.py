"""Account: the scores of a video's windows as they come in, what could not be read, and how far the work is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from quickstep.backbones import Backbone
from quickstep.inference.timelines.config import TimelineConfig
from quickstep.inference.timelines.spans import Moments
from quickstep.inference.timelines.windows import Layout
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.types.errors import MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

AHEAD = 2  # stretches a processor that are worked on together
DAMAGED = 0.02  # share of a stretch's moments that may be lost before it is looked where the hole is
PIECES = 16  # in which that is done
Stretch = tuple[int, int]  # half-open, of moments or windows


@dataclass(frozen=True, eq=False)
class Looked:
    """What one model says of one video."""

    duration: float
    moments: tuple[Moments, ...]  # one a person
    failures: tuple[Failure, ...] = ()
    damaged: float = 0.0


@dataclass(frozen=True)
class Asked:
    """One model, asked about one video."""

    model: Model
    path: Path
    config: TimelineConfig
    cache: Cache
    progress: Progress = silent
    person: str | None = None


class Stretches(Protocol):
    """How stretches of a video are looked at."""

    def segment(self, stretch: Stretch) -> Segment:
        """The segment that a stretch is."""

    def view(self, length: int) -> View:
        """What shows a stretch of so many moments or windows."""


class Account:
    """The scores of one video's windows (of one person, where people are looked at)."""

    def __init__(self, asked: Asked, layout: Layout, total: int, done: int = 0) -> None:
        self._asked, self._layout = asked, layout
        self._total, self._before, self._done = total, done, 0  # moments or windows
        self._scores = np.full((len(layout.starts), len(asked.model.labels)), np.nan)
        self._failures: list[Failure] = []
        self._lost, self._lock = 0.0, Lock()
        self.tell(0)

    @property
    def any(self) -> bool:
        """Whether any window has scores."""
        return bool(np.isfinite(self._scores).any())

    def tell(self, done: int) -> None:
        """So many moments or windows are done."""
        self._done = done
        self._asked.progress(f"looking at {self._asked.path.name}", min(self._before + done, self._total), self._total)

    def extract(self, stretches: Sequence[Stretch], backbone: Backbone, shown: Stretches) -> list[tuple[Stretch, Features]]:
        """The features of some stretches of the video, all of one length; of a damaged one, those of its parts that can be read."""
        made: list[tuple[Stretch, Features]] = []
        found = self._extract(stretches, backbone, shown)
        for stretch in stretches:
            segment = shown.segment(stretch)
            if segment in found.features and found.damaged.get(segment, 0.0) <= DAMAGED:
                made.append((stretch, found.features[segment]))
                self._lost += found.damaged.get(segment, 0.0) * (stretch[1] - stretch[0])
                continue
            for parts in _parts(stretch):
                tried = self._extract(parts, backbone, shown)
                self._failures += tried.failures
                made += [(part, tried.features[each]) for part in parts if (each := shown.segment(part)) in tried.features]
                self._lost += sum(tried.damaged.get(shown.segment(part), 0.0) * (part[1] - part[0]) for part in parts)
        self.tell(stretches[-1][1])
        return made

    def _extract(self, stretches: Sequence[Stretch], backbone: Backbone, shown: Stretches) -> Extraction:
        view, last, looks = shown.view(stretches[0][1] - stretches[0][0]), stretches[-1][1], [0]
        each = max(1, (view.windows or 1) * view.crops if view.frames > 1 else view.crops)  # looks a window

        def watch(_segment: Segment, _frames: Frames) -> None:
            with self._lock:
                looks[0] += 1
                self.tell(max(self._done, min(stretches[0][0] + looks[0] // each, last - 1)))

        reads_frames = backbone.capabilities.reads == "frames"  # flow that is kept has no pictures to be shown
        segments = [shown.segment(stretch) for stretch in stretches]
        return extract(segments, backbone, view=view, cache=self._asked.cache, on_window=watch if reads_frames else None)

    def score(self, features: Mapping[int, Features | None]) -> None:
        """Take over what the model says of these windows; of None nothing is known."""
        known = {number: each for number, each in features.items() if each is not None}
        if known:
            self._scores[list(known)] = self._asked.model.scores(list(known.values()))

    def moments(self, person: int | None = None) -> Moments:
        """All windows over time."""
        return Moments(self._layout.middles, self._scores, self._layout.length, self._layout.hop, person)

    def looked(self, duration: float) -> Looked:
        """All there is; an error where nothing of the video could be looked at."""
        if not self.any:
            raise self._failures[0].error if self._failures else MediaError(self._asked.path, "has no window that can be read")
        return Looked(duration, (self.moments(),), _gaps(self._failures, duration), self._lost / self._total)


def _gaps(failures: Sequence[Failure], duration: float) -> tuple[Failure, ...]:
    """What could not be read, one failure a gap."""
    gaps: list[Segment] = []
    for segment in sorted((failure.segment for failure in failures), key=lambda segment: segment.start):
        end = duration if segment.end is None else segment.end
        if gaps and segment.start <= (gaps[-1].end or 0.0) + 1e-6:
            gaps[-1] = replace(gaps[-1], end=max(gaps[-1].end or 0.0, end))
        else:
            gaps.append(replace(segment, end=end))
    return tuple(Failure(gap, MediaError(gap.path, f"cannot be read from {gap.start:.1f} to {gap.end:.1f} s")) for gap in gaps)


def grouped(count: int, together: int) -> Iterator[list[Stretch]]:
    """Stretches of so many moments, a few at a time: as many as keep all processors busy; a shorter last one by itself."""
    most = AHEAD * (os.cpu_count() or 1)
    whole = [(first, first + together) for first in range(0, count - together + 1, together)]
    yield from (whole[first : first + most] for first in range(0, len(whole), most))
    if count % together:
        yield [(count - count % together, count)]


def _parts(stretch: Stretch) -> list[list[Stretch]]:
    """A stretch in pieces, those of one length together."""
    first, last = stretch
    if last - first < 2:
        return [[stretch]]
    each = max(1, (last - first) // PIECES)
    cuts = [*range(first, last, each), last]
    pieces = list(pairwise(cuts))
    odd = pieces[-1:] if pieces[-1][1] - pieces[-1][0] != each else []
    return [part for part in (pieces[: len(pieces) - len(odd)], odd) if part]
