"""Add a class to a trained model: by fitting the head again, or by extending it where the training videos are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.inputs import Inputs
from quickstep.datasets.manifest import PARTS, Manifest
from quickstep.heads import Examples, FitConfig, Head, open_head
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.training.add_class.effects import Effects, describe_effects, measure_effects
from quickstep.training.add_class.new_class import ClassName, NewClass, assign_parts, check_usable, find_segments
from quickstep.training.provenance import count_segments
from quickstep.training.refit import class_prompts_of, embed_prompts, refit_head, single_model
from quickstep.types.errors import ModelError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features, Texts

STRICTNESS = 0.84  # standard deviations below the mean lead of the new videos: 80 % of normally distributed leads pass
LINEAR = {"linear", "prototypes", "few-shot"}

Array = NDArray[np.float64]


def can_extend(head: Head) -> bool:
    """Return whether a class can be added to the head without the videos of the others."""
    return head.name in LINEAR


def head_from_texts(head: Head, config: Mapping[str, Any], texts: Texts, classes: int) -> Head:
    """Make a zero-shot head of the same kind from the texts of all classes."""
    extended = open_head(head.name, config)
    extended.fit(Examples([], np.zeros(0, np.int64), texts=texts), None, classes=classes, fitting=FitConfig())
    return extended


def imprint(head: Head, config: Mapping[str, Any], features: Sequence[Features], *, place: int, texts: Array | None = None) -> Head:
    """Return the head with one more class at `place` of its labels, from the features of the new class.

    `texts` (1 + C, D) are text vectors, that of the new class first.
    """
    old = {name: np.asarray(value, dtype=np.float64) for name, value in head.weights().items()}
    scale = _dimension_scale(old["weight"])
    weight = old["weight"] / scale[:, None]
    inputs = _head_inputs(head, features, old) * scale  # (N, D)
    shift = weight.mean(axis=1)
    length = float(np.linalg.norm(weight - shift[:, None], axis=0).mean())
    direction = None if texts is None else (texts[0] - texts[1:].mean(axis=0)) * scale
    row = _row(inputs.mean(axis=0), direction, length) + shift
    left_out = [_row(_mean_without(inputs, index), direction, length) + shift for index in range(len(inputs))]  # the row for each, unseen
    lead = (inputs * np.stack(left_out)).sum(axis=1) - head.scores(features).max(axis=1)
    bias = min(STRICTNESS * float(lead.std()) - float(lead.mean()), _highest_bias(weight, old["bias"], row, inputs))
    arrays = {**old, "weight": np.insert(old["weight"], place, row * scale, axis=1), "bias": np.insert(old["bias"], place, bias)}
    extended = open_head(head.name, config)
    extended.load({name: np.ascontiguousarray(value, dtype=np.float32) for name, value in arrays.items()})
    return extended


def _dimension_scale(weight: Array) -> Array:
    """Return how much the older rows weigh each dimension (D,); a small weight means that its values are large, or noise."""
    spread = np.sqrt(((weight - weight.mean(axis=1, keepdims=True)) ** 2).mean(axis=1))
    return np.asarray(np.maximum(np.hypot(spread, np.median(spread)), 1e-12))


def _highest_bias(weight: Array, bias: Array, row: Array, inputs: Array) -> float:
    """Return the highest bias under which each older class still wins at its most typical point.

    That point lies in the direction of the class's own row, as far from the origin as the new videos do.
    """
    own = weight.T - weight.mean(axis=1)  # (C, D)
    axes = np.linalg.svd(own, full_matrices=False)[2][: len(own) - 1]  # the directions that separate the older classes
    reach = float(np.median(np.linalg.norm(inputs @ axes.T, axis=1)))
    typical = reach * np.stack([_unit(class_row) for class_row in own])  # (C, D)
    logits = typical @ weight + bias
    return float((np.diag(logits) - typical @ row).min())


def _head_inputs(head: Head, features: Sequence[Features], arrays: Mapping[str, Array]) -> Array:
    """Return what the head multiplies with its weights (N, D): pooled features less their mean, scaled."""
    if head.name == "few-shot":
        from quickstep.heads.few_shot.head import direction, unit

        pooled = [direction(unit(feature.values.reshape(len(feature), -1).astype(np.float64))) for feature in features]
    else:
        pooled = [feature.values.reshape(len(feature), -1).astype(np.float64).mean(axis=0) for feature in features]
    return (np.stack(pooled) - arrays["mean"]) * arrays.get("scale", np.ones(1))


def _row(mean: Array, text: Array | None, length: float) -> Array:
    """Return a row of this length that points to the mean of the new videos and, where there is a text vector, to that as well."""
    pointing = _unit(mean) if text is None else _unit(_unit(mean) + _unit(text))
    return np.asarray(length * pointing)


def _mean_without(inputs: Array, index: int) -> Array:
    """Return the mean of all others; a single input is its own mean."""
    return np.asarray(np.delete(inputs, index, axis=0).mean(axis=0) if len(inputs) > 1 else inputs[0])


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


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
