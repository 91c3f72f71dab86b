"""Fit a model's head again to corrected labels, from cached features, and measure what that changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.models.ensemble import AnyModel
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.provenance import count_segments
from quickstep.training.refit import class_prompts_of, embed_prompts, refit_head, single_model
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, percent, points, share
from quickstep.types.errors import ManifestError, ModelError
from quickstep.types.progress import Clock, Progress, silent


@dataclass(frozen=True, eq=False)
class Retrained:
    """A model fitted to corrected labels, and the accuracy of both models on held-out segments, by their corrected labels."""

    model: Model
    part: str
    segments: int
    before: Interval | None
    after: Interval | None
    change: Difference | None
    changed: int  # segments whose label differs from the one that the model was trained with
    dropped: int  # segments that were excluded
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was changed and what that did to the accuracy, in sentences."""
        changes = f"Corrected labels: {self.changed}; excluded segments: {self.dropped}."
        if self.before is None or self.after is None or self.change is None:
            return (changes, "The effect is unknown: no segments were held out.", *self.notes)
        accuracy = (
            f"Accuracy on the {self.segments} segments of the {self.part} part, by their corrected labels: {percent(self.before.value)} "
            f"({between(self.before)}) before, {percent(self.after.value)} ({between(self.after)}) after: {points(self.change.interval)}."
        )
        return (changes, accuracy, *self.notes)


def retrain(
    model: AnyModel | str | Path, manifest: ManifestSource, *, cache: Cache | None = None, progress: Progress = silent
) -> Retrained:
    """Fit the model's kind of head to a corrected manifest; segments without a part keep the one of the model's own manifest."""
    cache, clock = cache or Cache(), Clock()
    model = single_model(model, "retrain", cache=cache)
    if model.is_zero_shot:
        raise ModelError(model.folder or "the model", "is a zero-shot model without training segments; use `train` on the corrected list")
    manifest = _with_parts(as_manifest(manifest), model.manifest)
    labels = manifest.part("train").labels
    if len(labels) < 2:
        raise ManifestError(manifest.source or "the list", "has fewer than two labels in its train part")
    extraction = extract(manifest.segments, model.backbone, view=model.view, cache=cache, progress=progress)
    facts = replace(
        model.facts, source=str(manifest.source or ""), splits=count_segments(manifest, labels), fingerprint=manifest.fingerprint
    )
    corrected = replace(model, labels=labels, manifest=manifest, facts=facts, folder=None)
    texts = embed_prompts(model, class_prompts_of(model, labels), cache)
    fitted, notes = refit_head(corrected, extraction, texts, progress=progress)
    clock.mark("retraining")
    changed, dropped = _count_differences(model.manifest, manifest)
    notes = (*notes, *_note_on_held_out_corrections(model.manifest, manifest))
    dated = f"fitted again to a reviewed list: {changed} labels corrected, {dropped} segments excluded"
    fitted = replace(fitted, facts=replace(fitted.facts, notes=(*fitted.facts.notes, dated)))
    part = _held_out_part(manifest)
    held_out = [segment for segment in manifest.part(part).segments if segment in extraction.features]
    seconds = clock.seconds["retraining"]
    if not held_out:
        return Retrained(fitted, part, 0, None, None, None, changed, dropped, notes, seconds)
    features, groups = [extraction.features[segment] for segment in held_out], [group_of(segment) for segment in held_out]
    truth = np.array([str(segment.label) for segment in held_out])
    right_before, right_after = (
        np.array(one_model.labels)[one_model.scores(features).argmax(axis=1)] == truth for one_model in (model, fitted)
    )
    before, after, change = share(right_before, groups), share(right_after, groups), difference(right_after, right_before, groups)
    return Retrained(fitted, part, len(held_out), before, after, change, changed, dropped, notes, seconds)


def _held_out_part(manifest: Manifest) -> str:
    return "test" if manifest.part("test").segments else "val"


def _with_parts(manifest: Manifest, old: Manifest | None) -> Manifest:
    """Keep the labelled segments, each with a part: its own, else the one in the old manifest, else train."""
    parts = {segment.span: segment.split for segment in old.segments} if old is not None else {}
    return manifest.with_segments(
        replace(segment, split=segment.split or parts.get(segment.span) or "train")
        for segment in manifest.segments
        if segment.label is not None
    )


def _count_differences(old: Manifest | None, new: Manifest) -> tuple[int, int]:
    """Count the labels that changed and the segments that are gone."""
    before = {segment.span: segment.label for segment in old.segments} if old is not None else {}
    now = {segment.span: segment.label for segment in new.segments}
    return sum(now[span] != label for span, label in before.items() if span in now), sum(span not in now for span in before)


def _note_on_held_out_corrections(old: Manifest | None, new: Manifest) -> tuple[str, ...]:
    """Warn where the segments that both models are measured on were corrected too."""
    if old is None:
        return ()
    part = _held_out_part(new)
    count = sum(_count_differences(old.with_segments(segment for segment in old.segments if segment.split == part), new))
    if count == 0:
        return ()
    return (
        f"{count} of the held-out labels {'was' if count == 1 else 'were'} corrected too: if only those were checked that the model "
        "doubted, both accuracies are too high.",
    )
