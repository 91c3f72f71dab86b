"""add_class: a finished model and videos of a new class -> a model that knows it too, and what that did to the others.

Where what the model learnt from is at hand, the same kind of head is fitted again to all of it, from features that the cache
remembers. Where it is gone, the head is extended without it, if its kind can be, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from quickstep.datasets.class_prompts import ClassPrompts, read_class_prompts
from quickstep.datasets.manifest import PARTS, Manifest
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.models.text_features import suited, texts_of
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.training.add_class.effects import Effects, describe_effects, measure_effects
from quickstep.training.add_class.imprinting import can_extend, head_from_texts, imprint
from quickstep.training.add_class.new_class import Joining, Name, check_usable, named_videos, with_parts
from quickstep.training.refit import refit_head
from quickstep.types.errors import ModelError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Texts

OLDER = "-of-an-earlier-model"


def set_reports_aside(folder: Path) -> tuple[str, ...]:
    """Rename the folders of reports on other videos that `evaluate` has put into a model's folder; a note for each."""
    notes = []
    for report in sorted(folder.glob("on-*/report.json")):
        place = report.parent
        if OLDER in place.name:
            continue
        number, aside = 1, place.with_name(place.name + OLDER)
        while aside.exists():
            number, aside = number + 1, place.with_name(f"{place.name}{OLDER}-{number + 1}")
        place.rename(aside)
        notes.append(f"the report in {place.name} was about the model as it was before; it is now in {aside.name}")
    return tuple(notes)


MOST_GONE = 0.5  # of a class's segments: with more of them gone, what is left does not stand for what was learnt


@dataclass(frozen=True, eq=False)
class Added:
    """A model with one class more, how the head took it, and what it did."""

    model: Model
    name: str
    how: str  # "refitted", "words" or "imprinted"
    told: str  # the same in a sentence
    effects: Effects
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def sentences(self) -> tuple[str, ...]:
        """How it was done and what it did, in plain words."""
        return (self.told, *describe_effects(self.effects, self.name))

    def to_json(self) -> dict[str, Any]:
        """Everything but the model, as plain data."""
        return {
            "name": self.name,
            "how": self.how,
            "labels": list(self.model.labels),
            "sentences": list(self.sentences),
            "effects": to_plain(self.effects),
            "failures": [str(failure) for failure in self.failures],
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def add_class(
    model: Model,
    name: str,
    inputs: Iterable[Segment | str | Path] = (),
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> Added:
    """Add the class `name` (for heads that read words also `name: a sentence; another`); the model given stays as it is.

    `inputs` are its videos, as `predict` takes them; a model made of words alone needs none.
    """
    cache, clock = cache or Cache(), Clock()
    called = Name.of(name, model)
    alone = model.head.name == "zero-shot"
    joining = named_videos(model, called, inputs, cache=cache)
    if strict and joining.failures:
        raise joining.failures[0].error
    seen = _see(model, joining.segments, cache=cache, progress=progress).check(strict=strict)
    usable = tuple(segment for segment in joining.segments if segment in seen.features)
    joining = replace(joining, segments=usable, failures=(*joining.failures, *seen.failures))
    if not alone or joining.failures or joining.notes:
        check_usable(joining, called)
    if joining.segments:
        joining = with_parts(joining, model, cache=cache, progress=progress, learning=not alone)
    old = model.manifest.segments if model.manifest is not None else ()
    found = _see(model, (*old, *joining.segments), cache=cache, progress=progress)
    grown, how, told, more = _grown(model, called, joining, found, progress=progress, cache=cache)
    part = "test" if any(segment.split == "test" for segment in old) else "val"
    held = [segment for segment in old if segment.split == part and segment.label in model.labels]
    new = joining.part("test") or joining.part("val")
    effects = measure_effects(model, grown, called.label, old=held, new=new, features=found.features, part=part)
    clock.mark("adding")
    seconds = clock.seconds["adding"]
    notes = (*joining.notes, *more)
    dated = f"{called.label!r} was added on {datetime.now(UTC).date()}: {told}"
    facts = replace(grown.facts, notes=(*grown.facts.notes, dated), seconds={**grown.facts.seconds, "adding": seconds})
    grown = replace(grown, facts=facts)
    return Added(grown, called.label, how, told, effects, joining.failures, notes, seconds)


def _see(model: Model, segments: Sequence[Segment], *, cache: Cache, progress: Progress) -> Extraction:
    return extract(segments, model.backbone, view=model.view, cache=cache, progress=progress)


def _grown(
    model: Model, name: Name, joining: Joining, found: Extraction, *, progress: Progress, cache: Cache
) -> tuple[Model, str, str, tuple[str, ...]]:
    """The model with the class, how it came to be in a word and in a sentence, and notes."""
    labels = tuple(sorted({*model.labels, name.label}))
    wording = _wording(model, name, labels)
    texts = texts_of(model.backbone, wording, cache=cache) if wording else None
    manifest = _manifest(model, joining)
    facts = replace(model.facts, **_counted(model, manifest, joining, labels), words=wording.by_label if wording else {})
    grown = replace(model, labels=labels, manifest=manifest, facts=facts, folder=None)
    if model.head.name == "zero-shot":
        assert texts is not None
        head = head_from_texts(model.head, asdict(model.head.config), texts, len(labels))
        told = f"Its words were added to those of the other {len(model.labels)} classes; nothing was fitted."
        return replace(grown, head=head, history=None, threshold=None), "words", told, ()
    gone = _gone(model, found)
    if not gone:
        refitted, notes = refit_head(grown, found, texts, progress=progress)
        many = len(refitted.history.wrong_train) if refitted.history else 0
        told = f"The head {model.head.name} was fitted again, to {many} segments of all {len(labels)} classes; the encoder is as it was."
        return refitted, "refitted", told, notes
    if not can_extend(model.head):
        raise ModelError(
            model.folder or "the model",
            f"most of what it learnt of {gone[0]!r} is not where it was, and a head {model.head.name!r} cannot learn a class without it; "
            "bring the videos back to where its manifest.csv has them, or train again",
        )
    words = _directions(texts, labels.index(name.label)) if texts is not None else None
    shown = [found.features[segment] for segment in joining.part("train")]
    head = imprint(model.head, asdict(model.head.config), shown, place=labels.index(name.label), texts=words)
    told = (
        f"Most of what the model learnt of {gone[0]!r} is not where it was, so nothing could be fitted again: the new class was drawn "
        f"from its own {len(shown)} segments alone, and how sure an answer must be to be relied on is not known any more."
    )
    return replace(grown, head=head, history=None, threshold=None), "imprinted", told, ()


def _gone(model: Model, found: Extraction) -> list[str]:
    """The classes that the model learnt, most of whose segments are not to be had any more."""
    learnt = model.facts.splits.get("train", {})
    here: dict[str, int] = dict.fromkeys(model.labels, 0)
    for segment in model.manifest.segments if model.manifest is not None else ():
        if segment.split == "train" and segment in found.features and segment.label in here:
            here[str(segment.label)] += 1
    return [label for label, count in here.items() if count == 0 or count < MOST_GONE * learnt.get(label, 0)]


def _manifest(model: Model, joining: Joining) -> Manifest | None:
    if not joining.segments:
        return model.manifest
    return (model.manifest or Manifest(())).with_segments((*(model.manifest.segments if model.manifest else ()), *joining.segments))


def _counted(model: Model, manifest: Manifest | None, joining: Joining, labels: Sequence[str]) -> dict[str, Any]:
    """What the facts say of the segments: those the model remembers, and the new ones."""
    if not joining.segments:
        return {}
    fresh = Manifest(joining.segments)
    counts = {
        part: {label: model.facts.splits.get(part, {}).get(label, 0) + fresh.part(part).counts.get(label, 0) for label in labels}
        for part in PARTS
    }
    return {"splits": counts, "fingerprint": manifest.fingerprint if manifest is not None else model.facts.fingerprint}


def _wording(model: Model, name: Name, labels: Sequence[str]) -> ClassPrompts | None:
    """The sentences of all classes, for a head that reads them."""
    if not model.head.capabilities.reads_texts:
        return None
    template = tuple(model.facts.training.get("template") or ())
    usual = suited(read_class_prompts(list(labels), templates=template), model.backbone, templates=template).by_label
    known = {**usual, **model.facts.words, name.label: name.sentences or usual[name.label]}
    return ClassPrompts(tuple(labels), tuple(known[label] for label in labels))


def _directions(texts: Texts, first: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean direction of each class's sentences, (C, D), that of class `first` in front."""
    vectors = texts.vectors / np.maximum(np.linalg.norm(texts.vectors, axis=1, keepdims=True), 1e-12)
    means = np.stack([vectors[texts.owners == number].mean(axis=0) for number in range(texts.classes)]).astype(np.float64)
    order = [first, *(number for number in range(texts.classes) if number != first)]
    return means[order]
