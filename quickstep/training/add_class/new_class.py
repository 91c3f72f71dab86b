"""The name and the videos of a class that is added to a model; some of the videos are held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from quickstep.datasets.duplicates.same_footage import compare_footage
from quickstep.datasets.inputs import Inputs, gather
from quickstep.datasets.label_matching import label_key
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import SplitConfig, split
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.progress import Progress
from quickstep.types.segment import Failure, Segment

MIN_GROUPS = 4  # with fewer, all are needed for training
HELD_OUT = 0.3
MAX_LENGTH = 200  # characters of a name


@dataclass(frozen=True)
class ClassName:
    """The label of the new class and, for heads that read text, sentences that describe it."""

    label: str
    sentences: tuple[str, ...] = ()  # empty: those of the usual templates

    @classmethod
    def parse(cls, text: str, model: Model) -> ClassName:
        """Read `label` or `label: a sentence; another`; refuse a label that the model has."""
        if not isinstance(text, str):
            raise TypeError(f"expected the name of a class; got {type(text).__name__} {text!r:.60}")
        reads_texts = model.head.capabilities.reads_texts
        label, colon, rest = text.partition(":") if reads_texts else (text, "", "")
        label = " ".join(label.split())
        if not label or len(label) > MAX_LENGTH or not label.isprintable():
            raise ConfigError("name", f"a class name has 1 to {MAX_LENGTH} printable characters, not {text[:40]!r}")
        existing = next((name for name in model.labels if label_key(name) == label_key(label)), None)
        if existing is not None:
            raise ConfigError("name", f"the model already has the class {existing!r}; give another name")
        if colon and not rest.strip():
            raise ConfigError("name", f"write sentences after {label + ':'!r}, or leave out the colon")
        return cls(label, tuple(part.strip() for part in rest.split(";") if part.strip()))


@dataclass(frozen=True)
class NewClass:
    """The segments of the new class, the failures, and notes about segments that were left out."""

    segments: tuple[Segment, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]

    def part(self, name: str) -> tuple[Segment, ...]:
        """Return the segments of one part."""
        return tuple(segment for segment in self.segments if segment.split == name)


def find_segments(model: Model, name: ClassName, inputs: Inputs, *, cache: Cache) -> NewClass:
    """List the segments that inputs name; leave out those that the model knows under another label."""
    if isinstance(inputs, list | tuple) and not inputs:
        return NewClass((), (), ())
    listed, failures = gather(inputs)
    known_labels = _known_labels(model, cache)
    segments: list[Segment] = []
    notes = []
    for segment in listed:
        if segment.label is not None and label_key(segment.label) != label_key(name.label):
            notes.append(f"{segment} is left out: its label is {segment.label!r}")
            continue
        try:
            label = known_labels.get((cache.digest(segment.path), segment.start, segment.end))
        except MediaError as error:
            failures.append(Failure(segment, error))
            continue
        if label is not None:
            notes.append(f"{segment} is left out: the model was trained or tested with it as {label!r}")
            continue
        segments.append(replace(segment, label=name.label, split=None))
    return NewClass(tuple(segments), tuple(failures), tuple(notes))


def assign_parts(new: NewClass, model: Model, *, cache: Cache, progress: Progress) -> NewClass:
    """Give each segment a part; hold some groups out where there are enough.

    A group that the model's manifest has in one part goes into the same part.
    """
    fresh = Manifest(new.segments)
    if len(set(fresh.groups)) < MIN_GROUPS:
        count = len({group_of(segment) for segment in fresh.segments})
        few = f"there {'is' if count == 1 else 'are'} only {count} video{'' if count == 1 else 's'} (or groups)"
        return _all_to_train(new, f"{few}, all used for training, so the recall of {fresh.labels[0]!r} is unknown")
    footage = compare_footage(fresh.paths, cache, progress=progress)
    drawn = split(fresh, SplitConfig(val=0.0, test=HELD_OUT), cache=cache, progress=progress, footage=footage).manifest.segments
    groups = {segment.group for segment in fresh.segments if segment.group is not None}
    old = model.manifest.segments if model.manifest is not None else ()
    part_of: dict[str | None, Any] = {
        segment.group: segment.split for segment in old if segment.group in groups and segment.split is not None
    }
    placed = tuple(replace(segment, split=part_of.get(segment.group, segment.split)) for segment in drawn)
    if not any(segment.split == "train" for segment in placed):
        why = "all its groups are in the model's val or test part; they were used for training, so that part is not held out any more"
        return _all_to_train(new, why)
    return replace(new, segments=placed)


def check_usable(new: NewClass, name: ClassName) -> None:
    """Refuse a new class without a single usable segment."""
    if new.segments:
        return
    if not (new.failures or new.notes):
        raise ConfigError("videos", f"name at least one video of {name.label!r}, or a folder; only a zero-shot model needs none")
    first = f"{len(new.failures)} failed, such as {new.failures[0]}" if new.failures else new.notes[0]
    raise ManifestError(f"class {name.label!r}", f"none of its videos can be used, so the model is unchanged; {first}")


def _all_to_train(new: NewClass, note: str) -> NewClass:
    return replace(new, segments=tuple(replace(segment, split="train") for segment in new.segments), notes=(*new.notes, note))


def _known_labels(model: Model, cache: Cache) -> dict[tuple[str, float, float | None], str]:
    """Map the content and the span of each segment of the model's manifest to its label."""
    labels = {}
    for segment in model.manifest.segments if model.manifest is not None else ():
        try:
            labels[(cache.digest(segment.path), segment.start, segment.end)] = str(segment.label)
        except MediaError:  # the file is gone, so no input can be the same
            continue
    return labels
