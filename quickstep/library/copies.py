"""duplicates: the same footage in several videos of a library, also coded again, scaled, cropped, mirrored, cut or made longer.

Videos are held against each other as small grey pictures in time (see `footage`): vectors of a network say what is alike, not what is the
same. Which pairs are worth a look is found in matrix products; long videos are cut into pieces first. What small pictures leave open is
looked at again in larger ones (see `closer`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

from quickstep import likeness
from quickstep.errors import QuickstepError
from quickstep.footage import DENSE_SECONDS, PACE, Sketch, candidates, in_parallel, pictures_of, sketch
from quickstep.library.closer import Alignment, Side, same_stretch
from quickstep.library.opening import Library
from quickstep.progress import Progress, silent
from quickstep.segment import Failure, Segment
from quickstep.store import Store

PIECE, PIECE_HOP = 60.0, 45.0  # seconds; of videos longer than footage sketches densely
SLACK = 0.15  # more pairs than `footage` looks at, because unsure ones get a closer look
UNSURE = 0.85  # likeness of small pictures from which larger ones are asked
APART = 0.5  # seconds between two alignments of one pair that are one

Span = tuple[float, float]


@dataclass(frozen=True)
class Copy:
    """A span of one video that is a span of another."""

    first: str
    second: str
    first_span: Span  # seconds
    second_span: Span
    score: float  # 1 for what is the same to the picture
    mirrored: bool = False
    exact: bool = False  # the files are equal, byte for byte

    @property
    def row(self) -> tuple[str, ...]:
        """As a table shows it."""
        how = "same bytes" if self.exact else "mirrored" if self.mirrored else "same footage"
        spans = ("-".join(f"{seconds:.2f}" for seconds in span) for span in (self.first_span, self.second_span))
        one, other = spans
        return (self.first, one, self.second, other, f"{self.score:.3f}", how)


@dataclass(frozen=True)
class Group:
    """Videos that share footage, and what each two of them share."""

    paths: tuple[str, ...]
    matches: tuple[Copy, ...]


@dataclass(frozen=True)
class Duplicates:
    """The same footage in several videos."""

    groups: tuple[Group, ...]
    videos: int  # that were held against each other
    failures: tuple[Failure, ...] = ()

    @property
    def summary(self) -> str:
        """In a sentence."""
        if not self.groups:
            return f"no footage is in two of the {self.videos} videos"
        return f"{len(self.groups)} groups share footage, {sum(len(group.paths) for group in self.groups)} of {self.videos} videos"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        groups = [{"paths": list(group.paths), "matches": [_plain(match) for match in group.matches]} for group in self.groups]
        failures = [{"path": str(each.segment.path), "error": str(each.error)} for each in self.failures]
        return {"videos": self.videos, "groups": groups, "failures": failures}


@dataclass(frozen=True, eq=False)
class _Piece:
    """A part of a video, or the whole of a short one."""

    path: str
    digest: str
    start: float
    sketch: Sketch


def duplicates(
    library: Library | str | Path, *, store: Store | None = None, workers: int | None = None, progress: Progress = silent
) -> Duplicates:
    """Every pair of videos of a library that share footage, with the spans, in groups."""
    library, store = library if isinstance(library, Library) else Library.open(library), store or Store()
    digests: dict[str, str] = {}
    durations: dict[str, float] = {}
    for batch in library.batches(["path", "digest", "duration"], "start = 0 AND NOT gone"):
        for row in batch.to_pylist():
            digests[row["path"]], durations[row["path"]] = row["digest"], row["duration"]
    homes: dict[str, list[str]] = {}
    for path in sorted(digests):
        homes.setdefault(digests[path], []).append(path)
    pieces, failures = _pieces({paths[0]: digest for digest, paths in homes.items()}, durations, store, workers, progress)
    found = _longest(list(_copies(pieces, durations, store, progress)))
    found += [_exact(pair, durations) for paths in homes.values() for pair in combinations(paths, 2)]
    found += _of_twins(found, {paths[0]: paths for paths in homes.values()})
    return Duplicates(_grouped(found), len(digests), tuple(failures))


def _pieces(
    videos: Mapping[str, str], durations: Mapping[str, float], store: Store, workers: int | None, progress: Progress
) -> tuple[list[_Piece], list[Failure]]:
    """The sketches of all videos, long ones in pieces, in the order of their paths."""

    def work(path: str) -> list[_Piece]:
        duration = durations[path]
        if duration <= DENSE_SECONDS:
            return [_Piece(path, videos[path], 0.0, sketch(Path(path), store, digest=videos[path]))]
        starts = np.minimum(np.arange(0.0, duration - PIECE + PIECE_HOP, PIECE_HOP), duration - PIECE).tolist()
        spans = [(start, start + PIECE) for start in dict.fromkeys(starts)]
        return [_Piece(path, videos[path], span[0], sketch(Path(path), store, digest=videos[path], span=span)) for span in spans]

    made: dict[str, list[_Piece]] = {}
    failures = []
    for path, pieces in in_parallel(work, sorted(videos), "looking", workers=workers, progress=progress):
        if isinstance(pieces, QuickstepError):
            failures.append(Failure(Segment(Path(path)), pieces))
        else:
            made[path] = pieces
    return [piece for path in sorted(made) for piece in made[path]], failures


def _copies(pieces: Sequence[_Piece], durations: Mapping[str, float], store: Store, progress: Progress) -> Iterator[Copy]:
    """What any two pieces share."""

    @lru_cache(maxsize=512)
    def pictures(number: int) -> likeness.Pictures:
        return pictures_of(Path(pieces[number].path), pieces[number].sketch, store)

    pairs = [pair for pair in candidates([piece.sketch for piece in pieces], slack=SLACK) if _apart(pieces, pair)]
    progress("comparing", 0, len(pairs))
    for number, (one, other, mirrored) in enumerate(pairs, start=1):
        first, second = pieces[one], pieces[other]
        with threadpool_limits(1):
            found = _hold(first, second, (pictures(one), pictures(other)), mirrored, durations)
        if found is not None:
            yield found
        progress("comparing", number, len(pairs))


def _apart(pieces: Sequence[_Piece], pair: tuple[int, int, bool]) -> bool:
    return pieces[pair[0]].path != pieces[pair[1]].path


def _hold(
    first: _Piece, second: _Piece, pictures: tuple[likeness.Pictures, likeness.Pictures], mirrored: bool, durations: Mapping[str, float]
) -> Copy | None:
    """What two pieces share, if anything."""
    one, other = pictures[0], pictures[1][:, :, ::-1] if mirrored else pictures[1]
    ends = [min(durations[piece.path], piece.start + piece.sketch.duration) for piece in (first, second)]
    if first.sketch.still or second.sketch.still:
        if first.sketch.still and second.sketch.still and likeness.same_still(one, other):
            return Copy(first.path, second.path, (first.start, ends[0]), (second.start, ends[1]), 1.0, mirrored)
        return None
    alike = likeness.compare(one, other)
    if alike.common == 0:
        return None
    ahead = first.start + alike.lag / PACE - second.start  # a moment t of the second is t + ahead of the first
    begin, end = max(first.start, second.start + ahead), min(ends[0], ends[1] + ahead)
    if alike.same:
        return Copy(first.path, second.path, (begin, end), (begin - ahead, end - ahead), alike.score, mirrored)
    sides = Side(Path(first.path), durations[first.path]), Side(Path(second.path), durations[second.path], mirrored)
    stretch = same_stretch(Alignment(*sides, begin, end, ahead), whole=alike.score >= UNSURE)
    if stretch is None:
        return None
    begin, end, score = stretch
    return Copy(first.path, second.path, (begin, end), (begin - ahead, end - ahead), score, mirrored)


def _longest(found: Sequence[Copy]) -> list[Copy]:
    """Stretches of one pair under one alignment joined; of alignments that contradict each other the longest stays."""
    joined: list[Copy] = []
    for match in sorted(found, key=lambda match: (match.first, match.second, match.mirrored, match.first_span)):
        last = joined[-1] if joined else None
        if last is not None and _continues(last, match):
            first = (last.first_span[0], max(last.first_span[1], match.first_span[1]))
            second = (last.second_span[0], max(last.second_span[1], match.second_span[1]))
            joined[-1] = replace(last, first_span=first, second_span=second, score=max(last.score, match.score))
        else:
            joined.append(match)
    kept: list[Copy] = []
    for match in sorted(joined, key=lambda match: (match.first_span[0] - match.first_span[1], match.first, match.second)):
        if not any(_contradicts(match, other) for other in kept):
            kept.append(match)
    return sorted(kept, key=lambda match: (match.first, match.second, match.first_span))


def _continues(last: Copy, match: Copy) -> bool:
    same = (last.first, last.second, last.mirrored) == (match.first, match.second, match.mirrored)
    ahead = [each.first_span[0] - each.second_span[0] for each in (last, match)]
    return same and abs(ahead[0] - ahead[1]) < APART and match.first_span[0] <= last.first_span[1] + 1.0


def _contradicts(match: Copy, other: Copy) -> bool:
    """Whether both say something of the same seconds of the same two videos."""
    if (match.first, match.second) != (other.first, other.second):
        return False
    pairs = ((match.first_span, other.first_span), (match.second_span, other.second_span))
    return any(min(a[1], b[1]) - max(a[0], b[0]) > APART for a, b in pairs)


def _exact(pair: tuple[str, str], durations: Mapping[str, float]) -> Copy:
    whole = (0.0, durations[pair[0]])
    return Copy(pair[0], pair[1], whole, whole, 1.0, exact=True)


def _of_twins(found: Sequence[Copy], homes: Mapping[str, Sequence[str]]) -> list[Copy]:
    """What was found of one file holds for every file of the same bytes."""
    return [
        replace(match, first=first, second=second)
        for match in found
        if not match.exact
        for first in homes[match.first]
        for second in homes[match.second]
        if (first, second) != (match.first, match.second)
    ]


def _grouped(found: Sequence[Copy]) -> tuple[Group, ...]:
    """Videos that share footage, directly or through others."""
    of: dict[str, set[str]] = {}
    for match in found:
        joint = of.get(match.first, {match.first}) | of.get(match.second, {match.second})
        of.update(dict.fromkeys(joint, joint))
    groups = sorted({tuple(sorted(paths)) for paths in of.values()})
    ordered = sorted(found, key=lambda match: (match.first, match.second, match.first_span))
    return tuple(Group(paths, tuple(match for match in ordered if match.first in paths)) for paths in groups)


def _plain(match: Copy) -> dict[str, Any]:
    return {
        "first": match.first,
        "second": match.second,
        "first_span": [round(seconds, 3) for seconds in match.first_span],
        "second_span": [round(seconds, 3) for seconds in match.second_span],
        "score": round(match.score, 4),
        "mirrored": match.mirrored,
        "exact": match.exact,
    }
