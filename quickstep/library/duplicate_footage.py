"""duplicates: find the same footage in several videos of a library, also re-encoded, scaled, cropped, mirrored, cut or extended.

A network's vectors measure similarity, not identity, so the frames of the videos are compared over time. Videos are compared whole first
(long ones in pieces of a minute), then in slices of some seconds, which finds what one video shares with a part of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.duplicates import frame_similarity
from quickstep.datasets.duplicates.frame_similarity import DENSE_SECONDS, SKETCH_FPS, sketch_video
from quickstep.datasets.duplicates.same_footage import candidate_pairs
from quickstep.library.footage_comparison import FootageComparer, Match, Piece, Slices, Span
from quickstep.library.table import Library, open_library
from quickstep.storage.cache import Cache
from quickstep.types.errors import QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

PIECE, PIECE_STRIDE = 60.0, 45.0  # seconds; of videos too long for a dense sketch
SLICE, SLICE_STRIDE = 6.0, 3.0  # seconds
SLACK = 0.15  # more pairs than in a dataset check, because uncertain ones are compared in larger frames
MEAN_SIMILARITY, CHANGE_SIMILARITY = 0.75, 0.45  # of the mean frame and of the places of movement of two slices
MAX_TRIES = 4  # pairs of slices that are compared, of one pair of videos
MAX_OFFSET_GAP = 0.5  # seconds between the offsets of two matches that are one
_BLOCK = 256


@dataclass(frozen=True)
class Group:
    """Videos that share footage, and the matches between them."""

    paths: tuple[str, ...]
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class Duplicates:
    """The same footage in several videos."""

    groups: tuple[Group, ...]
    videos: int  # that were compared
    failures: tuple[Failure, ...] = ()

    @property
    def summary(self) -> str:
        """The result in a sentence."""
        if not self.groups:
            return f"none of the {self.videos} videos share footage"
        return f"{len(self.groups)} groups share footage, {sum(len(group.paths) for group in self.groups)} of {self.videos} videos"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        groups = [{"paths": list(group.paths), "matches": [_match_to_json(match) for match in group.matches]} for group in self.groups]
        failures = [{"path": str(failure.segment.path), "error": str(failure.error)} for failure in self.failures]
        return {"videos": self.videos, "groups": groups, "failures": failures}


def duplicates(
    library: Library | str | Path, *, cache: Cache | None = None, workers: int | None = None, progress: Progress = silent
) -> Duplicates:
    """Find every pair of videos of a library that share footage, with the spans, in groups."""
    library, cache = open_library(library), cache or Cache()
    digests: dict[str, str] = {}
    durations: dict[str, float] = {}
    for batch in library.batches(["path", "digest", "duration"], "start = 0 AND NOT gone"):
        for row in batch.to_pylist():
            digests[row["path"]], durations[row["path"]] = row["digest"], row["duration"]
    twins: dict[str, list[str]] = {}  # digest -> paths
    for path in sorted(digests):
        twins.setdefault(digests[path], []).append(path)
    distinct = {paths[0]: digest for digest, paths in twins.items()}
    matches, failures = find_matches(distinct, durations, cache, workers=workers, progress=progress)
    matches += _between_twins(matches, {paths[0]: paths for paths in twins.values()})
    matches += [_exact_match(pair, durations) for paths in twins.values() for pair in combinations(paths, 2)]
    return Duplicates(_groups(matches), len(digests), tuple(failures))


def find_matches(
    videos: Mapping[str, str], durations: Mapping[str, float], cache: Cache, *, workers: int | None, progress: Progress
) -> tuple[list[Match], list[Failure]]:
    """Find every span that two of the videos (path -> digest) share, and the videos that cannot be read."""
    pieces, failures = _sketch_pieces(videos, durations, cache, workers=workers, progress=progress)
    comparer = FootageComparer(pieces, durations, cache)
    pairs = [
        pair for pair in candidate_pairs([piece.sketch for piece in pieces], slack=SLACK) if pieces[pair[0]].path != pieces[pair[1]].path
    ]
    progress("comparing", 0, len(pairs))
    matches = []
    for number, pair in enumerate(pairs, start=1):
        match = comparer.compare_pieces(*pair)
        matches += [match] if match is not None else []
        progress("comparing", number, len(pairs))
    whole = {(match.first, match.second) for match in matches if _is_whole(match, durations)}
    slices = _cut_slices(comparer)
    similar = [(pair, ranked) for pair, ranked in _similar_slices(slices, pieces) if pair not in whole]
    progress("comparing parts", 0, len(similar))
    for number, (_, ranked) in enumerate(similar, start=1):
        compared = (comparer.compare_slices(slices, one, other) for one, other in ranked)
        match = next((match for match in compared if match is not None), None)
        matches += [match] if match is not None else []
        progress("comparing parts", number, len(similar))
    return _join([comparer.extend(match) for match in _join(matches)]), failures


def _is_whole(match: Match, durations: Mapping[str, float]) -> bool:
    """Tell whether the shorter video is shared whole, so that the two can share nothing else."""
    return match.length > min(durations[match.first], durations[match.second]) - MAX_OFFSET_GAP


def _sketch_pieces(
    videos: Mapping[str, str], durations: Mapping[str, float], cache: Cache, *, workers: int | None, progress: Progress
) -> tuple[list[Piece], list[Failure]]:
    """Sketch all videos, long ones in pieces, in the order of their paths."""

    def pieces_of(path: str) -> list[Piece]:
        duration = durations[path]
        if duration <= DENSE_SECONDS:
            return [Piece(path, 0.0, sketch_video(Path(path), cache, digest=videos[path]))]
        starts = np.minimum(np.arange(0.0, duration - PIECE + PIECE_STRIDE, PIECE_STRIDE), duration - PIECE).tolist()
        spans = [(start, start + PIECE) for start in dict.fromkeys(starts)]
        return [Piece(path, span[0], sketch_video(Path(path), cache, digest=videos[path], span=span)) for span in spans]

    sketched: dict[str, list[Piece]] = {}
    failures = []
    for path, pieces in run_parallel(pieces_of, sorted(videos), "sketching", workers=workers, progress=progress):
        if isinstance(pieces, QuickstepError):
            failures.append(Failure(Segment(Path(path)), pieces))
        else:
            sketched[path] = pieces
    return [piece for path in sorted(sketched) for piece in sketched[path]], failures


def _cut_slices(comparer: FootageComparer) -> Slices:
    """Cut all pieces into slices."""
    rows: list[tuple[int, int, int]] = []
    means, changes = [], []
    length, stride = round(SLICE * SKETCH_FPS), round(SLICE_STRIDE * SKETCH_FPS)
    for number, piece in enumerate(comparer.pieces):
        if piece.sketch.still:
            continue
        coarse = frame_similarity.shrink(comparer.small_frames(number), frame_similarity.COARSE)
        last = max(0, len(coarse) - length)
        for first in dict.fromkeys([*range(0, last, stride), last]):
            part = coarse[first : first + length]
            rows.append((number, first, len(part)))
            means.append(_unit(part.mean(0)))
            changes.append(_unit(part.std(0)))
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    size = frame_similarity.COARSE**2
    descriptions = [np.array(side, dtype=np.float32).reshape(-1, size) for side in (means, changes)]
    return Slices(table[:, 0], table[:, 1], table[:, 2], descriptions[0], descriptions[1])


def _similar_slices(slices: Slices, pieces: Sequence[Piece]) -> Iterator[tuple[tuple[str, str], list[tuple[int, int]]]]:
    """Yield each pair of videos that have similar slices, with the most similar pairs of slices."""
    paths = sorted({piece.path for piece in pieces})
    number_of = {path: number for number, path in enumerate(paths)}
    video = np.array([number_of[piece.path] for piece in pieces], dtype=np.int64)[slices.piece] if len(pieces) else slices.piece
    best: dict[tuple[int, int], list[tuple[float, int, int]]] = {}
    for begin in range(0, len(video), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        means, changes = slices.means[rows] @ slices.means.T, slices.changes[rows] @ slices.changes.T
        similar = (means > MEAN_SIMILARITY) & (changes > CHANGE_SIMILARITY) & (video[rows, None] < video[None, :])
        for row, column in zip(*np.nonzero(similar), strict=True):
            one, other = begin + int(row), int(column)
            ranked = best.setdefault((int(video[one]), int(video[other])), [])
            ranked.append((-float(means[row, column] + changes[row, column]), one, other))
            if len(ranked) > 4 * MAX_TRIES:
                ranked.sort()
                del ranked[MAX_TRIES:]
    for (one, other), ranked in sorted(best.items()):
        yield (paths[one], paths[other]), [(first, second) for _, first, second in sorted(ranked)[:MAX_TRIES]]


def _unit(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = frame.reshape(-1) - frame.mean()
    return np.asarray(flat / (np.linalg.norm(flat) + 1e-6), dtype=np.float32)


# -- joining and grouping ---------------------------------------------------------------------------------------------------


def _join(matches: Sequence[Match]) -> list[Match]:
    """Join matches of one pair with one offset; of matches that contradict each other keep the longest."""
    joined: list[Match] = []
    for match in sorted(matches, key=lambda match: (match.first, match.second, match.mirrored, match.first_span)):
        last = joined[-1] if joined else None
        if last is not None and _continues(last, match):
            first = (last.first_span[0], max(last.first_span[1], match.first_span[1]))
            second = (last.second_span[0], max(last.second_span[1], match.second_span[1]))
            joined[-1] = replace(last, first_span=first, second_span=second, score=max(last.score, match.score))
        else:
            joined.append(match)
    consistent: list[Match] = []
    for match in sorted(joined, key=lambda match: (match.first_span[0] - match.first_span[1], match.first, match.second)):
        if not any(_contradicts(match, other) for other in consistent):
            consistent.append(match)
    return sorted(consistent, key=_order)


def _continues(last: Match, match: Match) -> bool:
    same = (last.first, last.second, last.mirrored) == (match.first, match.second, match.mirrored)
    return same and abs(last.offset - match.offset) < MAX_OFFSET_GAP and match.first_span[0] <= last.first_span[1] + 1.0


def _contradicts(match: Match, other: Match) -> bool:
    """Tell whether both cover the same seconds of the same two videos."""
    if (match.first, match.second) != (other.first, other.second):
        return False
    pairs = ((match.first_span, other.first_span), (match.second_span, other.second_span))
    return any(min(a[1], b[1]) - max(a[0], b[0]) > MAX_OFFSET_GAP for a, b in pairs)


def _exact_match(pair: tuple[str, str], durations: Mapping[str, float]) -> Match:
    whole = (0.0, durations[pair[0]])
    return Match(pair[0], pair[1], whole, whole, 1.0, exact=True)


def _between_twins(matches: Sequence[Match], twins: Mapping[str, Sequence[str]]) -> list[Match]:
    """Repeat each match for the files with the same bytes."""
    return [
        replace(match, first=first, second=second)
        for match in matches
        for first in twins[match.first]
        for second in twins[match.second]
        if (first, second) != (match.first, match.second)
    ]


def _groups(matches: Sequence[Match]) -> tuple[Group, ...]:
    """Group videos that share footage, directly or through others."""
    group_of: dict[str, set[str]] = {}
    for match in matches:
        joint = group_of.get(match.first, {match.first}) | group_of.get(match.second, {match.second})
        group_of.update(dict.fromkeys(joint, joint))
    groups = sorted({tuple(sorted(paths)) for paths in group_of.values()})
    ordered = sorted(matches, key=_order)
    return tuple(Group(paths, tuple(match for match in ordered if match.first in paths)) for paths in groups)


def _order(match: Match) -> tuple[str, str, Span]:
    return match.first, match.second, match.first_span


def _match_to_json(match: Match) -> dict[str, Any]:
    return {
        "first": match.first,
        "second": match.second,
        "first_span": [round(seconds, 3) for seconds in match.first_span],
        "second_span": [round(seconds, 3) for seconds in match.second_span],
        "score": round(match.score, 4),
        "mirrored": match.mirrored,
        "exact": match.exact,
    }
