"""Check a dataset before training on it: find unreadable videos, duplicates, leaks, small classes, shortcuts and more."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quickstep.datasets.audit.checks import CHECKS, POSE_CHECKS, DatasetFacts, Finding, Severity
from quickstep.datasets.audit.metadata_shortcuts import Shortcut, cached_video_info, find_shortcut, metadata_features
from quickstep.datasets.duplicates import frame_similarity
from quickstep.datasets.duplicates.frame_similarity import thumbnails_of
from quickstep.datasets.duplicates.same_footage import Footage, compare_footage
from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.splits import unit_numbers
from quickstep.signals.video import VideoInfo
from quickstep.storage.cache import Cache
from quickstep.types.errors import QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Audit:
    """The findings of a check, errors first, and the size of the dataset."""

    findings: tuple[Finding, ...]
    segments: int
    videos: int
    readable: int
    labels: dict[str, int]
    seconds: float  # of all videos together
    shortcut: Shortcut | None

    @property
    def clean(self) -> bool:
        """Whether there is no error and no warning; notes do not count."""
        return all(finding.severity == "note" for finding in self.findings)

    def of(self, kind: str) -> tuple[Finding, ...]:
        """Return the findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    @property
    def text(self) -> str:
        """A summary in one line, then one line for each finding."""
        count = Counter(finding.severity for finding in self.findings)
        problems = ", ".join(f"{count[severity]} {severity}{'s' * (count[severity] != 1)}" for severity in _ORDER)
        summary = (
            f"{_plural(self.segments, 'segment')} of {_plural(len(self.labels), 'class', 'classes')} "
            f"in {_plural(self.videos, 'video')} ({self.seconds / 60:.1f} minutes), {self.readable} readable: "
            f"{problems if self.findings else 'no problems found'}"
        )
        return "\n".join([summary, *(f"{one.severity:7}  {one.kind:14}  {one.sentence}" for one in self.findings)])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        summary = {
            "segments": self.segments,
            "videos": self.videos,
            "readable": self.readable,
            "labels": self.labels,
            "seconds": self.seconds,
            "clean": self.clean,
        }
        shortcut = asdict(self.shortcut) | {"suspicious": self.shortcut.suspicious} if self.shortcut else None
        return summary | {"shortcut": shortcut, "findings": [finding.as_dict() for finding in self.findings]}

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(self.as_dict(), ensure_ascii=False, allow_nan=False, indent=1)


def check(
    manifest: ManifestSource, *, cache: Cache | None = None, progress: Progress = silent, workers: int | None = None, seed: int = 0
) -> Audit:
    """Check a folder, csv or Manifest of labelled videos; each video is decoded once, and the cache keeps the result."""
    manifest, cache = as_manifest(manifest), cache or Cache()
    infos: dict[Path, VideoInfo] = {}
    failures: dict[Path, QuickstepError] = {}

    def read_header(path: Path) -> VideoInfo:
        return cached_video_info(path, cache)

    for path, result in run_parallel(read_header, manifest.paths, "headers", workers=workers, progress=progress):
        if isinstance(result, VideoInfo):
            infos[path] = result
        else:
            failures[path] = result
    footage = compare_footage([path for path in manifest.paths if path in infos], cache, workers=workers, progress=progress)
    failures |= footage.failures
    facts = DatasetFacts(
        manifest=manifest,
        infos={path: infos[path] for path in manifest.paths if path in infos},
        footage=footage,
        failures={path: failures[path] for path in manifest.paths if path in failures},
        still=frozenset(segment for segment in manifest.segments if _is_still(segment, footage, cache)),
        shortcut=_shortcut(manifest, infos, footage, seed=seed),
    )
    findings = [finding for run in (*CHECKS, *POSE_CHECKS) for finding in run(facts)]
    return Audit(
        findings=tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity])),
        segments=len(manifest),
        videos=len(manifest.paths),
        readable=len(manifest.paths) - len(failures),
        labels=manifest.counts,
        seconds=sum(info.duration for info in infos.values()),
        shortcut=facts.shortcut,
    )


def _plural(count: int, singular: str, plural: str | None = None) -> str:
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def _is_still(segment: Segment, footage: Footage, cache: Cache) -> bool:
    """Whether nothing moves in a segment; thumbnails are fetched only for a part of a video."""
    sketch = footage.sketches.get(segment.path)
    if sketch is None:
        return False
    if sketch.still or (segment.start == 0 and segment.end is None):
        return sketch.still and sketch.thumbnails > 1
    stop = None if segment.end is None else max(2, int(segment.end * sketch.fps))
    thumbnails = thumbnails_of(segment.path, sketch, cache)[int(segment.start * sketch.fps) : stop]
    return len(thumbnails) > 1 and frame_similarity.is_still(thumbnails)


def _shortcut(manifest: Manifest, infos: dict[Path, VideoInfo], footage: Footage, *, seed: int) -> Shortcut | None:
    """Measure how well metadata predicts the labels; copies of one footage count as one group."""
    units = unit_numbers(manifest, footage)
    usable = [
        (segment, unit)
        for segment, unit in zip(manifest.segments, units, strict=True)
        if segment.path in infos and segment.label is not None
    ]
    features = [metadata_features(segment, infos[segment.path]) for segment, _ in usable]
    return find_shortcut(features, [segment.label or "" for segment, _ in usable], [unit for _, unit in usable], seed=seed)
