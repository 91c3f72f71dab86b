"""check: what is wrong with a manifest's videos before anybody trains on them; each video is read once, the cache remembers.

The single checks stand in `checks`; here their facts are gathered and their findings put in order.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from quickstep.datasets.audit.checks import CHECKS, Finding, Known, Severity
from quickstep.datasets.audit.metadata_shortcuts import Shortcut, cached_video_info, describe, find_shortcut
from quickstep.datasets.audit.pose_checks import POSE_CHECKS
from quickstep.datasets.duplicates import frame_similarity
from quickstep.datasets.duplicates.same_footage import Footage, compare_footage, thumbnails_of
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.splits import ties_of
from quickstep.signals.video import VideoInfo
from quickstep.storage.cache import Cache
from quickstep.types.errors import QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Audit:
    """The findings, the gravest first, and what was looked at."""

    findings: tuple[Finding, ...]
    segments: int
    videos: int
    readable: int
    labels: dict[str, int]
    seconds: float  # of video, all together
    shortcut: Shortcut | None

    @property
    def clean(self) -> bool:
        """Whether there is nothing to mend; notes do not count."""
        return all(finding.severity == "note" for finding in self.findings)

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    @property
    def text(self) -> str:
        """The audit for people: one line of summary, then one line a finding."""
        counts = Counter(finding.severity for finding in self.findings)
        told = ", ".join(f"{counts[one]} {one}{'s' * (counts[one] != 1)}" for one in _ORDER)
        head = (
            f"{self.segments} segments of {len(self.labels)} classes in {self.videos} videos ({self.seconds / 60:.1f} minutes), "
            f"{self.readable} readable: {told}"
        )
        if not self.findings:
            head = f"{head}; nothing wrong was found"
        return "\n".join([head, *(f"{one.severity:7}  {one.kind:14}  {one.sentence}" for one in self.findings)])

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        findings = [
            {
                "kind": one.kind,
                "severity": one.severity,
                "sentence": one.sentence,
                "segments": [
                    {"path": str(s.path), "label": s.label, "start": s.start, "end": s.end, "group": s.group, "split": s.split}
                    for s in one.segments
                ],
            }
            for one in self.findings
        ]
        shortcut = asdict(self.shortcut) | {"suspicious": self.shortcut.suspicious} if self.shortcut else None
        told = {name: getattr(self, name) for name in ("segments", "videos", "readable", "labels", "seconds", "clean")}
        return told | {"shortcut": shortcut, "findings": findings}

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps(self.as_dict(), ensure_ascii=False, allow_nan=False, indent=1)


def check(
    manifest: Manifest, *, cache: Cache | None = None, progress: Progress = silent, workers: int | None = None, seed: int = 0
) -> Audit:
    """Look for what is wrong with a set of labelled videos."""
    cache = cache or Cache()
    infos: dict[Any, VideoInfo] = {}
    failures: dict[Any, QuickstepError] = {}

    def header(path: Any) -> VideoInfo:
        return cached_video_info(path, cache)

    for path, found in run_parallel(header, manifest.paths, "headers", workers=workers, progress=progress):
        if isinstance(found, VideoInfo):
            infos[path] = found
        else:
            failures[path] = found
    footage = compare_footage([path for path in manifest.paths if path in infos], cache, workers=workers, progress=progress)
    failures |= footage.failures
    known = Known(
        manifest=manifest,
        infos={path: infos[path] for path in manifest.paths if path in infos},
        footage=footage,
        failures={path: failures[path] for path in manifest.paths if path in failures},
        still=frozenset(segment for segment in manifest.segments if _is_still(segment, footage, cache)),
        shortcut=_shortcut(manifest, infos, footage, seed=seed),
    )
    findings = [finding for check in (*CHECKS, *POSE_CHECKS) for finding in check(known)]
    return Audit(
        findings=tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity])),
        segments=len(manifest),
        videos=len(manifest.paths),
        readable=len(manifest.paths) - len(failures),
        labels=manifest.counts,
        seconds=sum(info.duration for info in infos.values()),
        shortcut=known.shortcut,
    )


def _is_still(segment: Segment, footage: Footage, cache: Cache) -> bool:
    """Whether nothing moves in a segment; the pictures are fetched again only for a part of a video."""
    sketch = footage.sketches.get(segment.path)
    if sketch is None:
        return False
    if sketch.still or (segment.start == 0 and segment.end is None):
        return sketch.still and sketch.pictures > 1
    stop = None if segment.end is None else max(2, int(segment.end * sketch.pace))
    inside = thumbnails_of(segment.path, sketch, cache)[int(segment.start * sketch.pace) : stop]
    return len(inside) > 1 and frame_similarity.is_still(inside)


def _shortcut(manifest: Manifest, infos: dict[Any, VideoInfo], footage: Footage, *, seed: int) -> Shortcut | None:
    """Ask metadata for the labels; copies of one footage count as one group."""
    ties = ties_of(manifest, footage)
    usable = [
        (segment, tie) for segment, tie in zip(manifest.segments, ties, strict=True) if segment.path in infos and segment.label is not None
    ]
    traits = [describe(segment, infos[segment.path]) for segment, _ in usable]
    return find_shortcut(traits, [segment.label or "" for segment, _ in usable], [tie for _, tie in usable], seed=seed)
