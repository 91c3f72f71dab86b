"""train, val and test (or k folds) that never divide a group nor copies of one footage, and the proof of it.

Knows what is tied together from the manifest and from `footage`; opens no video itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.datasets.manifest import PARTS, Manifest, Split, group_of
from quickstep.datasets.stratification import Unit, allot
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment

if TYPE_CHECKING:  # opening videos is loaded when there are some to open
    from quickstep.datasets.duplicates.same_footage import Footage


@dataclass(frozen=True)
class SplitConfig:
    """How segments are shared out; what a manifest already says is kept."""

    val: float = setting(0.15, "share of the segments that training watches to know when to stop")
    test: float = setting(0.15, "share of the segments kept for the report")
    folds: int = setting(0, "so many folds, each tested once (0: one split)")
    seed: int = setting(0, "another number, another draw")
    compare: bool = setting(True, "look into the videos for copies of the same footage, and keep them together")

    def __post_init__(self) -> None:
        between("val", self.val, 0, 0.9)
        between("test", self.test, 0, 0.9)
        if self.val + self.test > 0.95:
            raise ConfigError("test", f"with --val {self.val:g} it leaves too little to train on; together at most 0.95")
        if self.folds and not 2 <= self.folds <= 100:
            raise ConfigError("folds", f"from 2 to 100, or 0 for one split, not {self.folds}")
        between("seed", self.seed, 0, 2**63)


@dataclass(frozen=True)
class Leak:
    """Something that stands in more than one part."""

    kind: str  # "group", "bytes" or "footage"
    what: str
    parts: tuple[str, ...]
    videos: tuple[str, ...]

    def __str__(self) -> str:
        form = {"group": "group {} is divided", "bytes": "the same file stands twice ({})", "footage": "the same footage stands twice ({})"}
        return f"{form[self.kind].format(self.what)} over {' and '.join(self.parts)}"


@dataclass(frozen=True)
class Proof:
    """What was checked on the finished split, and what was found."""

    groups: int
    videos: int
    compared: int  # videos whose bytes were read
    looked_into: int  # videos whose pictures were compared
    leaks: tuple[Leak, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing leaks, as far as could be checked."""
        return not self.leaks

    @property
    def sentences(self) -> tuple[str, ...]:
        """The proof in words, one check a sentence."""
        kinds = Counter(leak.kind for leak in self.leaks)
        seen = f"in {self.looked_into} of {self.videos} videos" if self.looked_into else "not looked for"
        return (
            f"groups divided: {kinds['group']} of {self.groups}",
            f"files standing in two parts: {kinds['bytes']} (bytes of {self.compared} of {self.videos} videos compared)",
            f"footage standing in two parts: {kinds['footage']} ({seen})",
        )


@dataclass(frozen=True)
class Share:
    """How many segments, and how many groups, of a class each part has."""

    label: str
    segments: tuple[int, ...]  # in the order of train, val, test (or of the folds)
    groups: tuple[int, ...]


@dataclass(frozen=True)
class SplitResult:
    """The manifest with its splits; with folds, `folds` holds one such manifest for each."""

    manifest: Manifest
    parts: tuple[str, ...]
    table: tuple[Share, ...]
    proof: Proof
    warnings: tuple[str, ...] = ()
    folds: tuple[Manifest, ...] = ()


def split(
    manifest: Manifest,
    config: SplitConfig | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    footage: Footage | None = None,
) -> SplitResult:
    """Give every segment a part; `footage` spares a second look where the videos were surveyed before."""
    config = config or SplitConfig()
    if not manifest.segments:
        raise ManifestError(manifest.source or "manifest", "lists no video, so there is nothing to split")
    if footage is None:
        from quickstep.datasets.duplicates.same_footage import compare_footage

        footage = compare_footage(manifest.paths, cache or Cache(), look=config.compare, progress=progress)
    ties = ties_of(manifest, footage)
    if config.folds:
        return _in_folds(manifest, config, ties, footage)
    chosen, warnings = _assign(manifest, config, ties)
    done = manifest.with_splits(chosen)
    table = _table(done, PARTS, [segment.split for segment in done.segments], ties)
    proof = prove(done, footage)
    warnings += [f"this leaks: {leak}" for leak in proof.leaks] + _gaps(table, PARTS, config)
    return SplitResult(done, PARTS, table, proof, tuple(warnings))


def prove(manifest: Manifest, footage: Footage) -> Proof:
    """Check a finished split from scratch: no group, no file and no footage in two parts."""
    segments = manifest.segments
    leaks = [
        *_crossing("group", ((group_of(segment), segment) for segment in segments if segment.group)),
        *_crossing("bytes", ((footage.digests.get(segment.path, str(segment.path)), segment) for segment in segments)),
    ]
    where: dict[Any, list[Segment]] = {}
    for segment in segments:
        where.setdefault(segment.path, []).append(segment)
    for match in footage.matches:
        sides = where.get(match.first, []), where.get(match.second, [])
        if sides[0] and sides[1]:
            leaks += _crossing("footage", (("", segment) for side in sides for segment in side))
    paths = manifest.paths
    return Proof(
        groups=len(set(manifest.groups)),
        videos=len(paths),
        compared=sum(path in footage.digests for path in paths),
        looked_into=sum(path in footage.sketches or path in footage.people for path in paths),
        leaks=tuple(dict.fromkeys(leaks)),
    )


def _crossing(kind: str, keyed: Iterable[tuple[str, Segment]]) -> list[Leak]:
    """What stands under one key but in several parts."""
    members: dict[str, list[Segment]] = {}
    for key, segment in keyed:
        if segment.split is not None:
            members.setdefault(key, []).append(segment)
    leaks = []
    for key, inside in members.items():
        parts = tuple(part for part in PARTS if any(segment.split == part for segment in inside))
        if len(parts) > 1:
            videos = tuple(dict.fromkeys(next(str(s.path) for s in inside if s.split == part) for part in parts))
            leaks.append(Leak(kind, repr(key) if kind == "group" else " = ".join(videos), parts, videos))
    return leaks


def ties_of(manifest: Manifest, footage: Footage) -> list[int]:
    """The number of the unit that each segment belongs to: joined by group, file, bytes or footage."""
    parent: dict[Any, Any] = {}

    def root(node: Any) -> Any:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for segment in manifest.segments:
        video = ("video", segment.path)
        parent[root(("segment", segment.path))] = root(video)
        if segment.group is not None:
            parent[root(video)] = root(("group", segment.group))
        if segment.path in footage.digests:
            parent[root(video)] = root(("bytes", footage.digests[segment.path]))
    for match in footage.matches:
        parent[root(("video", match.first))] = root(("video", match.second))
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(root(("video", segment.path)), len(numbers)) for segment in manifest.segments]


def _units(manifest: Manifest, ties: Sequence[int], allowed: Sequence[tuple[int, ...]]) -> list[Unit]:
    """One unit a tie, in an order that does not depend on the manifest's; `allowed` is asked once for each segment."""
    labels = {label: index for index, label in enumerate(manifest.labels)}
    counts = np.zeros((max(ties) + 1, max(1, len(labels))), dtype=np.int64)
    names: dict[int, str] = {}
    parts: dict[int, tuple[int, ...]] = {}
    for tie, segment, place, choice in zip(ties, manifest.segments, manifest.places, allowed, strict=True):
        counts[tie, labels[segment.label] if segment.label is not None else 0] += 1
        names[tie] = min(names.get(tie, place), place)
        parts[tie] = min(parts.get(tie, choice), choice, key=len)
    return [Unit(tie, tuple(map(int, counts[tie])), parts[tie]) for tie in sorted(names, key=lambda tie: (names[tie], tie))]


def _assign(manifest: Manifest, config: SplitConfig, ties: Sequence[int]) -> tuple[list[Split | None], list[str]]:
    """A part for every segment: what is given stays, what is not given is shared out."""
    wanted = [part for part, share in zip(PARTS, _shares(config), strict=True) if share > 0]
    given: dict[int, Counter[str]] = {}
    for tie, segment in zip(ties, manifest.segments, strict=True):
        if segment.split is not None:
            given.setdefault(tie, Counter())[segment.split] += 1
    absent = [part for part in wanted if part not in manifest.splits] if given else []
    warnings = [f"no {part} part was given, so it is taken out of train" for part in absent]
    open_to = tuple(PARTS.index(part) for part in ["train", *absent])
    allowed = []
    for tie in ties:
        if tie not in given:
            allowed.append(tuple(PARTS.index(part) for part in wanted))
        elif absent and set(given[tie]) == {"train"}:
            allowed.append(open_to)
        else:
            allowed.append((PARTS.index(given[tie].most_common(1)[0][0]),))
    shares = _targets(manifest, config, absent) if absent else _shares(config)
    chosen = allot(_units(manifest, ties, allowed), shares, np.random.default_rng(config.seed))
    splits: list[Split | None] = []
    for tie, segment in zip(ties, manifest.segments, strict=True):
        keeps = segment.split is not None and not (absent and set(given[tie]) == {"train"})
        splits.append(segment.split if keeps else PARTS[chosen[tie]])  # type: ignore[arg-type]
    return splits, warnings


def _shares(config: SplitConfig) -> tuple[float, float, float]:
    return (1.0 - config.val - config.test, config.val, config.test)


def _targets(manifest: Manifest, config: SplitConfig, absent: Sequence[str]) -> tuple[float, ...]:
    """The shares to aim at where some parts are given and others are taken out of train."""
    held = Counter(segment.split for segment in manifest.segments)
    given = {part: held[part] / len(manifest) for part in ("val", "test") if part not in absent}
    rest = 1.0 - sum(given.values())
    taken = {part: getattr(config, part) for part in absent}
    squeeze = min(1.0, 0.5 * rest / sum(taken.values()))
    shares = given | {part: share * squeeze for part, share in taken.items()}
    return (1.0 - sum(shares.values()), shares.get("val", 0.0), shares.get("test", 0.0))


def _in_folds(manifest: Manifest, config: SplitConfig, ties: Sequence[int], footage: Footage) -> SplitResult:
    """Each fold is the test part once; the rest is train, with validation taken out of it. Splits in the manifest do not count."""
    count = config.folds
    if len(set(ties)) < count:
        raise ConfigError("folds", f"there are only {len(set(ties))} groups that can be kept apart, so at most so many folds")
    anywhere = [tuple(range(count))] * len(ties)
    chosen = allot(_units(manifest, ties, anywhere), (1 / count,) * count, np.random.default_rng(config.seed))
    numbers = [chosen[tie] for tie in ties]
    folds, warnings = [], []
    if manifest.splits:
        warnings.append("the splits in the manifest are set aside: folds are drawn anew")
    for fold in range(count):
        tested = manifest.with_splits(["test" if number == fold else "train" for number in numbers])
        splits, _ = _assign(tested, config, ties) if config.val else (None, [])
        folds.append(tested.with_splits(splits) if splits else tested)
    names = tuple(f"fold {fold}" for fold in range(count))
    marked = manifest.with_segments(
        replace(segment, split=None, extra={**segment.extra, "fold": str(number)})
        for segment, number in zip(manifest.segments, numbers, strict=True)
    )
    table = _table(marked, names, [f"fold {number}" for number in numbers], ties)
    proofs = [prove(fold, footage) for fold in folds]
    proof = replace(proofs[0], leaks=tuple(dict.fromkeys(leak for one in proofs for leak in one.leaks)))
    warnings += [f"this leaks: {leak}" for leak in proof.leaks] + _gaps(table, names, config)
    return SplitResult(marked, names, table, proof, tuple(warnings), tuple(folds))


def _table(manifest: Manifest, parts: Sequence[str], placed: Sequence[str | None], ties: Sequence[int]) -> tuple[Share, ...]:
    shares = []
    for label in manifest.labels:
        inside = [(part, tie) for segment, part, tie in zip(manifest.segments, placed, ties, strict=True) if segment.label == label]
        segments = Counter(part for part, _ in inside)
        groups = Counter(part for part, _ in set(inside))
        shares.append(Share(label, tuple(segments[part] for part in parts), tuple(groups[part] for part in parts)))
    return tuple(shares)


def _gaps(table: Sequence[Share], parts: Sequence[str], config: SplitConfig) -> list[str]:
    """A sentence for each class that could not be kept in every part."""
    wanted = [True] * len(parts) if config.folds else [share > 0 for share in _shares(config)]
    warnings = []
    for share in table:
        lacking = [part for part, count, want in zip(parts, share.segments, wanted, strict=True) if want and not count]
        if lacking:
            groups = sum(share.groups)
            why = (
                f"it has only {groups} group{'s' if groups > 1 else ''} that can be kept apart"
                if groups < sum(wanted)
                else "whole groups do not allow it"
            )
            warnings.append(f"class {share.label!r} is not in {' and '.join(lacking)}: {why}")
    return warnings
