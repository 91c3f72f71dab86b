"""Pairs: which stretches of any two videos are one recording; candidates in matrix products, then pictures, then larger pictures.

Videos are held against each other whole first (long ones in pieces of a minute), then in slices of some seconds: so is found what one
video shares with a part of another. Knows videos by path and digest, and no library.
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
from quickstep.datasets.duplicates.same_footage import DENSE_SECONDS, PACE, Sketch, candidate_pairs, sketch, thumbnails_of
from quickstep.library.duplicate_check import Alignment, Side, grow, same_stretch
from quickstep.storage.cache import Cache
from quickstep.types.errors import QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress
from quickstep.types.segment import Failure, Segment

PIECE, PIECE_HOP = 60.0, 45.0  # seconds; of videos longer than footage sketches densely
SLICE, SLICE_HOP = 6.0, 3.0  # seconds
SLACK = 0.15  # more pairs than `footage` looks at, because unsure ones get a closer look
UNSURE = 0.85  # likeness of small pictures from which larger ones are asked
LOOKS, MOVES = 0.75, 0.45  # how alike the standing picture and the place of movement of two slices are
TRIES = 4  # pairs of slices that are compared, of one pair of videos
APART = 0.5  # seconds between two alignments of one pair that are one
_BLOCK = 256

Span = tuple[float, float]


@dataclass(frozen=True)
class Match:
    """A span of one video that is a span of another."""

    first: str
    second: str
    first_span: Span  # seconds
    second_span: Span
    score: float
    mirrored: bool = False

    @property
    def ahead(self) -> float:
        """A moment t of the second is t + ahead of the first."""
        return self.first_span[0] - self.second_span[0]


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a video, or the whole of a short one."""

    path: str
    start: float
    sketch: Sketch

    @property
    def end(self) -> float:
        return self.start + self.sketch.duration


@dataclass(frozen=True, eq=False)
class _Slices:
    """Some seconds of pieces, each described by its standing picture and where it moves."""

    piece: NDArray[np.int64]  # (S,)
    first: NDArray[np.int64]  # (S,) number of its first picture in the piece
    count: NDArray[np.int64]  # (S,) of pictures
    looks: NDArray[np.float32]  # (S, 144) of length 1
    moves: NDArray[np.float32]


def find_pairs(
    videos: Mapping[str, str], durations: Mapping[str, float], cache: Cache, *, workers: int | None, progress: Progress
) -> tuple[list[Match], list[Failure]]:
    """Every stretch that two of the videos (path -> digest) share, and the videos that cannot be read."""
    pieces, failures = _pieces(videos, durations, cache, workers=workers, progress=progress)
    comparer = _Comparer(pieces, durations, cache)
    pairs = [
        pair for pair in candidate_pairs([piece.sketch for piece in pieces], slack=SLACK) if pieces[pair[0]].path != pieces[pair[1]].path
    ]
    progress("comparing", 0, len(pairs))
    found = []
    for number, pair in enumerate(pairs, start=1):
        found += comparer.whole(*pair)
        progress("comparing", number, len(pairs))
    whole = {(match.first, match.second) for match in found if _is_whole(match, durations)}
    slices = _cut(comparer)
    close = [(pair, ranked) for pair, ranked in _close_slices(slices, pieces) if pair not in whole]
    progress("comparing parts", 0, len(close))
    for number, (_, ranked) in enumerate(close, start=1):
        for one, other in ranked:
            match = comparer.slices(slices, one, other)
            if match is not None:
                found.append(match)
                break
        progress("comparing parts", number, len(close))
    return _longest([comparer.grown(match) for match in _longest(found)]), failures


def _pieces(
    videos: Mapping[str, str], durations: Mapping[str, float], cache: Cache, *, workers: int | None, progress: Progress
) -> tuple[list[Piece], list[Failure]]:
    """The sketches of all videos, long ones in pieces, in the order of their paths."""

    def work(path: str) -> list[Piece]:
        duration = durations[path]
        if duration <= DENSE_SECONDS:
            return [Piece(path, 0.0, sketch(Path(path), cache, digest=videos[path]))]
        starts = np.minimum(np.arange(0.0, duration - PIECE + PIECE_HOP, PIECE_HOP), duration - PIECE).tolist()
        spans = [(start, start + PIECE) for start in dict.fromkeys(starts)]
        return [Piece(path, span[0], sketch(Path(path), cache, digest=videos[path], span=span)) for span in spans]

    made: dict[str, list[Piece]] = {}
    failures = []
    for path, pieces in run_parallel(work, sorted(videos), "looking", workers=workers, progress=progress):
        if isinstance(pieces, QuickstepError):
            failures.append(Failure(Segment(Path(path)), pieces))
        else:
            made[path] = pieces
    return [piece for path in sorted(made) for piece in made[path]], failures


class _Comparer:
    """Holds pieces, or slices of them, against each other."""

    def __init__(self, pieces: Sequence[Piece], durations: Mapping[str, float], cache: Cache) -> None:
        self.pieces, self.durations, self.cache = pieces, durations, cache
        self.pictures = lru_cache(maxsize=512)(self._pictures)

    def _pictures(self, number: int) -> frame_similarity.GreyFrames:
        piece = self.pieces[number]
        return thumbnails_of(Path(piece.path), piece.sketch, self.cache)

    def whole(self, one: int, other: int, mirrored: bool) -> list[Match]:
        """What two pieces share, if anything."""
        first, second = self.pieces[one], self.pieces[other]
        pictures = self.pictures(one), self.pictures(other)[:, :, ::-1] if mirrored else self.pictures(other)
        if first.sketch.still or second.sketch.still:
            same = first.sketch.still and second.sketch.still and frame_similarity.same_still(*pictures)
            spans = [(piece.start, min(piece.end, self.durations[piece.path])) for piece in (first, second)]
            return [Match(first.path, second.path, spans[0], spans[1], 1.0, mirrored)] if same else []
        with threadpool_limits(1):  # products this small only lose by being shared out
            alike = frame_similarity.compare(*pictures)
        if alike.common == 0:
            return []
        ahead = first.start + alike.lag / PACE - second.start
        match = self._between(first, second, ahead, (first.start, first.end), (second.start, second.end))
        match = replace(match, score=alike.score, mirrored=mirrored)
        if alike.same:
            return [match]
        stretch = same_stretch(self._aligned(match, match.first_span), whole=alike.score >= UNSURE)
        return [self._moved(replace(match, score=stretch[2]), stretch[0], stretch[1])] if stretch else []

    def slices(self, slices: _Slices, one: int, other: int) -> Match | None:
        """What two slices share, if they are of one recording."""
        sides, spans, pieces = [], [], []
        for number in (one, other):
            piece, first, count = int(slices.piece[number]), int(slices.first[number]), int(slices.count[number])
            sides.append(self.pictures(piece)[first : first + count])
            pieces.append(self.pieces[piece])
            start = self.pieces[piece].start + first / PACE
            spans.append((start, start + count / PACE))
        with threadpool_limits(1):
            alike = frame_similarity.compare(sides[0], sides[1])
        if alike.common == 0 or not (alike.same or alike.score >= UNSURE):
            return None
        ahead = spans[0][0] + alike.lag / PACE - spans[1][0]
        match = replace(self._between(pieces[0], pieces[1], ahead, spans[0], spans[1]), score=alike.score)
        if alike.same:
            return match
        stretch = same_stretch(self._aligned(match, match.first_span), whole=True)
        return self._moved(replace(match, score=stretch[2]), stretch[0], stretch[1]) if stretch else None

    def grown(self, match: Match) -> Match:
        """The match as far as it goes."""
        ahead = match.ahead
        most = (max(0.0, ahead), min(self.durations[match.first], self.durations[match.second] + ahead))
        begin, end = grow(self._aligned(match, most), *match.first_span)
        return self._moved(match, begin, end)

    def _between(self, first: Piece, second: Piece, ahead: float, one: Span, other: Span) -> Match:
        begin = max(one[0], other[0] + ahead)
        end = min(one[1], self.durations[first.path], other[1] + ahead, self.durations[second.path] + ahead)
        return Match(first.path, second.path, (begin, end), (begin - ahead, end - ahead), 0.0)

    def _aligned(self, match: Match, span: Span) -> Alignment:
        first = Side(Path(match.first), self.durations[match.first])
        second = Side(Path(match.second), self.durations[match.second], match.mirrored)
        return Alignment(first, second, span[0], span[1], match.ahead)

    def _moved(self, match: Match, begin: float, end: float) -> Match:
        ahead = match.ahead
        return replace(match, first_span=(begin, end), second_span=(begin - ahead, end - ahead))


def _is_whole(match: Match, durations: Mapping[str, float]) -> bool:
    """Whether nothing more can be shared under this alignment, nor under another."""
    shorter = min(durations[match.first], durations[match.second])
    return match.first_span[1] - match.first_span[0] > shorter - APART


def _cut(comparer: _Comparer) -> _Slices:
    """All pieces in slices."""
    rows: list[tuple[int, int, int]] = []
    looks, moves = [], []
    length, hop = round(SLICE * PACE), round(SLICE_HOP * PACE)
    for number, piece in enumerate(comparer.pieces):
        if piece.sketch.still:
            continue
        coarse = frame_similarity.shrink(comparer.pictures(number), frame_similarity.COARSE)
        last = max(0, len(coarse) - length)
        for first in dict.fromkeys([*range(0, last, hop), last]):
            part = coarse[first : first + length]
            rows.append((number, first, len(part)))
            looks.append(_unit(part.mean(0)))
            moves.append(_unit(part.std(0)))
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    size = frame_similarity.COARSE**2
    described = [np.array(side, dtype=np.float32).reshape(-1, size) for side in (looks, moves)]
    return _Slices(table[:, 0], table[:, 1], table[:, 2], described[0], described[1])


def _close_slices(slices: _Slices, pieces: Sequence[Piece]) -> Iterator[tuple[tuple[str, str], list[tuple[int, int]]]]:
    """For each pair of videos that have slices alike, those that are most alike."""
    paths = sorted({piece.path for piece in pieces})
    number_of = {path: number for number, path in enumerate(paths)}
    video = np.array([number_of[piece.path] for piece in pieces], dtype=np.int64)[slices.piece] if len(pieces) else slices.piece
    best: dict[tuple[int, int], list[tuple[float, int, int]]] = {}
    for begin in range(0, len(video), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        looks, moves = slices.looks[rows] @ slices.looks.T, slices.moves[rows] @ slices.moves.T
        close = (looks > LOOKS) & (moves > MOVES) & (video[rows, None] < video[None, :])
        for row, column in zip(*np.nonzero(close), strict=True):
            one, other = begin + int(row), int(column)
            ranked = best.setdefault((int(video[one]), int(video[other])), [])
            ranked.append((-float(looks[row, column] + moves[row, column]), one, other))
            if len(ranked) > 4 * TRIES:
                ranked.sort()
                del ranked[TRIES:]
    for (one, other), ranked in sorted(best.items()):
        yield (paths[one], paths[other]), [(first, second) for _, first, second in sorted(ranked)[:TRIES]]


def _longest(found: Sequence[Match]) -> list[Match]:
    """Stretches of one pair under one alignment joined; of alignments that contradict each other the longest stays."""
    joined: list[Match] = []
    for match in sorted(found, key=lambda match: (match.first, match.second, match.mirrored, match.first_span)):
        last = joined[-1] if joined else None
        if last is not None and _continues(last, match):
            first = (last.first_span[0], max(last.first_span[1], match.first_span[1]))
            second = (last.second_span[0], max(last.second_span[1], match.second_span[1]))
            joined[-1] = replace(last, first_span=first, second_span=second, score=max(last.score, match.score))
        else:
            joined.append(match)
    kept: list[Match] = []
    for match in sorted(joined, key=lambda match: (match.first_span[0] - match.first_span[1], match.first, match.second)):
        if not any(_contradicts(match, other) for other in kept):
            kept.append(match)
    return sorted(kept, key=lambda match: (match.first, match.second, match.first_span))


def _continues(last: Match, match: Match) -> bool:
    same = (last.first, last.second, last.mirrored) == (match.first, match.second, match.mirrored)
    return same and abs(last.ahead - match.ahead) < APART and match.first_span[0] <= last.first_span[1] + 1.0


def _contradicts(match: Match, other: Match) -> bool:
    """Whether both say something of the same seconds of the same two videos."""
    if (match.first, match.second) != (other.first, other.second):
        return False
    pairs = ((match.first_span, other.first_span), (match.second_span, other.second_span))
    return any(min(a[1], b[1]) - max(a[0], b[0]) > APART for a, b in pairs)


def _unit(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = picture.reshape(-1) - picture.mean()
    return np.asarray(flat / (np.linalg.norm(flat) + 1e-6), dtype=np.float32)
