"""merge: several manifests as one, each footage once; what is alike across them shares a group, so that no split divides it.

What counts as double: the same span of the same web video (by its id), the same bytes, the same footage as `footage` sees it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quickstep.datasets.duplicates.same_footage import Footage, compare_footage
from quickstep.datasets.label_matching import loose_label_key
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import Leak, prove, ties_of
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import setting
from quickstep.types.errors import ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

_NAMED = re.compile(r"^(?P<video>[A-Za-z0-9_-]{11})_(?P<start>\d{6})_(?P<end>\d{6})$")
_OVERLAP = 0.5  # of the shorter span: pieces cut a little differently are one, neighbours are not


@dataclass(frozen=True)
class MergeConfig:
    """What is done about doubles."""

    compare: bool = setting(True, "look into the videos for copies of the same footage, not only at bytes and ids")
    keep_copies: bool = setting(False, "keep every copy, in one group, instead of the first of those with one label")
    drop_splits: bool = setting(False, "forget the parts that the manifests say, so that `quickstep split` draws them anew")


@dataclass(frozen=True)
class Double:
    """Two segments of one footage, and what became of the second."""

    first: Segment
    second: Segment
    how: str  # "web video", "bytes" or "footage"
    kept: bool

    @property
    def contradicts(self) -> bool:
        """Whether the two have different labels."""
        return self.first.label != self.second.label

    def __str__(self) -> str:
        form = {"web video": "is the same piece of the same web video as", "bytes": "is byte for byte", "footage": "shows the same as"}
        labels = f", but is called {self.second.label!r} and not {self.first.label!r}" if self.contradicts else ""
        return f"{self.second} {form[self.how]} {self.first}{labels}: {'kept, in one group' if self.kept else 'left out'}"


@dataclass(frozen=True)
class Merged:
    """One manifest of several, and what was double in them."""

    manifest: Manifest
    doubles: tuple[Double, ...] = ()
    tied: int = 0  # groups that were joined because their footage is one
    leaks: tuple[Leak, ...] = ()  # parts that the manifests themselves say and that divide a footage
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "segments": len(self.manifest),
            "classes": self.manifest.counts,
            "doubles": [str(double) for double in self.doubles],
            "joined_groups": self.tied,
            "leaks": [str(leak) for leak in self.leaks],
            "notes": list(self.notes),
            "failures": [str(failure) for failure in self.failures],
        }


def merge(
    manifests: Sequence[Manifest], config: MergeConfig | None = None, *, cache: Cache | None = None, progress: Progress = silent
) -> Merged:
    """The segments of all, in order; doubles once (or all in one group), and one group for whatever is one footage."""
    config = config or MergeConfig()
    listed = [segment for manifest in manifests for segment in manifest.segments]
    if not listed:
        raise ManifestError(manifests[0].source or "manifest" if manifests else "manifest", "there is nothing to merge")
    segments, notes = _one_spelling([replace(each, path=_whole(each.path)) for each in listed])
    if config.drop_splits:
        segments = [replace(segment, split=None) for segment in segments]
    unique, doubles = _apart(segments, list(_same_web_video(segments)), config)
    notes += _repeated(len(segments) - len(unique) - sum(not double.kept for double in doubles))
    footage = compare_footage(list(dict.fromkeys(each.path for each in unique)), cache or Cache(), look=config.compare, progress=progress)
    unique, same = _apart(unique, list(_same_footage(unique, footage)), config)
    manifest, tied = _grouped(Manifest(tuple(unique), manifests[0].source), footage)
    return Merged(
        manifest,
        (*doubles, *same),
        tied,
        prove(manifest, footage).leaks,
        tuple(notes),
        tuple(Failure(Segment(path), error) for path, error in footage.failures.items()),
    )


def _whole(path: Path) -> Path:
    return path.absolute()


def _one_spelling(segments: Sequence[Segment]) -> tuple[list[Segment], list[str]]:
    """Labels that differ only in case or punctuation become the first spelling of them."""
    first: dict[str, str] = {}
    others: Counter[tuple[str, str]] = Counter()
    same = []
    for segment in segments:
        label = segment.label
        if label is not None and (one := first.setdefault(loose_label_key(label), label)) != label:
            others[label, one] += 1
            segment = replace(segment, label=one)
        same.append(segment)
    return same, [f"{count} segments called {label!r} are now {one!r}, as before" for (label, one), count in others.items()]


def web_piece(segment: Segment) -> tuple[str, float, float] | None:
    """The web video that a segment is of, and its span there, as its further columns or its file's name tell."""
    extra: Mapping[str, str] = segment.extra
    named = _NAMED.match(segment.path.stem)
    video = extra.get("youtube_id") or (named["video"] if named else "")
    if not video:
        return None
    try:
        start = float(extra.get("time_start") or (named["start"] if named else segment.start))
        end = float(extra.get("time_end") or (named["end"] if named else segment.end or "inf"))
    except ValueError:
        return None
    return video, start, end


def _same_web_video(segments: Sequence[Segment]) -> Iterator[tuple[int, int, str]]:
    """Pairs that are one piece of one web video, by its id and the times there."""
    pieces: dict[str, list[tuple[int, float, float]]] = {}
    for number, segment in enumerate(segments):
        piece = web_piece(segment)
        if piece is None:
            continue
        video, start, end = piece
        for other, other_start, other_end in pieces.setdefault(video, []):
            shared = min(end, other_end) - max(start, other_start)
            shorter = min(end - start, other_end - other_start)
            if shared > 0 and (shared >= _OVERLAP * shorter or shorter == float("inf")):
                yield other, number, "web video"
                break
        pieces[video].append((number, start, end))


def _same_footage(segments: Sequence[Segment], footage: Footage) -> Iterator[tuple[int, int, str]]:
    """Pairs of segments of videos that are the same bytes or show the same, where they are the same span."""
    of: dict[Path, list[int]] = {}
    for number, segment in enumerate(segments):
        of.setdefault(segment.path, []).append(number)
    pairs = [(paths[0], other, "bytes", 0.0) for paths in footage.copies for other in paths[1:]]
    pairs += [(match.first, match.second, "footage", match.lag) for match in footage.matches]
    for first, second, how, lag in pairs:
        for one in of.get(first, ()):
            for other in of.get(second, ()):
                if _overlap(segments[one], segments[other], lag if how == "footage" else 0.0):
                    yield min(one, other), max(one, other), how


def _overlap(one: Segment, other: Segment, lag: float) -> bool:
    """Whether two spans show the same time, most of it; the first video began `lag` seconds earlier."""
    start, end = other.start + lag, (other.end if other.end is not None else 1e9) + lag
    mine = one.end if one.end is not None else 1e9
    shared = min(mine, end) - max(one.start, start)
    return shared >= _OVERLAP * min(mine - one.start, end - start)


def _apart(segments: Sequence[Segment], pairs: Sequence[tuple[int, int, str]], config: MergeConfig) -> tuple[list[Segment], list[Double]]:
    """The segments without those that are double, and an account of every pair."""
    gone: set[int] = set()
    doubles = []
    for first, second, how in sorted(pairs):
        if first in gone or second in gone:
            continue
        one, other = segments[first], segments[second]
        if one.span == other.span and one.label == other.label:
            gone.add(second)  # the very same line twice
            continue
        kept = config.keep_copies or one.label != other.label or how == "footage"
        doubles.append(Double(one, other, how, kept))
        if not kept:
            gone.add(second)
    seen: set[tuple[Any, ...]] = set()
    unique = []
    for number, segment in enumerate(segments):
        if number in gone or (*segment.span, segment.label) in seen:
            continue
        seen.add((*segment.span, segment.label))
        unique.append(segment)
    return unique, doubles


def _repeated(count: int) -> list[str]:
    return [f"{count} segments stand in several lists and are taken once"] if count else []


def _grouped(manifest: Manifest, footage: Footage) -> tuple[Manifest, int]:
    """One group for each footage: the first of the groups that turn out to be one gives its name to all."""
    with_videos = [replace(each, group=each.group or (web_piece(each) or (None,))[0]) for each in manifest.segments]
    named = manifest.with_segments(with_videos)
    ties = ties_of(named, footage)
    names: dict[int, dict[str, None]] = {}
    for segment, tie in zip(named.segments, ties, strict=True):
        names.setdefault(tie, {})[group_of(segment)] = None
    joined = {tie: next(iter(groups)) for tie, groups in names.items() if len(groups) > 1}
    segments = [
        replace(segment, group=_short(joined[tie])) if tie in joined else segment for segment, tie in zip(named.segments, ties, strict=True)
    ]
    return named.with_segments(segments), len(joined)


def _short(name: str) -> str:
    """A group's name; where it is a video's whole path, only the end of it."""
    return "/".join(Path(name).parts[-2:]) if Path(name).is_absolute() else name
