"""Windows with scores -> moments: neighbours that match become one, and no video crowds out the others. Knows no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """A span of a video that matches."""

    path: str
    start: float  # seconds
    end: float
    score: float  # of its best window
    best: tuple[float, float]  # that window
    windows: int = 1  # how many were merged
    names: Mapping[str, float] = field(default_factory=dict)  # what a model called the best window
    metadata: Mapping[str, object] = field(default_factory=dict)
    thumbnail: bytes = field(default=b"", repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.path} @ {self.start:g}-{self.end:g} s"


@dataclass(frozen=True, eq=False)
class Scored:
    """The windows of one video in the order of time, each with its score."""

    path: str
    spans: NDArray[np.float64]  # (W, 2)
    scores: Scores  # (W,)


def merge(video: Scored, *, cutoff: float | None, usual: float) -> list[Moment]:
    """The moments of one video, best first.

    From the best window on, neighbours that touch or overlap are taken in while they match too: while they reach the cut-off, and
    around a window that itself stays below it (or where there is none) while they stand at least half as far above the library's
    `usual` score. Then the same with what is left; what mostly lies inside a moment already told of is not told again.
    """
    left = np.ones(len(video.scores), dtype=bool)
    moments: list[Moment] = []
    for peak in np.lexsort((video.spans[:, 0], -video.scores)):
        if not left[peak] or _covered(video.spans[peak], moments):
            continue
        score = float(video.scores[peak])
        level = cutoff if cutoff is not None and score >= cutoff else score - max(0.0, score - usual) / 2
        first, last = _reach(video, left, int(peak), level)
        left[first : last + 1] = False
        begin, end = float(video.spans[first, 0]), float(video.spans[first : last + 1, 1].max())
        best = (float(video.spans[peak, 0]), float(video.spans[peak, 1]))
        moments.append(Moment(video.path, begin, end, score, best, last - first + 1))
    return moments


def _reach(video: Scored, left: NDArray[np.bool_], peak: int, level: float) -> tuple[int, int]:
    """The first and the last window that belong to a peak."""
    first = last = peak
    while first > 0 and _joins(video, left, first - 1, (first - 1, first), level):
        first -= 1
    while last + 1 < len(left) and _joins(video, left, last + 1, (last, last + 1), level):
        last += 1
    return first, last


def _joins(video: Scored, left: NDArray[np.bool_], number: int, pair: tuple[int, int], level: float) -> bool:
    touches = video.spans[pair[1], 0] <= video.spans[pair[0], 1] + 1e-6
    return bool(left[number] and touches and video.scores[number] >= level)


def _covered(span: NDArray[np.float64], moments: Sequence[Moment]) -> bool:
    """Whether more than half of a window lies inside one moment."""
    length = max(float(span[1] - span[0]), 1e-9)
    return any(min(span[1], moment.end) - max(span[0], moment.start) > length / 2 + 1e-6 for moment in moments)


def spread(moments: Sequence[Moment], *, top: int, per_video: int) -> list[Moment]:
    """The best moments, so many of one video at most (0: any number); equals stand by path and time."""
    counts: dict[str, int] = {}
    chosen: list[Moment] = []
    for moment in ranked(moments):
        if len(chosen) == top:
            break
        if per_video and counts.get(moment.path, 0) >= per_video:
            continue
        counts[moment.path] = counts.get(moment.path, 0) + 1
        chosen.append(moment)
    return chosen


def ranked(moments: Sequence[Moment]) -> list[Moment]:
    """Best first; equals by path and time."""
    return sorted(moments, key=lambda moment: (-moment.score, moment.path, moment.start))
