"""Add a class to a trained model: by fitting the head again, or by extending it where the training videos are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.inputs import Inputs
from quickstep.datasets.manifest import PARTS, Manifest
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.training.add_class.effects import Effects, describe_effects, measure_effects
from quickstep.training.add_class.imprinting import can_extend, head_from_texts, imprint
from quickstep.training.add_class.new_class import ClassName, NewClass, assign_parts, check_usable, find_segments
from quickstep.training.provenance import count_segments
from quickstep.training.refit import class_prompts_of, embed_prompts, refit_head, single_model
from quickstep.types.errors import ModelError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features, Texts

MIN_AVAILABLE = 0.5  # share of a class's training segments: with fewer available, fitting again would lose what was learned
_EARLIER = "-of-an-earlier-model"


@dataclass(frozen=True, eq=False)
class Added:
    """A model with one more class, the method that added it, and the effects."""

    model: Model
    name: str
    how: str  # "refitted", "words" (the text of the class alone) or "imprinted"
    summary: str  # the same in a sentence
    effects: Effects
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def sentences(self) -> tuple[str, ...]:
        """The method and the effects in sentences."""
        return (self.summary, *describe_effects(self.effects, self.name))

    def to_json(self) -> dict[str, Any]:
        """Return everything but the model, as plain data."""
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
    model: Model | str | Path,
    name: str,
    inputs: Inputs = (),
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> Added:
    """Return a copy of the model that knows one more class, and what that changed for the others.

    `name` is the label; for heads that read text also `label: a sentence; another`. `inputs` are videos of the class, as `predict` takes
    them; a zero-shot model needs none.
    """
    cache, clock = cache or Cache(), Clock()
    model = single_model(model, "add the class to", cache=cache)
    class_name = ClassName.parse(name, model)
    new = _usable_segments(model, class_name, inputs, cache=cache, progress=progress, strict=strict)
    old = model.manifest.segments if model.manifest is not None else ()
    extraction = extract((*old, *new.segments), model.backbone, view=model.view, cache=cache, progress=progress)
    extended = _extend(model, class_name, new, extraction, progress=progress, cache=cache)
    part = "test" if any(segment.split == "test" for segment in old) else "val"
    effects = measure_effects(
        model,
        extended.model,
        class_name.label,
        old=[segment for segment in old if segment.split == part and segment.label in model.labels],
        new=new.part("test") or new.part("val"),
        features=extraction.features,
        part=part,
    )
    clock.mark("adding")
    seconds = clock.seconds["adding"]
    facts = extended.model.facts
    dated = f"{class_name.label!r} was added on {datetime.now(UTC).date()}: {extended.summary}"
    facts = replace(facts, notes=(*facts.notes, dated), seconds={**facts.seconds, "adding": seconds})
    result = replace(extended.model, facts=facts)
    return Added(result, class_name.label, extended.how, extended.summary, effects, new.failures, (*new.notes, *extended.notes), seconds)


def _usable_segments(model: Model, name: ClassName, inputs: Inputs, *, cache: Cache, progress: Progress, strict: bool) -> NewClass:
    """Find the segments of the new class whose features can be computed, and give each a part."""
    new = find_segments(model, name, inputs, cache=cache)
    if strict and new.failures:
        raise new.failures[0].error
    extraction = extract(new.segments, model.backbone, view=model.view, cache=cache, progress=progress).check(strict=strict)
    usable = tuple(segment for segment in new.segments if segment in extraction.features)
    new = replace(new, segments=usable, failures=(*new.failures, *extraction.failures))
    if model.head.name == "zero-shot":  # nothing is fitted, so all segments are held out
        if new.failures or new.notes:
            check_usable(new, name)
        return replace(new, segments=tuple(replace(segment, split="test") for segment in new.segments))
    check_usable(new, name)
    return assign_parts(new, model, cache=cache, progress=progress)


@dataclass(frozen=True, eq=False)
class _Extended:
    model: Model
    how: str
    summary: str
    notes: tuple[str, ...] = ()


def _extend(model: Model, name: ClassName, new: NewClass, extraction: Extraction, *, progress: Progress, cache: Cache) -> _Extended:
    """Refit the head if the training videos are available; otherwise extend it without them, if its kind can be extended."""
    labels = tuple(sorted({*model.labels, name.label}))
    prompts = class_prompts_of(model, labels, {name.label: name.sentences} if name.sentences else None)
    texts = embed_prompts(model, prompts, cache)
    grown = replace(_with_segments(model, new, labels), labels=labels, folder=None)
    grown = replace(grown, facts=replace(grown.facts, words=prompts.by_label if prompts else {}))
    if model.head.name == "zero-shot":
        assert texts is not None
        head = head_from_texts(model.head, asdict(model.head.config), texts, len(labels))
        summary = f"The text of the class was added to that of the other {len(model.labels)}; nothing was fitted."
        return _Extended(replace(grown, head=head, history=None, threshold=None), "words", summary)
    unavailable = _unavailable_classes(model, extraction.features)
    if not unavailable:
        refitted, notes = refit_head(grown, extraction, texts, progress=progress)
        count = len(refitted.history.wrong_train) if refitted.history else 0
        summary = f"The {model.head.name} head was fitted again to {count} segments of {len(labels)} classes; the backbone is unchanged."
        return _Extended(refitted, "refitted", summary, notes)
    if not can_extend(model.head):
        raise ModelError(
            model.folder or "the model",
            f"most training videos of {unavailable[0]!r} are missing, and a {model.head.name!r} head cannot be extended without them; "
            "put them back where manifest.csv lists them, or train again",
        )
    place = labels.index(name.label)
    features = [extraction.features[segment] for segment in new.part("train")]
    vectors = _class_vectors(texts, place) if texts is not None else None
    head = imprint(model.head, asdict(model.head.config), features, place=place, texts=vectors)
    summary = (
        f"Most training videos of {unavailable[0]!r} are missing, so the head was not fitted again: the new class comes from its own "
        f"{len(features)} segments, and the confidence is not calibrated any more."
    )
    return _Extended(replace(grown, head=head, history=None, threshold=None), "imprinted", summary)


def _unavailable_classes(model: Model, features: Mapping[Segment, Features]) -> list[str]:
    """List the classes of which most training segments have no features any more."""
    trained = model.facts.splits.get("train", {})
    available: dict[str, int] = dict.fromkeys(model.labels, 0)
    for segment in model.manifest.segments if model.manifest is not None else ():
        if segment.split == "train" and segment in features and segment.label in available:
            available[str(segment.label)] += 1
    return [label for label, count in available.items() if count == 0 or count < MIN_AVAILABLE * trained.get(label, 0)]


def _with_segments(model: Model, new: NewClass, labels: tuple[str, ...]) -> Model:
    """Return the model with the new segments in its manifest and its counts."""
    if not new.segments:
        return model
    old = model.manifest or Manifest(())
    manifest = old.with_segments((*old.segments, *new.segments))
    before, added = model.facts.splits, count_segments(Manifest(new.segments), labels)
    splits: dict[str, dict[str, int]] = {
        part: {label: before.get(part, {}).get(label, 0) + added[part][label] for label in labels} for part in PARTS
    }
    return replace(model, manifest=manifest, facts=replace(model.facts, splits=splits, fingerprint=manifest.fingerprint))


def _class_vectors(texts: Texts, first: int) -> NDArray[np.float64]:
    """Return the mean direction of each class's sentences (C, D), that of class `first` in front."""
    vectors = texts.vectors / np.maximum(np.linalg.norm(texts.vectors, axis=1, keepdims=True), 1e-12)
    means = np.stack([vectors[texts.owners == number].mean(axis=0) for number in range(texts.classes)]).astype(np.float64)
    order = [first, *(number for number in range(texts.classes) if number != first)]
    return means[order]


def set_reports_aside(folder: Path) -> tuple[str, ...]:
    """Rename the folders with reports on other videos, which are about the earlier model; return a note for each."""
    notes = []
    for report in sorted(folder.glob("on-*/report.json")):
        place = report.parent
        if _EARLIER in place.name:
            continue
        number, target = 1, place.with_name(place.name + _EARLIER)
        while target.exists():
            number, target = number + 1, place.with_name(f"{place.name}{_EARLIER}-{number + 1}")
        place.rename(target)
        notes.append(f"the report in {place.name} is about the model before this change; it is now in {target.name}")
    return tuple(notes)
