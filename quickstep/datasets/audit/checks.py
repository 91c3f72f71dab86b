"""The checks of a dataset of videos: each yields findings that name the problem, the videos and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quickstep.datasets.audit.metadata_shortcuts import Shortcut
from quickstep.datasets.connected_components import connected_components
from quickstep.datasets.duplicates.frame_similarity import Sketch
from quickstep.datasets.duplicates.same_footage import Footage
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import check_leakage
from quickstep.signals.poses.resampling import body_length, present
from quickstep.signals.video import OVERHANG, VideoInfo
from quickstep.types.errors import QuickstepError
from quickstep.types.segment import Segment

Severity = Literal["error", "warning", "note"]
MIN_SECONDS = 0.5
MIN_FRAMES = 8
SAME_PLACE = 0.99  # correlation of two mean thumbnails from which on they show one place
MIN_GROUPS = 3  # one each for train, val and test
MIN_SEGMENTS = 10
_BLOCK = 512  # videos whose thumbnails are multiplied at a time
IMBALANCE, STRONG_IMBALANCE = 3.0, 10.0  # segments of the largest class / segments of the smallest


@dataclass(frozen=True)
class Finding:
    """A problem of a dataset, or something worth knowing about it."""

    kind: str
    severity: Severity
    sentence: str
    segments: tuple[Segment, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        segments = [
            {"path": str(s.path), "label": s.label, "start": s.start, "end": s.end, "group": s.group, "split": s.split}
            for s in self.segments
        ]
        return {"kind": self.kind, "severity": self.severity, "sentence": self.sentence, "segments": segments}


@dataclass(frozen=True)
class DatasetFacts:
    """A manifest, and the facts about its videos that the checks use."""

    manifest: Manifest
    infos: dict[Path, VideoInfo]
    footage: Footage
    failures: dict[Path, QuickstepError]
    still: frozenset[Segment]  # segments in which nothing moves
    shortcut: Shortcut | None

    def name(self, path: Path) -> str:
        """Return the path relative to the manifest."""
        source = self.manifest.source
        folder = source if source is None or source.is_dir() else source.parent
        return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else str(path)

    def names(self, paths: Sequence[Path]) -> str:
        """Return the names of the first three videos, and the number of the others."""
        return _list([self.name(path) for path in paths])

    def segments_of(self, paths: Iterable[Path]) -> tuple[Segment, ...]:
        """Return the segments of some videos, in the order of the manifest."""
        chosen = set(paths)
        return tuple(segment for segment in self.manifest.segments if segment.path in chosen)


def check_classes(facts: DatasetFacts) -> Iterator[Finding]:
    """Find a single class, and classes that are empty, small or much larger than others."""
    manifest = facts.manifest
    counts = manifest.counts
    if len(counts) == 1:
        yield Finding("one-class", "error", f"there is only one class, {next(iter(counts))!r}: add videos of at least one more")
    for label in sorted(manifest.empty):
        yield Finding("empty-class", "warning", f"class {label!r} has no video: add some or remove the class")
    readable: Counter[str | None] = Counter(segment.label for segment in manifest.segments if segment.path not in facts.failures)
    for label, count in counts.items():
        segments = tuple(segment for segment in manifest.segments if segment.label == label)
        groups = len({group_of(segment) for segment in segments})
        if not readable[label]:
            why = f"class {label!r} has no video that can be read"
            yield Finding("empty-class", "error", f"{why}: correct its paths or remove the class", segments)
        elif groups < MIN_GROUPS:
            why = f"class {label!r} has only {groups} group{'s' * (groups > 1)}, so it cannot be in train, val and test"
            yield Finding("few", "warning", f"{why}: add recordings of other people or days", segments)
        elif count < MIN_SEGMENTS:
            yield Finding("few", "note", f"class {label!r} has only {count} segments, so its scores will be uncertain: add more", segments)
    if len(counts) > 1 and max(counts.values()) >= IMBALANCE * min(counts.values()):
        most, least = max(counts, key=lambda label: counts[label]), min(counts, key=lambda label: counts[label])
        ratio = counts[most] / counts[least]
        why = f"class {most!r} has {ratio:.1f} times as many segments as {least!r} ({counts[most]} to {counts[least]})"
        severity: Severity = "warning" if ratio >= STRONG_IMBALANCE else "note"
        yield Finding("imbalance", severity, f"{why}: use balanced accuracy, or train with class weights")


def check_readable(facts: DatasetFacts) -> Iterator[Finding]:
    """Find videos that cannot be read."""
    for path, error in facts.failures.items():
        yield Finding("unreadable", "error", f"{error}: repair or replace it, or remove it from the list", facts.segments_of([path]))


def check_complete(facts: DatasetFacts) -> Iterator[Finding]:
    """Find videos that claim another duration than they have, end too early or have damaged frames."""
    for path, info in facts.infos.items():
        if info.disbelieved is not None:
            claim = f"claims to last {info.disbelieved:,.0f} s, but its {info.bytes:,} bytes hold frames of {info.duration:.1f} s only"
            why = f"{facts.name(path)} {claim}: it is damaged or made to harm"
            yield Finding("claimed-duration", "error", f"{why}; copy it again from its source, or remove it", facts.segments_of([path]))
    for path, sketch in facts.footage.sketches.items():
        missing = sketch.duration - sketch.last_time
        fps = facts.infos[path].fps if path in facts.infos else None
        interval = 2.0 / sketch.fps + (1.0 / max(fps or 1.0, 1.0) if path in facts.infos else 0.0)
        if sketch.lost:
            share = f"{min(1.0, sketch.lost / max(1, _timestamps(sketch))):.0%}"
            why = f"{facts.name(path)} is damaged: {share} of its timestamps have no intact frame"
            yield Finding("truncated", "warning", f"{why}; copy it again from its source", facts.segments_of([path]))
        elif missing > max(0.5, interval, 0.1 * sketch.duration):
            why = f"{facts.name(path)} should last {sketch.duration:.1f} s but its last frame is at {sketch.last_time:.1f} s"
            yield Finding("truncated", "warning", f"{why}: copy it again from its source, or trim it", facts.segments_of([path]))


def _timestamps(sketch: Sketch) -> int:
    return int(sketch.duration * sketch.fps * 2)


def check_duplicates(facts: DatasetFacts) -> Iterator[Finding]:
    """Find files with equal bytes and spans that are listed twice."""
    for paths in facts.footage.copies:
        yield _duplicate("duplicate", f"{facts.names(paths)} are the same file", facts.segments_of(paths))
    by_span: dict[object, list[Segment]] = {}
    for segment in facts.manifest.segments:
        by_span.setdefault(segment.span, []).append(segment)
    for segments in by_span.values():
        if len(segments) > 1:
            yield _duplicate("duplicate", f"{segments[0]} is listed {len(segments)} times", tuple(segments))


def check_near_duplicates(facts: DatasetFacts) -> Iterator[Finding]:
    """Find different files of the same recording."""
    matched = {path for match in facts.footage.matches for path in (match.first, match.second)}
    for paths in facts.footage.groups:
        if not matched.isdisjoint(paths):
            matches = [match for match in facts.footage.matches if match.first in paths]
            mirrored = " (some mirrored)" if any(match.mirrored for match in matches) else ""
            yield _duplicate("near-duplicate", f"{facts.names(paths)} show the same footage{mirrored}", facts.segments_of(paths))


def _duplicate(kind: str, subject: str, segments: tuple[Segment, ...]) -> Finding:
    labels = sorted({segment.label for segment in segments if segment.label})
    if len(labels) > 1 and kind == "near-duplicate":
        return Finding(kind, "warning", f"{subject} under different labels ({', '.join(labels)}): check which is right", segments)
    contradiction = len({segment.span for segment in segments}) < len(segments) or _are_whole(segments)
    if len(labels) > 1 and contradiction:
        return Finding(kind, "error", f"{subject} under different labels ({', '.join(labels)}): keep the right one", segments)
    return Finding(kind, "warning", f"{subject}: keep one of them; `split` keeps them in one split", segments)


def _are_whole(segments: Sequence[Segment]) -> bool:
    return all(segment.start == 0 and segment.end is None for segment in segments)


def check_spans(facts: DatasetFacts) -> Iterator[Finding]:
    """Find segments that reach beyond their video or are too short to show a movement."""
    for segment in facts.manifest.segments:
        info = facts.infos.get(segment.path)
        if info is None:
            continue
        end = info.duration if segment.end is None else min(segment.end, info.duration)
        if segment.start >= info.duration:
            why = f"{segment} starts after the end of the video ({info.duration:.2f} s)"
            yield Finding("beyond", "error", f"{why}: correct its times", (segment,))
            continue
        if segment.end is not None and segment.end > info.duration + 0.1:
            why = f"{segment} ends {segment.end - info.duration:.2f} s after the video"
            if segment.end > info.duration + OVERHANG:
                yield Finding("beyond", "error", f"{why}, so it will not be used: correct its times", (segment,))
                continue
            yield Finding("beyond", "warning", f"{why} and is read to the end of the video: correct its times", (segment,))
        frames = (end - segment.start) * info.fps if info.fps else MIN_FRAMES
        if end - segment.start < MIN_SECONDS or frames < MIN_FRAMES - 0.5:
            why = f"{segment} is {end - segment.start:.2f} s long, too short to show a movement"
            yield Finding("too-short", "warning", f"{why}: make it longer or remove it", (segment,))


def check_motion(facts: DatasetFacts) -> Iterator[Finding]:
    """Find segments in which nothing moves."""
    for segment in facts.manifest.segments:
        if segment in facts.still:
            yield Finding("no-motion", "warning", f"nothing moves in {segment}: check that it shows its class", (segment,))


def check_rotation(facts: DatasetFacts) -> Iterator[Finding]:
    """Find videos that are stored rotated, with a remark to rotate them."""
    rotated = [path for path, info in facts.infos.items() if info.rotation or info.mirrored]
    if rotated:
        why = f"{facts.names(rotated)} {'is' if len(rotated) == 1 else 'are'} stored rotated or mirrored"
        yield Finding("rotated", "note", f"{why}; quickstep shows them upright, other programs may not", facts.segments_of(rotated))


def check_sources(facts: DatasetFacts) -> Iterator[Finding]:
    """Find groups (or videos without one) that seem to be filmed at one place by one camera."""
    paths = [path for path, sketch in facts.footage.sketches.items() if sketch.mean.std() > 4]
    if len(paths) < 2:
        return
    means = np.stack([facts.footage.sketches[path].mean.reshape(-1) for path in paths]).astype(np.float32)
    means -= means.mean(1, keepdims=True)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    group = dict(zip((segment.path for segment in facts.manifest.segments), facts.manifest.groups, strict=True))
    pairs = [
        (group[paths[begin + int(row)]], group[paths[int(column)]])
        for begin in range(0, len(paths), _BLOCK)
        for row, column in zip(*np.nonzero(means[begin : begin + _BLOCK] @ means.T > SAME_PLACE), strict=True)
    ]
    copies = [{group[path] for path in paths} for paths in facts.footage.groups]
    for names in connected_components(group.values(), pairs):
        if len(names) > 1 and not any(set(names) <= same for same in copies):  # copies have a finding of their own
            yield _one_source(facts, names)


def _one_source(facts: DatasetFacts, names: Sequence[str]) -> Finding:
    grouped = any(segment.group for segment in facts.manifest.segments)
    subject = f"groups {_list(names)}" if grouped else facts.names([Path(name) for name in names])
    segments = tuple(segment for segment in facts.manifest.segments if group_of(segment) in set(names))
    advice = "if that is right, give them one group, so that the model is not tested on a place it was trained on"
    return Finding("one-source", "note", f"{subject} seem to be filmed at one place with a fixed camera: {advice}", segments)


def check_splits(facts: DatasetFacts) -> Iterator[Finding]:
    """Find leaks between the splits that the manifest has."""
    if len(facts.manifest.splits) > 1:
        for leak in check_leakage(facts.manifest, facts.footage).leaks:
            advice = "scores will be too high; make new splits, or move it"
            yield Finding("leak", "error", f"{leak}: {advice}", facts.segments_of(Path(video) for video in leak.videos))


def check_shortcut(facts: DatasetFacts) -> Iterator[Finding]:
    """Report metadata that predicts the label."""
    if facts.shortcut is not None and facts.shortcut.suspicious:
        yield Finding("shortcut", "warning", facts.shortcut.sentence)


def check_skipped(facts: DatasetFacts) -> Iterator[Finding]:
    """Report files of the folder that were left out."""
    skipped = facts.manifest.skipped
    if skipped.loose:
        why = f"{skipped.loose} video{'s are' if skipped.loose > 1 else ' is'} outside the class folders and left out"
        yield Finding("skipped", "warning", f"{why}: move each into the folder of its class")
    if skipped.tables:
        tables = ", ".join(sorted(set(skipped.tables)))
        yield Finding("skipped", "note", f"{tables} beside the class folders is not read: to use its groups, name it instead of the folder")
    if skipped.hidden or skipped.other:
        yield Finding("skipped", "note", f"{skipped.hidden} hidden files and {skipped.other} that are not videos were left out")


def _list(names: Sequence[str]) -> str:
    """Join up to three names, and count the others."""
    first, others = list(names[:3]), len(names) - 3
    if others > 0:
        return f"{', '.join(first)} and {others} more"
    return " and ".join([", ".join(first[:-1]), first[-1]] if len(first) > 1 else first)


CHECKS: tuple[Callable[[DatasetFacts], Iterator[Finding]], ...] = (
    check_classes,
    check_readable,
    check_spans,
    check_splits,
    check_duplicates,
    check_near_duplicates,
    check_shortcut,
    check_complete,
    check_motion,
    check_sources,
    check_rotation,
    check_skipped,
)


MAX_MISSING = 0.3  # share of a person's joints that may be missing
STILL = 0.005  # body lengths; joints that vary less do not move


def check_people(facts: DatasetFacts) -> Iterator[Finding]:
    """Find pose files that show nobody, or nobody for long enough."""
    for path, file in facts.footage.poses.items():
        visible = np.asarray(present(file.poses))  # (T, P)
        share = float(visible.mean(axis=0).max(initial=0.0))
        segments = facts.segments_of([path])
        if share == 0:
            yield Finding("no-person", "error", f"{facts.name(path)} shows nobody: estimate its poses again", segments)
        elif share < 0.5:
            why = f"at most {share:.0%} of the frames of {facts.name(path)} show a person"
            yield Finding("no-person", "warning", f"{why}: trim it to those frames, or estimate its poses again", segments)


def check_joints(facts: DatasetFacts) -> Iterator[Finding]:
    """Find pose files in which many joints are missing."""
    for path, file in facts.footage.poses.items():
        visible, detected = np.asarray(present(file.poses)), file.poses.seen
        if not visible.any():
            continue
        missing = 1.0 - float(detected[visible].mean())
        if missing > MAX_MISSING:
            always = [file.poses.skeleton.joints[number] for number in np.flatnonzero(~detected.any(axis=(0, 1)))]
            names = f" (in every frame: {', '.join(always[:4])}{' and more' if len(always) > 4 else ''})" if always else ""
            why = f"{missing:.0%} of the joints in {facts.name(path)} are missing{names}"
            advice = "they are interpolated, which gives a model little to learn from"
            yield Finding("missing-joints", "warning", f"{why}; {advice}", facts.segments_of([path]))


def check_skeletons(facts: DatasetFacts) -> Iterator[Finding]:
    """Find pose files with other joints than most files have."""
    poses = facts.footage.poses
    count = Counter(file.poses.skeleton.joints for file in poses.values())
    if len(count) < 2:
        return
    usual = count.most_common(1)[0][0]
    for joints, files in count.most_common()[1:]:
        paths = [path for path, file in poses.items() if file.poses.skeleton.joints == joints]
        why = f"{facts.names(paths)} {'has' if files == 1 else 'have'} {len(joints)} joints, but most files have {len(usual)} or other ones"
        advice = "convert all to one skeleton (option skeleton), or remove them"
        yield Finding("other-skeleton", "warning", f"{why}: {advice}", facts.segments_of(paths))


def check_pose_motion(facts: DatasetFacts) -> Iterator[Finding]:
    """Find pose files in which nobody moves."""
    for path, file in facts.footage.poses.items():
        movement = []
        for number in file.poses.people:
            person = file.poses.person(number)
            length = body_length(person)
            joints = person.joints[:, 0, :, :-1][person.seen[:, 0].all(axis=1)]
            if length > 0 and len(joints) > 1:
                movement.append(float(joints.std(axis=0).max()) / length)
        if movement and max(movement) < STILL:
            why = f"nobody moves in {facts.name(path)}"
            yield Finding("no-motion", "warning", f"{why}: check that it shows its class", facts.segments_of([path]))


def check_guesses(facts: DatasetFacts) -> Iterator[Finding]:
    """Report values that the files do not contain and that were guessed."""
    count = Counter(note for file in facts.footage.poses.values() for note in dict.fromkeys(file.notes))
    for note, files in count.items():
        yield Finding("guessed", "note", f"{files} pose file{'s' * (files > 1)}: {note}")


POSE_CHECKS: tuple[Callable[[DatasetFacts], Iterator[Finding]], ...] = (
    check_people,
    check_joints,
    check_skeletons,
    check_pose_motion,
    check_guesses,
)
