"""Merge several manifests into one without duplicates; segments of the same footage get one group, so that no split divides them.

Duplicates have the same span of the same web video (by its id), the same bytes, or the same footage.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quickstep.datasets.duplicates.same_footage import Footage, compare_footage
from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.label_matching import loose_label_key
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import Leak, check_leakage, unit_numbers
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import setting
from quickstep.types.errors import ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

_TRIMMED_NAME = re.compile(r"^(?P<video>[A-Za-z0-9_-]{11})_(?P<start>\d{6})_(?P<end>\d{6})$")
_MIN_OVERLAP = 0.5  # of the shorter span: spans that were cut a little differently are duplicates, neighbours are not
_FOREVER = 1e9  # seconds; the end of a span without an end

Pair = tuple[int, int, str]  # the numbers of two segments, and why they are duplicates


@dataclass(frozen=True)
class MergeConfig:
    """What happens to duplicates and to existing splits."""

    compare: bool = setting(True, "decode the videos to find copies of the same footage, not only equal bytes and ids")
    keep_copies: bool = setting(False, "keep every copy, in one group, instead of only the first of those with one label")
    drop_splits: bool = setting(False, "remove the splits of the manifests, so that `quickstep split` makes new ones")


@dataclass(frozen=True)
class Duplicate:
    """Two segments of one footage, and whether the second was kept."""

    first: Segment
    second: Segment
    reason: str  # "web video", "bytes" or "footage"
    kept: bool

    @property
    def contradicts(self) -> bool:
        """Whether the two have different labels."""
        return self.first.label != self.second.label

    def __str__(self) -> str:
        relation = {
            "web video": "is the same part of the same web video as",
            "bytes": "is the same file as",
            "footage": "shows the same as",
        }
        labels = f" (labels: {self.second.label!r} and {self.first.label!r})" if self.contradicts else ""
        return f"{self.second} {relation[self.reason]} {self.first}{labels}: {'kept, in one group' if self.kept else 'left out'}"


@dataclass(frozen=True)
class Merged:
    """The merged manifest, and its duplicates and leaks."""

    manifest: Manifest
    duplicates: tuple[Duplicate, ...] = ()
    joined_groups: int = 0  # groups that share footage and became one
    leaks: tuple[Leak, ...] = ()  # between the splits that the manifests already have
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the counts and messages as plain data."""
        return {
            "segments": len(self.manifest),
            "classes": self.manifest.counts,
            "doubles": [str(duplicate) for duplicate in self.duplicates],
            "joined_groups": self.joined_groups,
            "leaks": [str(leak) for leak in self.leaks],
            "notes": list(self.notes),
            "failures": [str(failure) for failure in self.failures],
        }


def merge(
    manifests: Manifest | str | Path | Iterable[ManifestSource],
    config: MergeConfig | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Merged:
    """Merge manifests or their paths, in order; duplicates are kept once (or all in one group), and shared footage has one group."""
    config = config or MergeConfig()
    sources = [as_manifest(source) for source in ([manifests] if isinstance(manifests, Manifest | str | Path) else manifests)]
    listed = [replace(segment, path=segment.path.absolute()) for manifest in sources for segment in manifest.segments]
    if not listed:
        raise ManifestError(next((manifest.source for manifest in sources if manifest.source), "manifest"), "lists no video to merge")
    segments, notes = _with_one_spelling(listed)
    if config.drop_splits:
        segments = [replace(segment, split=None) for segment in segments]
    unique, duplicates = _without_duplicates(segments, list(_same_web_video(segments)), config)
    repeated = len(segments) - len(unique) - sum(not duplicate.kept for duplicate in duplicates)
    notes += [f"{repeated} segments are in several lists and kept once"] if repeated else []
    footage = compare_footage([segment.path for segment in unique], cache or Cache(), decode=config.compare, progress=progress)
    unique, more = _without_duplicates(unique, list(_same_footage(unique, footage)), config)
    manifest, joined_groups = _with_common_groups(Manifest(tuple(unique), sources[0].source), footage)
    return Merged(
        manifest,
        (*duplicates, *more),
        joined_groups,
        check_leakage(manifest, footage).leaks,
        tuple(notes),
        tuple(Failure(Segment(path), error) for path, error in footage.failures.items()),
    )


def _with_one_spelling(segments: Sequence[Segment]) -> tuple[list[Segment], list[str]]:
    """Replace labels that differ only in case or punctuation by the spelling that comes first."""
    first_spelling: dict[str, str] = {}
    changes: Counter[tuple[str, str]] = Counter()
    respelled = []
    for segment in segments:
        label = segment.label
        if label is not None and (first := first_spelling.setdefault(loose_label_key(label), label)) != label:
            changes[label, first] += 1
            segment = replace(segment, label=first)
        respelled.append(segment)
    return respelled, [f"the label {label!r} of {count} segments became {first!r}" for (label, first), count in changes.items()]


def web_span(segment: Segment) -> tuple[str, float, float] | None:
    """Return the web video of a segment and the span there, from its further columns or its file name."""
    extra: Mapping[str, str] = segment.extra
    name = _TRIMMED_NAME.match(segment.path.stem)
    video = extra.get("youtube_id") or (name["video"] if name else "")
    if not video:
        return None
    try:
        start = float(extra.get("time_start") or (name["start"] if name else segment.start))
        end = float(extra.get("time_end") or (name["end"] if name else segment.end or "inf"))
    except ValueError:
        return None
    return video, start, end


def _same_web_video(segments: Sequence[Segment]) -> Iterator[Pair]:
    """Yield pairs of segments with the same span of the same web video."""
    spans: dict[str, list[tuple[int, float, float]]] = {}
    for number, segment in enumerate(segments):
        span = web_span(segment)
        if span is None:
            continue
        video, start, end = span
        for other, other_start, other_end in spans.setdefault(video, []):
            shared = min(end, other_end) - max(start, other_start)
            shorter = min(end - start, other_end - other_start)
            if shared > 0 and (shared >= _MIN_OVERLAP * shorter or shorter == float("inf")):
                yield other, number, "web video"
                break
        spans[video].append((number, start, end))


def _same_footage(segments: Sequence[Segment], footage: Footage) -> Iterator[Pair]:
    """Yield pairs of segments that cover the same time of the same file or footage."""
    numbers_of: dict[Path, list[int]] = {}
    for number, segment in enumerate(segments):
        numbers_of.setdefault(segment.path, []).append(number)
    videos = [(paths[0], other, "bytes", 0.0) for paths in footage.copies for other in paths[1:]]
    videos += [(match.first, match.second, "footage", match.lag) for match in footage.matches]
    for first, second, reason, lag in videos:
        for one in numbers_of.get(first, ()):
            for other in numbers_of.get(second, ()):
                if _overlap(segments[one], segments[other], lag):
                    yield min(one, other), max(one, other), reason


def _overlap(first: Segment, second: Segment, lag: float) -> bool:
    """Whether two spans cover mostly the same time; the first video began `lag` seconds earlier."""
    first_end = first.end if first.end is not None else _FOREVER
    start, end = second.start + lag, (second.end if second.end is not None else _FOREVER) + lag
    shared = min(first_end, end) - max(first.start, start)
    return shared >= _MIN_OVERLAP * min(first_end - first.start, end - start)


def _without_duplicates(segments: Sequence[Segment], pairs: Sequence[Pair], config: MergeConfig) -> tuple[list[Segment], list[Duplicate]]:
    """Return the segments to keep, and a Duplicate for each pair."""
    removed: set[int] = set()
    duplicates = []
    for first, second, reason in sorted(pairs):
        if first in removed or second in removed:
            continue
        one, other = segments[first], segments[second]
        if one.span == other.span and one.label == other.label:
            removed.add(second)  # the same line twice
            continue
        keep = config.keep_copies or one.label != other.label or reason == "footage"
        duplicates.append(Duplicate(one, other, reason, keep))
        if not keep:
            removed.add(second)
    listed: set[tuple[Any, ...]] = set()
    unique = []
    for number, segment in enumerate(segments):
        if number not in removed and (*segment.span, segment.label) not in listed:
            listed.add((*segment.span, segment.label))
            unique.append(segment)
    return unique, duplicates


def _with_common_groups(manifest: Manifest, footage: Footage) -> tuple[Manifest, int]:
    """Give segments of one footage one group, the first of theirs, and count the groups that were joined."""
    with_videos = [replace(segment, group=segment.group or (web_span(segment) or (None,))[0]) for segment in manifest.segments]
    grouped = manifest.with_segments(with_videos)
    units = unit_numbers(grouped, footage)
    groups_of: dict[int, dict[str, None]] = {}
    for segment, unit in zip(grouped.segments, units, strict=True):
        groups_of.setdefault(unit, {})[group_of(segment)] = None
    joined = {unit: next(iter(groups)) for unit, groups in groups_of.items() if len(groups) > 1}
    segments = [
        replace(segment, group=_short(joined[unit])) if unit in joined else segment
        for segment, unit in zip(grouped.segments, units, strict=True)
    ]
    return grouped.with_segments(segments), len(joined)


def _short(group: str) -> str:
    """Shorten a group that is the whole path of a video to its last two parts."""
    return "/".join(Path(group).parts[-2:]) if Path(group).is_absolute() else group
