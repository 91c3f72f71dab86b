"""duplicates: the same footage in several videos of a library, also coded again, scaled, cropped, mirrored, cut or made longer.

Vectors of a network say what is alike, not what is the same: so videos are held against each other as pictures in time (see `pairs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from quickstep.library.duplicate_pairs import Match, Span, find_pairs
from quickstep.library.table import Library
from quickstep.storage.cache import Cache
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure


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


def duplicates(
    library: Library | str | Path, *, cache: Cache | None = None, workers: int | None = None, progress: Progress = silent
) -> Duplicates:
    """Every pair of videos of a library that share footage, with the spans, in groups."""
    library, cache = library if isinstance(library, Library) else Library.open(library), cache or Cache()
    digests: dict[str, str] = {}
    durations: dict[str, float] = {}
    for batch in library.batches(["path", "digest", "duration"], "start = 0 AND NOT gone"):
        for row in batch.to_pylist():
            digests[row["path"]], durations[row["path"]] = row["digest"], row["duration"]
    homes: dict[str, list[str]] = {}
    for path in sorted(digests):
        homes.setdefault(digests[path], []).append(path)
    videos = {paths[0]: digest for digest, paths in homes.items()}
    matches, failures = find_pairs(videos, durations, cache, workers=workers, progress=progress)
    found = [_to_copy(match) for match in matches]
    found += [_exact(pair, durations) for paths in homes.values() for pair in combinations(paths, 2)]
    found += _of_twins(found, {paths[0]: paths for paths in homes.values()})
    return Duplicates(_grouped(found), len(digests), tuple(failures))


def _to_copy(match: Match) -> Copy:
    return Copy(match.first, match.second, match.first_span, match.second_span, match.score, match.mirrored)


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
