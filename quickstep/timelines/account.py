"""Account: the scores of a video's windows as they come in, what could not be read, and how far the work is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from quickstep.backbones import Backbone
from quickstep.errors import MediaError
from quickstep.features import Extraction, extract
from quickstep.model import Model
from quickstep.progress import Progress, silent
from quickstep.segment import Failure, Segment
from quickstep.signals import Features, Frames
from quickstep.store import Store
from quickstep.timelines.settings import TimelineConfig
from quickstep.timelines.spans import Moments
from quickstep.timelines.windows import Layout
from quickstep.view import View

AHEAD = 2  # stretches a processor that are worked on together
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
    store: Store
    progress: Progress = silent
    person: str | None = None


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

    def extract(self, segments: Sequence[Segment], stretches: Sequence[Stretch], backbone: Backbone, view: View) -> Extraction:
        """The features of some stretches of the video; what fails of them is noted."""
        last, looks = stretches[-1][1], [0]
        each = max(1, (view.windows or 1) * view.crops if view.frames > 1 else view.crops)  # looks a window

        def watch(_segment: Segment, _frames: Frames) -> None:
            with self._lock:
                looks[0] += 1
                self.tell(min(stretches[0][0] + looks[0] // each, last - 1))

        shown = getattr(backbone, "reads", "frames") == "frames"  # flow that is kept has no pictures to be shown
        found = extract(segments, backbone, view=view, store=self._asked.store, watch=watch if shown else None)
        self.tell(last)
        self._failures += found.failures
        for (a, b), segment in zip(stretches, segments, strict=True):
            self._lost += found.damaged.get(segment, 0.0) * (b - a)
        return found

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
        return Looked(duration, (self.moments(),), tuple(self._failures), self._lost / self._total)


def grouped(count: int, together: int) -> Iterator[list[Stretch]]:
    """Stretches of so many moments, a few at a time: as many as keep all processors busy; a shorter last one by itself."""
    most = AHEAD * (os.cpu_count() or 1)
    whole = [(first, first + together) for first in range(0, count - together + 1, together)]
    yield from (whole[first : first + most] for first in range(0, len(whole), most))
    if count % together:
        yield [(count - count % together, count)]
