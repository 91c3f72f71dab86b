"""A closer look at two videos that may share footage: second by second, in larger pictures; finds how far the same goes.

Knows how the second is aligned with the first, not how that was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quickstep.datasets.duplicates import frame_similarity
from quickstep.datasets.duplicates.same_footage import PACE
from quickstep.signals.video import VideoReader
from quickstep.types.view import View

SIZE = 96  # pixels across a picture
CHUNK = 3.0  # seconds that are judged together
FINE = 1.0  # seconds, where the same ends
MOST = 14  # chunks looked at; of a longer stretch so many, evenly
SHORTEST = 4.0  # seconds of the same footage within something longer that count
_VIEW = View(frames=1, size=SIZE, fit="stretch", resample="area")
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Pictures = frame_similarity.GreyFrames


@dataclass(frozen=True)
class Side:
    """One of the two videos."""

    path: Path
    duration: float
    mirrored: bool = False


@dataclass(frozen=True)
class Alignment:
    """Seconds `begin` to `end` of the first are those of the second, `ahead` earlier, if the two are one recording."""

    first: Side
    second: Side
    begin: float
    end: float
    ahead: float


def same_stretch(aligned: Alignment, *, whole: bool) -> tuple[float, float, float] | None:
    """The (begin, end) in seconds of the first over which both are one recording, and how alike they are there; None if nowhere.

    Without `whole` it is known already that not all of it is.
    """
    length = aligned.end - aligned.begin
    size = min(CHUNK, length)
    count = max(1, min(MOST, int(length / size + 1e-6)))
    starts = np.linspace(aligned.begin, aligned.end - size, count) if count > 1 else np.array([aligned.begin])
    judged = list(_judge(aligned, starts.tolist(), size))
    passed = [number for number, (same, _) in enumerate(judged) if same]
    if not passed:
        return None
    score = float(np.mean([judged[number][1] for number in passed]))
    if whole and len(passed) == count:
        return aligned.begin, aligned.end, score
    first, last = _run(passed)
    begin, end = grow(aligned, float(starts[first]), float(starts[last]) + size)
    return (begin, end, score) if end - begin >= SHORTEST and last > first else None


def grow(aligned: Alignment, begin: float, end: float) -> tuple[float, float]:
    """A stretch that is known to be the same, made as long as the same goes on."""
    return _extend(aligned, begin, -1), _extend(aligned, end, +1)


def _run(passed: Sequence[int]) -> tuple[int, int]:
    """The longest row of neighbours."""
    best = first = last = passed[0]
    widest = (best, best)
    for number in passed[1:]:
        first, last = (first, number) if number == last + 1 else (number, number)
        if last - first > widest[1] - widest[0]:
            widest = (first, last)
    return widest


def _extend(aligned: Alignment, edge: float, way: int) -> float:
    """Move an edge outward for as long as the same goes on, in steps, small ones at last."""
    limit = aligned.begin if way < 0 else aligned.end
    for size in (CHUNK, FINE):
        while (limit - edge) * way > 1e-6:
            step = min(size, abs(limit - edge))
            if step < FINE / 2:  # too short to be judged: what is left belongs to what it touches
                return limit
            if not next(_judge(aligned, [edge - step if way < 0 else edge], step))[0]:
                break
            edge += way * step
    return edge


def _judge(aligned: Alignment, starts: Sequence[float], size: float) -> Iterator[tuple[bool, float]]:
    """Whether both are one recording over so many seconds from each start on."""
    ahead = aligned.ahead
    one = _read(aligned.first, starts, size)
    other = _read(aligned.second, [start - ahead for start in starts], size)
    for first, second in zip(one, other, strict=True):
        if min(len(first), len(second)) < frame_similarity.SHORTEST:
            yield False, 0.0
        else:
            yield frame_similarity.compare_closely(first, second)


def _read(side: Side, starts: Sequence[float], size: float) -> Iterator[Pictures]:
    """The pictures (T, 96, 96) from each start on, as `footage` draws them: twice as many, averaged by twos."""
    fine = 2 * PACE
    count = max(2, int(size * fine + 1e-6) // 2 * 2)
    moments = [np.clip(start + np.arange(count) / fine, 0.0, side.duration) for start in starts]
    with VideoReader(side.path) as video:
        for frames in video.windows(moments, view=_VIEW):
            grey = np.asarray(frames.pixels @ _LUMA, dtype=np.float32)
            steady = (grey[0::2] + grey[1::2]) / np.float32(2)
            yield steady[:, :, ::-1] if side.mirrored else steady
