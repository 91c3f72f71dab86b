"""The single checks of an audit: each looks at what is known of a manifest's videos and gives its findings; opens no video.

A finding says what is wrong, with what, and what to do about it, in one sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from quickstep.datasets.audit.metadata_shortcuts import Shortcut
from quickstep.datasets.audit.metadata_shortcuts import say as say_shortcut
from quickstep.datasets.duplicates.same_footage import Footage, Sketch
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import prove
from quickstep.signals.video import OVERHANG, VideoInfo
from quickstep.types.errors import QuickstepError
from quickstep.types.segment import Segment

Severity = Literal["error", "warning", "note"]
SHORTEST_SECONDS = 0.5
FEWEST_PICTURES = 8
ONE_PLACE = 0.99  # correlation of two standing pictures from which on they show one place
FEW_GROUPS = 3  # one each for train, val and test
FEW_SEGMENTS = 10
UNEVEN = 3.0


@dataclass(frozen=True)
class Finding:
    """Something wrong, or worth knowing, with a manifest."""

    kind: str
    severity: Severity
    sentence: str
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class Known:
    """What the checks look at."""

    manifest: Manifest
    infos: dict[Path, VideoInfo]
    footage: Footage
    failures: dict[Path, QuickstepError]
    still: frozenset[Segment]  # segments in which nothing moves
    shortcut: Shortcut | None

    def name(self, path: Path) -> str:
        """The path as seen from the manifest."""
        source = self.manifest.source
        folder = source if source is None or source.is_dir() else source.parent
        return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else str(path)

    def some(self, paths: Sequence[Path]) -> str:
        """The first few of some videos, and how many more."""
        return _some([self.name(path) for path in paths])

    def of(self, paths: Iterable[Path]) -> tuple[Segment, ...]:
        """The segments of some videos, in the manifest's order."""
        wanted = set(paths)
        return tuple(segment for segment in self.manifest.segments if segment.path in wanted)


def labels(known: Known) -> Iterator[Finding]:
    """Classes that are alone, empty, small or much larger than others."""
    manifest = known.manifest
    counts = manifest.counts
    if len(counts) == 1:
        yield Finding("one-class", "error", f"there is only one class, {next(iter(counts))!r}: add videos of at least one other")
    for label in sorted(manifest.empty):
        yield Finding("empty-class", "warning", f"class {label!r} has no video: add some or leave the class out")
    readable: Counter[str | None] = Counter(segment.label for segment in manifest.segments if segment.path not in known.failures)
    for label, count in counts.items():
        inside = tuple(segment for segment in manifest.segments if segment.label == label)
        groups = len({group_of(segment) for segment in inside})
        if not readable[label]:
            yield Finding("empty-class", "error", f"class {label!r} has no video that can be read: mend its paths or leave it out", inside)
        elif groups < FEW_GROUPS:
            why = f"class {label!r} comes from only {groups} group{'s' * (groups > 1)}, so it cannot be in train, val and test at once"
            yield Finding("few", "warning", f"{why}: add recordings of other people or days", inside)
        elif count < FEW_SEGMENTS:
            yield Finding("few", "note", f"class {label!r} has only {count} segments: scores for it will be very unsure; add more", inside)
    if len(counts) > 1 and max(counts.values()) >= UNEVEN * min(counts.values()):
        most, least = max(counts, key=lambda label: counts[label]), min(counts, key=lambda label: counts[label])
        ratio = counts[most] / counts[least]
        why = f"class {most!r} has {ratio:.1f} times as many segments as {least!r} ({counts[most]} to {counts[least]})"
        yield Finding("imbalance", "warning" if ratio >= 10 else "note", f"{why}: read balanced accuracy, or train with class weights")


def unreadable(known: Known) -> Iterator[Finding]:
    """Videos that cannot be used at all, one finding each."""
    for path, error in known.failures.items():
        yield Finding("unreadable", "error", f"{error}: mend or replace it, or take it out of the list", known.of([path]))


def truncated(known: Known) -> Iterator[Finding]:
    """Videos that break off or have damaged pictures."""
    for path, sketch in known.footage.sketches.items():
        gone = sketch.duration - sketch.reach
        pause = 2.0 / sketch.pace + 1.0 / max(known.infos[path].fps or 1.0, 1.0) if path in known.infos else 2.0 / sketch.pace
        if sketch.lost:
            share = f"{min(1.0, sketch.lost / max(1, _moments(sketch))):.0%}"
            why = f"{known.name(path)} is damaged: about {share} of its moments have no picture of their own"
            yield Finding("truncated", "warning", f"{why}; copy it again from where it came", known.of([path]))
        elif gone > max(0.5, pause, 0.1 * sketch.duration):
            why = f"{known.name(path)} says it lasts {sketch.duration:.1f} s but its last picture comes at {sketch.reach:.1f} s"
            yield Finding("truncated", "warning", f"{why}: it may be cut off; copy it again, or cut the rest away", known.of([path]))


def _moments(sketch: Sketch) -> int:
    return int(sketch.duration * sketch.pace * 2)


def duplicate(known: Known) -> Iterator[Finding]:
    """The same bytes or the same span more than once; worst where the labels differ."""
    for paths in known.footage.copies:
        yield _twice("duplicate", f"{known.some(paths)} are the same file", known.of(paths))
    spans: dict[object, list[Segment]] = {}
    for segment in known.manifest.segments:
        spans.setdefault(segment.span, []).append(segment)
    for same in spans.values():
        if len(same) > 1:
            yield _twice("duplicate", f"{same[0]} is listed {len(same)} times", tuple(same))


def near_duplicate(known: Known) -> Iterator[Finding]:
    """The same recording in different files."""
    joined = {path for match in known.footage.matches for path in (match.first, match.second)}
    for paths in known.footage.groups:
        if not joined.isdisjoint(paths):
            pairs = [match for match in known.footage.matches if match.first in paths]
            turned = ", some mirrored" if any(match.mirrored for match in pairs) else ""
            yield _twice("near-duplicate", f"{known.some(paths)} show the same footage, or nearly{turned}", known.of(paths))


def _twice(kind: str, what: str, segments: tuple[Segment, ...]) -> Finding:
    named = sorted({segment.label for segment in segments if segment.label})
    if len(named) > 1 and kind == "near-duplicate":
        return Finding(kind, "warning", f"{what} under different labels ({', '.join(named)}): look which is right", segments)
    contradictory = len({segment.span for segment in segments}) < len(segments) or _whole(segments)
    if len(named) > 1 and contradictory:
        return Finding(kind, "error", f"{what} under different labels ({', '.join(named)}): keep the right one", segments)
    return Finding(kind, "warning", f"{what}: a split keeps them together; keep one, unless you want it to count more", segments)


def _whole(segments: Sequence[Segment]) -> bool:
    return all(segment.start == 0 and segment.end is None for segment in segments)


def spans(known: Known) -> Iterator[Finding]:
    """Segments that reach beyond their video, or are too short to show a movement."""
    for segment in known.manifest.segments:
        info = known.infos.get(segment.path)
        if info is None:
            continue
        end = info.duration if segment.end is None else min(segment.end, info.duration)
        if segment.start >= info.duration:
            why = f"{segment} starts when the video has ended ({info.duration:.2f} s)"
            yield Finding("beyond", "error", f"{why}: correct its times", (segment,))
            continue
        if segment.end is not None and segment.end > info.duration + 0.1:
            why = f"{segment} ends {segment.end - info.duration:.2f} s after the video does"
            if segment.end > info.duration + OVERHANG:
                yield Finding("beyond", "error", f"{why}, so it will not be used: correct its times", (segment,))
                continue
            yield Finding("beyond", "warning", f"{why}; it is read to the end of the video: correct its times", (segment,))
        pictures = (end - segment.start) * info.fps if info.fps else FEWEST_PICTURES
        if end - segment.start < SHORTEST_SECONDS or pictures < FEWEST_PICTURES - 0.5:
            why = f"{segment} is {end - segment.start:.2f} s long, too short to show a movement"
            yield Finding("too-short", "warning", f"{why}: cut it longer or take it out", (segment,))


def no_motion(known: Known) -> Iterator[Finding]:
    """Segments in which nothing moves."""
    for segment in known.manifest.segments:
        if segment in known.still:
            yield Finding("no-motion", "warning", f"nothing moves in {segment}: look whether it shows what it should", (segment,))


def rotated(known: Known) -> Iterator[Finding]:
    """Videos whose pixels lie on their side, with a remark to turn them."""
    turned = [path for path, info in known.infos.items() if info.rotation or info.mirrored]
    if turned:
        why = f"{known.some(turned)} {'is' if len(turned) == 1 else 'are'} stored turned or mirrored"
        yield Finding("rotated", "note", f"{why}; quickstep turns them upright, other programs may not", known.of(turned))


def one_source(known: Known) -> Iterator[Finding]:
    """Groups (or videos without one) that look as if they came from one place and one camera."""
    paths = [path for path, sketch in known.footage.sketches.items() if sketch.mean.std() > 4]
    if len(paths) < 2:
        return
    pictures = np.stack([known.footage.sketches[path].mean.reshape(-1) for path in paths]).astype(np.float32)
    pictures -= pictures.mean(1, keepdims=True)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    group = dict(zip((segment.path for segment in known.manifest.segments), known.manifest.groups, strict=True))
    parent = {name: name for name in group.values()}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for begin in range(0, len(paths), 512):
        for row, column in zip(*np.nonzero(pictures[begin : begin + 512] @ pictures.T > ONE_PLACE), strict=True):
            parent[root(group[paths[begin + int(row)]])] = root(group[paths[int(column)]])
    joined: dict[str, list[str]] = {}
    for name in parent:
        joined.setdefault(root(name), []).append(name)
    grouped = any(segment.group for segment in known.manifest.segments)
    copies = [{group[path] for path in paths} for paths in known.footage.groups]
    for names in joined.values():
        if len(names) > 1 and not any(set(names) <= same for same in copies):  # those are named as copies already
            what = f"groups {_some(names)}" if grouped else known.some([Path(name) for name in names])
            inside = tuple(segment for segment in known.manifest.segments if group_of(segment) in set(names))
            do = "if they are, give them one group, or a model is tested on what it has seen"
            yield Finding("one-source", "note", f"{what} look as if filmed at one place by one standing camera: {do}", inside)


def leaks(known: Known) -> Iterator[Finding]:
    """What the splits in the manifest have in common."""
    if len(known.manifest.splits) > 1:
        for leak in prove(known.manifest, known.footage).leaks:
            do = "scores on it will be too good; split anew or move it"
            yield Finding("leak", "error", f"{leak}: {do}", known.of(Path(video) for video in leak.videos))


def shortcut(known: Known) -> Iterator[Finding]:
    """Metadata that predicts the label."""
    if known.shortcut is not None and known.shortcut.suspicious:
        yield Finding("shortcut", "warning", say_shortcut(known.shortcut))


def skipped(known: Known) -> Iterator[Finding]:
    """What lay in the folder and was left out."""
    left = known.manifest.skipped
    if left.loose:
        plural = "s lie" if left.loose > 1 else " lies"
        yield Finding("skipped", "warning", f"{left.loose} video{plural} in no class folder and left out: move into a class folder or away")
    if left.tables:
        named = ", ".join(sorted(set(left.tables)))
        yield Finding("skipped", "note", f"{named} beside the class folders was not read: name it instead of the folder if it knows groups")
    if left.hidden or left.other:
        yield Finding("skipped", "note", f"{left.hidden} hidden files and {left.other} that are not videos were left out")


def _some(things: Sequence[str]) -> str:
    shown = list(things[:3])
    more = len(things) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


CHECKS: tuple[Callable[[Known], Iterator[Finding]], ...] = (
    labels,
    unreadable,
    spans,
    leaks,
    duplicate,
    near_duplicate,
    shortcut,
    truncated,
    no_motion,
    one_source,
    rotated,
    skipped,
)
