"""Split a dataset into train, val and test (or k folds) without leakage, and check a finished split for it.

Segments that share a group, a file or footage form one unit, and a unit is never divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.datasets.connected_components import connected_components
from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import PARTS, Manifest, Split, group_of
from quickstep.datasets.stratification import Unit, assign_parts
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment

if TYPE_CHECKING:  # its libraries take long to import and are only needed to open videos
    from quickstep.datasets.duplicates.same_footage import Footage


@dataclass(frozen=True)
class SplitConfig:
    """The size and kind of the splits; splits that the manifest already has are kept."""

    val: float = setting(0.15, "share of the segments for validation during training")
    test: float = setting(0.15, "share of the segments for the final test")
    folds: int = setting(0, "number of cross-validation folds (0: a single split)")
    seed: int = setting(0, "random seed; another seed gives another split")
    compare: bool = setting(True, "decode the videos to find copies of the same footage, and keep copies in one split")

    def __post_init__(self) -> None:
        between("val", self.val, 0, 0.9)
        between("test", self.test, 0, 0.9)
        if self.val + self.test > 0.95:
            raise ConfigError("test", f"with val={self.val:g} it leaves too little to train on; together at most 0.95")
        if self.folds and not 2 <= self.folds <= 100:
            raise ConfigError("folds", f"must be from 2 to 100, or 0 for a single split, not {self.folds}")
        between("seed", self.seed, 0, 2**63)


@dataclass(frozen=True)
class Leak:
    """A group, file or footage that is in more than one split."""

    kind: str  # "group", "bytes" or "footage"
    name: str
    parts: tuple[str, ...]
    videos: tuple[str, ...]

    def __str__(self) -> str:
        subject = {"group": f"group {self.name}", "bytes": f"the same file ({self.name})", "footage": f"the same footage ({self.name})"}
        return f"{subject[self.kind]} is in {' and '.join(self.parts)}"


@dataclass(frozen=True)
class LeakageCheck:
    """How many groups and videos of a split were compared, and the leaks between its parts."""

    groups: int
    videos: int
    hashed: int  # videos whose bytes were compared
    decoded: int  # videos whose frames (or poses) were compared
    leaks: tuple[Leak, ...]

    @property
    def clean(self) -> bool:
        """Whether no leak was found."""
        return not self.leaks

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each kind of leak."""
        count = Counter(leak.kind for leak in self.leaks)
        footage = f"{self.decoded} of {self.videos} videos compared" if self.decoded else "not compared"
        return (
            f"groups in more than one split: {count['group']} of {self.groups}",
            f"files in more than one split: {count['bytes']} ({self.hashed} of {self.videos} files compared)",
            f"footage in more than one split: {count['footage']} ({footage})",
        )


@dataclass(frozen=True)
class ClassShare:
    """How many segments and units of a class are in each part."""

    label: str
    segments: tuple[int, ...]  # in the order of SplitResult.parts
    groups: tuple[int, ...]


@dataclass(frozen=True)
class SplitResult:
    """A manifest with its splits; for cross-validation, `folds` has one such manifest for each fold."""

    manifest: Manifest
    parts: tuple[str, ...]  # train, val and test, or the names of the folds
    table: tuple[ClassShare, ...]
    leakage: LeakageCheck
    warnings: tuple[str, ...] = ()
    folds: tuple[Manifest, ...] = ()


def split(
    manifest: ManifestSource,
    config: SplitConfig | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    footage: Footage | None = None,
) -> SplitResult:
    """Assign every segment to train, val or test; `footage` saves decoding videos that were compared before."""
    manifest, config = as_manifest(manifest), config or SplitConfig()
    if not manifest.segments:
        raise ManifestError(manifest.source or "manifest", "lists no video, so there is nothing to split")
    if footage is None:
        from quickstep.datasets.duplicates.same_footage import compare_footage

        footage = compare_footage(manifest.paths, cache or Cache(), decode=config.compare, progress=progress)
    units = unit_numbers(manifest, footage)
    if config.folds:
        return _split_into_folds(manifest, config, units, footage)
    splits, warnings = _choose_splits(manifest, config, units)
    result = manifest.with_splits(splits)
    table = _table(result, PARTS, [segment.split for segment in result.segments], units)
    leakage = check_leakage(result, footage)
    warnings += [f"leak: {leak}" for leak in leakage.leaks] + _missing_classes(table, PARTS, config)
    return SplitResult(result, PARTS, table, leakage, tuple(warnings))


def check_leakage(manifest: Manifest, footage: Footage) -> LeakageCheck:
    """Check a finished split: no group, file or footage may be in more than one part."""
    segments = manifest.segments
    names = dict(zip((segment.path for segment in segments), manifest.relative_paths, strict=True))
    leaks = [
        *_leaks("group", ((group_of(segment), segment) for segment in segments if segment.group), names),
        *_leaks("bytes", ((footage.digests.get(segment.path, str(segment.path)), segment) for segment in segments), names),
    ]
    by_path: dict[Any, list[Segment]] = {}
    for segment in segments:
        by_path.setdefault(segment.path, []).append(segment)
    for match in footage.matches:
        first, second = by_path.get(match.first, []), by_path.get(match.second, [])
        if first and second:
            leaks += _leaks("footage", (("", segment) for segment in (*first, *second)), names)
    paths = manifest.paths
    return LeakageCheck(
        groups=len(set(manifest.groups)),
        videos=len(paths),
        hashed=sum(path in footage.digests for path in paths),
        decoded=sum(path in footage.sketches or path in footage.poses for path in paths),
        leaks=tuple(dict.fromkeys(leaks)),
    )


def _leaks(kind: str, keyed: Iterable[tuple[str, Segment]], names: Mapping[Path, str]) -> list[Leak]:
    """List the keys whose segments are in more than one part; `names` are the paths to show."""
    members: dict[str, list[Segment]] = {}
    for key, segment in keyed:
        if segment.split is not None:
            members.setdefault(key, []).append(segment)
    leaks = []
    for key, segments in members.items():
        parts = tuple(part for part in PARTS if any(segment.split == part for segment in segments))
        if len(parts) > 1:
            paths = tuple(dict.fromkeys(next(s.path for s in segments if s.split == part) for part in parts))
            name = repr(key) if kind == "group" else " = ".join(names[path] for path in paths)
            leaks.append(Leak(kind, name, parts, tuple(map(str, paths))))
    return leaks


def unit_numbers(manifest: Manifest, footage: Footage) -> list[int]:
    """Return the number of each segment's unit: segments with one group, file, file content or footage are one unit."""
    pairs: list[tuple[Any, Any]] = []
    for segment in manifest.segments:
        if segment.group is not None:
            pairs.append((segment.path, ("group", segment.group)))
        if segment.path in footage.digests:
            pairs.append((segment.path, ("bytes", footage.digests[segment.path])))
    pairs += [(match.first, match.second) for match in footage.matches]
    units = connected_components(manifest.paths, pairs)
    number_of = {item: number for number, unit in enumerate(units) for item in unit}
    return [number_of[segment.path] for segment in manifest.segments]


def _units(manifest: Manifest, numbers: Sequence[int], allowed: Sequence[tuple[int, ...]]) -> list[Unit]:
    """Count the classes of each unit; the order of the units does not depend on the manifest's. `allowed` has one entry a segment."""
    class_of = {label: index for index, label in enumerate(manifest.labels)}
    counts = np.zeros((max(numbers) + 1, max(1, len(class_of))), dtype=np.int64)
    first_path: dict[int, str] = {}
    parts: dict[int, tuple[int, ...]] = {}
    for number, segment, path, choice in zip(numbers, manifest.segments, manifest.relative_paths, allowed, strict=True):
        counts[number, class_of[segment.label] if segment.label is not None else 0] += 1
        first_path[number] = min(first_path.get(number, path), path)
        parts[number] = min(parts.get(number, choice), choice, key=len)
    ordered = sorted(first_path, key=lambda number: (first_path[number], number))
    return [Unit(number, tuple(map(int, counts[number])), parts[number]) for number in ordered]


def _choose_splits(manifest: Manifest, config: SplitConfig, units: Sequence[int]) -> tuple[list[Split | None], list[str]]:
    """Choose a part for every segment: parts in the manifest are kept, and missing ones are taken out of train."""
    required = [part for part, share in zip(PARTS, _shares(config), strict=True) if share > 0]
    existing: dict[int, Counter[str]] = {}
    for unit, segment in zip(units, manifest.segments, strict=True):
        if segment.split is not None:
            existing.setdefault(unit, Counter())[segment.split] += 1
    absent = [part for part in required if part not in manifest.splits] if existing else []
    warnings = [f"the manifest has no {part} split, so it is taken out of train" for part in absent]
    allowed = []
    for unit in units:
        if unit not in existing:
            allowed.append(tuple(PARTS.index(part) for part in required))
        elif absent and set(existing[unit]) == {"train"}:
            allowed.append(tuple(PARTS.index(part) for part in ["train", *absent]))
        else:
            allowed.append((PARTS.index(existing[unit].most_common(1)[0][0]),))
    shares = _shares_with_existing(manifest, config, absent) if absent else _shares(config)
    chosen = assign_parts(_units(manifest, units, allowed), shares, np.random.default_rng(config.seed))
    splits: list[Split | None] = []
    for unit, segment in zip(units, manifest.segments, strict=True):
        keeps = segment.split is not None and not (absent and set(existing[unit]) == {"train"})
        splits.append(segment.split if keeps else PARTS[chosen[unit]])  # type: ignore[arg-type]
    return splits, warnings


def _shares(config: SplitConfig) -> tuple[float, float, float]:
    return (1.0 - config.val - config.test, config.val, config.test)


def _shares_with_existing(manifest: Manifest, config: SplitConfig, absent: Sequence[str]) -> tuple[float, ...]:
    """Return the target shares where val or test exists and the other one is taken out of train."""
    count = Counter(segment.split for segment in manifest.segments)
    existing = {part: count[part] / len(manifest) for part in ("val", "test") if part not in absent}
    remaining = 1.0 - sum(existing.values())
    requested = {part: config.val if part == "val" else config.test for part in absent}
    scale = min(1.0, 0.5 * remaining / sum(requested.values()))
    shares = existing | {part: share * scale for part, share in requested.items()}
    return (1.0 - sum(shares.values()), shares.get("val", 0.0), shares.get("test", 0.0))


def _split_into_folds(manifest: Manifest, config: SplitConfig, units: Sequence[int], footage: Footage) -> SplitResult:
    """Make k manifests, each with one fold as test and validation taken out of the others; existing splits are ignored."""
    count = config.folds
    if len(set(units)) < count:
        raise ConfigError("folds", f"the dataset has only {len(set(units))} groups that can be separated; use at most that many folds")
    anywhere = [tuple(range(count))] * len(units)
    chosen = assign_parts(_units(manifest, units, anywhere), (1 / count,) * count, np.random.default_rng(config.seed))
    numbers = [chosen[unit] for unit in units]
    warnings = ["the splits in the manifest are ignored: folds are drawn from all segments"] if manifest.splits else []
    folds = []
    for fold in range(count):
        tested = manifest.with_splits(["test" if number == fold else "train" for number in numbers])
        folds.append(tested.with_splits(_choose_splits(tested, config, units)[0]) if config.val else tested)
    names = tuple(f"fold {fold}" for fold in range(count))
    numbered = manifest.with_segments(
        replace(segment, split=None, extra={**segment.extra, "fold": str(number)})
        for segment, number in zip(manifest.segments, numbers, strict=True)
    )
    table = _table(numbered, names, [f"fold {number}" for number in numbers], units)
    checks = [check_leakage(fold, footage) for fold in folds]
    leakage = replace(checks[0], leaks=tuple(dict.fromkeys(leak for check in checks for leak in check.leaks)))
    warnings += [f"leak: {leak}" for leak in leakage.leaks] + _missing_classes(table, names, config)
    return SplitResult(numbered, names, table, leakage, tuple(warnings), tuple(folds))


def _table(manifest: Manifest, parts: Sequence[str], part_of: Sequence[str | None], units: Sequence[int]) -> tuple[ClassShare, ...]:
    shares = []
    for label in manifest.labels:
        members = [(part, unit) for segment, part, unit in zip(manifest.segments, part_of, units, strict=True) if segment.label == label]
        segments = Counter(part for part, _ in members)
        groups = Counter(part for part, _ in set(members))
        shares.append(ClassShare(label, tuple(segments[part] for part in parts), tuple(groups[part] for part in parts)))
    return tuple(shares)


def _missing_classes(table: Sequence[ClassShare], parts: Sequence[str], config: SplitConfig) -> list[str]:
    """Write a warning for each class that is missing in a part."""
    required = [True] * len(parts) if config.folds else [share > 0 for share in _shares(config)]
    warnings = []
    for share in table:
        missing = [part for part, count, want in zip(parts, share.segments, required, strict=True) if want and not count]
        if missing:
            groups = sum(share.groups)
            few = f"it has only {groups} group{'s' * (groups > 1)} that can be separated"
            why = few if groups < sum(required) else "its groups cannot be divided any other way"
            warnings.append(f"class {share.label!r} is missing in {' and '.join(missing)}: {why}")
    return warnings
