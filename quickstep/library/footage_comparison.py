"""Compare two videos that may share footage: find the span over which both are one recording.

First small frames of whole pieces or slices are compared; where those leave it open, larger frames are compared second by second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from quickstep.datasets.duplicates import frame_similarity
from quickstep.datasets.duplicates.frame_similarity import SKETCH_FPS, Sketch, thumbnails_of
from quickstep.signals.video import VideoReader
from quickstep.storage.cache import Cache
from quickstep.types.view import View

UNSURE = 0.85  # similarity of small frames from which larger ones are compared
SIZE = 96  # pixels of a larger frame
CHUNK = 3.0  # seconds that are compared together
FINE_CHUNK = 1.0  # seconds, at the ends of a span
MAX_CHUNKS = 14  # of a longer span so many, evenly taken
SHORTEST = 4.0  # seconds of the same footage within something longer
_VIEW = View(frames=1, size=SIZE, fit="stretch", resample="area")
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Span = tuple[float, float]  # seconds


@dataclass(frozen=True)
class Match:
    """A span of one video that is a span of another."""

    first: str
    second: str
    first_span: Span
    second_span: Span
    score: float  # similarity, 1 for identical frames
    mirrored: bool = False
    exact: bool = False  # the files are equal, byte for byte

    @property
    def offset(self) -> float:
        """Second t of the second video is second t + offset of the first."""
        return self.first_span[0] - self.second_span[0]

    @property
    def length(self) -> float:
        """Seconds."""
        return self.first_span[1] - self.first_span[0]

    @property
    def kind(self) -> str:
        """What is the same, in words."""
        return "same bytes" if self.exact else "mirrored" if self.mirrored else "same footage"

    def with_span(self, start: float, end: float) -> Match:
        """Return the match over another span of the first video, with the same offset."""
        offset = self.offset
        return replace(self, first_span=(start, end), second_span=(start - offset, end - offset))

    @property
    def row(self) -> tuple[str, ...]:
        """The match as a row of a table."""
        one, other = ("-".join(f"{seconds:.2f}" for seconds in span) for span in (self.first_span, self.second_span))
        return (self.first, one, self.second, other, f"{self.score:.3f}", self.kind)


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a long video, or a whole short one, with its sketch in small frames."""

    path: str
    start: float
    sketch: Sketch

    @property
    def end(self) -> float:
        """Seconds."""
        return self.start + self.sketch.duration


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices of pieces, a few seconds each, described by the mean frame and by where it changes."""

    piece: NDArray[np.int64]  # (S,)
    first: NDArray[np.int64]  # (S,) number of its first frame in the piece
    count: NDArray[np.int64]  # (S,) of frames
    means: NDArray[np.float32]  # (S, 144) of length 1
    changes: NDArray[np.float32]  # (S, 144) of length 1


class FootageComparer:
    """Compares pieces, or slices of them."""

    def __init__(self, pieces: Sequence[Piece], durations: Mapping[str, float], cache: Cache) -> None:
        self.pieces, self.durations = pieces, durations
        self.small_frames = lru_cache(maxsize=512)(lambda number: thumbnails_of(Path(pieces[number].path), pieces[number].sketch, cache))

    def compare_pieces(self, one: int, other: int, mirrored: bool) -> Match | None:
        """Compare two pieces."""
        first, second = self.pieces[one], self.pieces[other]
        frames = self.small_frames(one), self.small_frames(other)[:, :, ::-1] if mirrored else self.small_frames(other)
        if first.sketch.still or second.sketch.still:
            same = first.sketch.still and second.sketch.still and frame_similarity.same_still(*frames)
            spans = [(piece.start, min(piece.end, self.durations[piece.path])) for piece in (first, second)]
            return Match(first.path, second.path, spans[0], spans[1], 1.0, mirrored) if same else None
        with threadpool_limits(1):  # products this small are slower on several threads
            similarity = frame_similarity.compare(*frames)
        if similarity.common == 0:
            return None
        offset = first.start + similarity.lag / SKETCH_FPS - second.start
        match = self._overlap(first, second, offset, (first.start, first.end), (second.start, second.end))
        match = replace(match, score=similarity.score, mirrored=mirrored)
        return match if similarity.same else self._same_part(match, maybe_all=similarity.score >= UNSURE)

    def compare_slices(self, slices: Slices, one: int, other: int) -> Match | None:
        """Compare two slices."""
        sides, spans, pieces = [], [], []
        for number in (one, other):
            piece, first, count = int(slices.piece[number]), int(slices.first[number]), int(slices.count[number])
            sides.append(self.small_frames(piece)[first : first + count])
            pieces.append(self.pieces[piece])
            start = self.pieces[piece].start + first / SKETCH_FPS
            spans.append((start, start + count / SKETCH_FPS))
        with threadpool_limits(1):
            similarity = frame_similarity.compare(sides[0], sides[1])
        if similarity.common == 0 or not (similarity.same or similarity.score >= UNSURE):
            return None
        offset = spans[0][0] + similarity.lag / SKETCH_FPS - spans[1][0]
        match = replace(self._overlap(pieces[0], pieces[1], offset, spans[0], spans[1]), score=similarity.score)
        return match if similarity.same else self._same_part(match, maybe_all=True)

    def extend(self, match: Match) -> Match:
        """Extend a match in both directions for as long as the footage is the same."""
        offset = match.offset
        limits = (max(0.0, offset), min(self.durations[match.first], self.durations[match.second] + offset))
        return match.with_span(*extend_span(self._alignment(match, limits), *match.first_span))

    def _overlap(self, first: Piece, second: Piece, offset: float, one: Span, other: Span) -> Match:
        start = max(one[0], other[0] + offset)
        end = min(one[1], self.durations[first.path], other[1] + offset, self.durations[second.path] + offset)
        return Match(first.path, second.path, (start, end), (start - offset, end - offset), 0.0)

    def _same_part(self, match: Match, *, maybe_all: bool) -> Match | None:
        part = same_span(self._alignment(match, match.first_span), maybe_all=maybe_all)
        return None if part is None else replace(match, score=part[2]).with_span(part[0], part[1])

    def _alignment(self, match: Match, span: Span) -> Alignment:
        first = Side(Path(match.first), self.durations[match.first])
        second = Side(Path(match.second), self.durations[match.second], match.mirrored)
        return Alignment(first, second, span[0], span[1], match.offset)


# -- in larger frames -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of the two videos."""

    path: Path
    duration: float
    mirrored: bool = False


@dataclass(frozen=True)
class Alignment:
    """Seconds `start` to `end` of the first video are those of the second, `offset` earlier, if the two are one recording."""

    first: Side
    second: Side
    start: float
    end: float
    offset: float


def same_span(align_scores: Alignment, *, maybe_all: bool) -> tuple[float, float, float] | None:
    """Return the (start, end) in the first video over which both are one recording, and their similarity there; None if nowhere.

    `maybe_all=False`: it is already known that not the whole span is the same.
    """
    length = align_scores.end - align_scores.start
    size = min(CHUNK, length)
    count = max(1, min(MAX_CHUNKS, int(length / size + 1e-6)))
    starts = np.linspace(align_scores.start, align_scores.end - size, count) if count > 1 else np.array([align_scores.start])
    chunks = list(_compare_chunks(align_scores, starts.tolist(), size))
    same = [number for number, (is_same, _) in enumerate(chunks) if is_same]
    if not same:
        return None
    score = float(np.mean([chunks[number][1] for number in same]))
    if maybe_all and len(same) == count:
        return align_scores.start, align_scores.end, score
    first, last = _longest_run(same)
    start, end = extend_span(align_scores, float(starts[first]), float(starts[last]) + size)
    return (start, end, score) if end - start >= SHORTEST and last > first else None


def extend_span(align_scores: Alignment, start: float, end: float) -> Span:
    """Extend a span that is the same for as long as the footage is the same."""
    return _move_edge(align_scores, start, -1), _move_edge(align_scores, end, +1)


def _longest_run(numbers: Sequence[int]) -> tuple[int, int]:
    """Return the first and last of the longest run of consecutive numbers."""
    first = last = numbers[0]
    longest = (first, last)
    for number in numbers[1:]:
        first, last = (first, number) if number == last + 1 else (number, number)
        if last - first > longest[1] - longest[0]:
            longest = (first, last)
    return longest


def _move_edge(align_scores: Alignment, edge: float, direction: int) -> float:
    """Move an edge outward while the footage is the same, in large steps and then in small ones."""
    limit = align_scores.start if direction < 0 else align_scores.end
    for size in (CHUNK, FINE_CHUNK):
        while (limit - edge) * direction > 1e-6:
            step = min(size, abs(limit - edge))
            if step < FINE_CHUNK / 2:  # too short to compare: the rest belongs to its neighbour
                return limit
            if not next(_compare_chunks(align_scores, [edge - step if direction < 0 else edge], step))[0]:
                break
            edge += direction * step
    return edge


def _compare_chunks(align_scores: Alignment, starts: Sequence[float], size: float) -> Iterator[tuple[bool, float]]:
    """Compare so many seconds from each start: whether both are one recording, and their similarity."""
    one = _read_frames(align_scores.first, starts, size)
    other = _read_frames(align_scores.second, [start - align_scores.offset for start in starts], size)
    for first, second in zip(one, other, strict=True):
        if min(len(first), len(second)) < frame_similarity.MIN_FRAMES:
            yield False, 0.0
        else:
            yield frame_similarity.compare_closely(first, second)


def _read_frames(side: Side, starts: Sequence[float], size: float) -> Iterator[NDArray[np.float32]]:
    """Read the frames (T, 96, 96) from each start as sketches do: at twice the rate, averaged in pairs."""
    rate = 2 * SKETCH_FPS
    count = max(2, int(size * rate + 1e-6) // 2 * 2)
    timestamps = [np.clip(start + np.arange(count) / rate, 0.0, side.duration) for start in starts]
    with VideoReader(side.path) as video:
        for frames in video.windows(timestamps, view=_VIEW):
            grey = np.asarray(frames.pixels @ _LUMA, dtype=np.float32)
            averaged = (grey[0::2] + grey[1::2]) / np.float32(2)
            yield averaged[:, :, ::-1] if side.mirrored else averaged
