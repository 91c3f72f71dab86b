"""What joins a model: the new class's name, checked against those it has, and its videos, some held out; changes no model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from quickstep.datasets.duplicates.same_footage import compare_footage
from quickstep.datasets.inputs import gather
from quickstep.datasets.label_matching import label_key
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import SplitConfig, split
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.progress import Progress
from quickstep.types.segment import Failure, Segment

ENOUGH = 4  # groups: with fewer, all are needed to learn from
HELD_OUT = 0.3
LONGEST = 200  # letters of a name


@dataclass(frozen=True)
class Name:
    """What the class is called and, for heads that read words, what that means."""

    label: str
    sentences: tuple[str, ...]  # none: the usual ones

    @classmethod
    def of(cls, text: str, model: Model) -> Name:
        """`label`, or `label: a sentence; another`; refused where the model has it already."""
        reads = model.head.capabilities.reads_texts
        label, colon, rest = text.partition(":") if reads else (text, "", "")
        label = " ".join(label.split())
        if not label or len(label) > LONGEST or not label.isprintable():
            raise ConfigError("name", f"a class has a name of 1 to {LONGEST} letters that can be printed, not {text[:40]!r}")
        known = next((have for have in model.labels if label_key(have) == label_key(label)), None)
        if known is not None:
            raise ConfigError("name", f"the model knows {known!r} already; name a class that is new to it")
        if not reads:
            return cls(label, ())
        if colon and not rest.strip():
            raise ConfigError("name", f"after {label + ':'!r} come sentences, or the colon is left out")
        return cls(label, tuple(part.strip() for part in rest.split(";") if part.strip()))


@dataclass(frozen=True)
class Joining:
    """The new class's segments, each with its part, and what could not be used."""

    segments: tuple[Segment, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]

    def part(self, *parts: str) -> tuple[Segment, ...]:
        """Those of some parts."""
        return tuple(segment for segment in self.segments if segment.split in parts)


def named_videos(model: Model, name: Name, inputs: Iterable[Segment | str | Path], *, cache: Cache) -> Joining:
    """The segments that inputs stand for; those that the model knows under another name are left out."""
    inputs = list(inputs)
    if not inputs:
        return Joining((), (), ())
    found, failures = gather(inputs)
    known = _known(model, cache)
    segments: list[Segment] = []
    notes = []
    for segment in found:
        if segment.label is not None and label_key(segment.label) != label_key(name.label):
            notes.append(f"{segment} is left out: it is listed as {segment.label!r}")
            continue
        try:
            label = known.get((cache.digest(segment.path), segment.start, segment.end))
        except MediaError as error:
            failures.append(Failure(segment, error))
            continue
        if label is not None:
            notes.append(f"{segment} is left out: the model has learnt or tested it as {label!r}")
            continue
        segments.append(replace(segment, label=name.label, split=None))
    return Joining(tuple(segments), tuple(failures), tuple(notes))


def with_parts(joining: Joining, model: Model, *, cache: Cache, progress: Progress, learning: bool) -> Joining:
    """The usable segments with a part for each: some groups held out where there are enough, all of it where nothing is learnt.

    A group that the model has in one part already goes into the same.
    """
    if not learning:
        return replace(joining, segments=tuple(replace(segment, split="test") for segment in joining.segments))
    fresh = Manifest(joining.segments)
    footage = compare_footage(fresh.paths, cache, progress=progress)
    old = model.manifest.segments if model.manifest is not None else ()
    groups = {segment.group for segment in fresh.segments if segment.group is not None}
    tied = tuple(segment for segment in old if segment.group in groups and segment.split is not None)
    if len(set(fresh.groups)) < ENOUGH:
        unknown = f"all of it was learnt from, so how well {fresh.labels[0]!r} is recognised is not known"
        return _all_to_train(joining, f"only {_groups(fresh)}: {unknown}")
    drawn = split(fresh, SplitConfig(val=0.0, test=HELD_OUT), cache=cache, progress=progress, footage=footage).manifest.segments
    part_of = {segment.group: segment.split for segment in tied}
    placed = tuple(replace(s, split=part_of[s.group]) if s.group in part_of and s.group is not None else s for s in drawn)
    if not any(segment.split == "train" for segment in placed):
        why = "all its groups are in the model's val or test part; they were learnt from all the same, so that part is not clean any more"
        return _all_to_train(joining, why)
    return replace(joining, segments=placed)


def check_usable(joining: Joining, name: Name) -> None:
    """At least one segment must be left."""
    if not (joining.segments or joining.failures or joining.notes):
        raise ConfigError("videos", f"name at least one video of {name.label!r}, or a folder; only a model of words alone needs none")
    if not joining.segments:
        why = f"; the first of {len(joining.failures)} failures: {joining.failures[0]}" if joining.failures else ""
        left = f"; {joining.notes[0]}" if joining.notes and not joining.failures else ""
        raise ManifestError(f"class {name.label!r}", f"no video of it can be used, so the model stays as it is{why}{left}")


def _all_to_train(joining: Joining, note: str) -> Joining:
    return replace(joining, segments=tuple(replace(s, split="train") for s in joining.segments), notes=(*joining.notes, note))


def _groups(fresh: Manifest) -> str:
    count = len({group_of(segment) for segment in fresh.segments})
    return f"{count} video{'' if count == 1 else 's'} (or groups)"


def _known(model: Model, cache: Cache) -> dict[tuple[str, float, float | None], str]:
    """What the model has learnt or tested: bytes and span -> label."""
    known = {}
    for segment in model.manifest.segments if model.manifest is not None else ():
        try:
            known[(cache.digest(segment.path), segment.start, segment.end)] = str(segment.label)
        except MediaError:  # it is gone, so nobody can bring it again
            continue
    return known
