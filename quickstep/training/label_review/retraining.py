"""retrain: a model's kind of head, fitted to corrected labels from the features that the cache remembers; and what that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from quickstep.datasets.class_prompts import ClassPrompts, read_class_prompts
from quickstep.datasets.manifest import PARTS, Manifest, group_of
from quickstep.models.ensemble import AnyModel, Ensemble
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.models.text_features import suited, texts_of
from quickstep.storage.cache import Cache
from quickstep.training.refit import refit_head
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, percent, points, share
from quickstep.types.errors import ManifestError, ModelError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.signals import Texts


@dataclass(frozen=True, eq=False)
class Retrained:
    """A model on corrected labels, and how both models do on held-out segments, by their corrected labels."""

    model: Model
    part: str
    segments: int
    before: Interval | None
    after: Interval | None
    change: Difference | None
    changed: int  # segments whose label is another than the model learnt
    dropped: int  # segments that were taken out
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was done and what it did, in plain words."""
        done = f"Labels that are other than the model had learnt: {self.changed}; segments taken out: {self.dropped}."
        if self.before is None or self.after is None or self.change is None:
            return (done, "What that did is not known: no segment was held out.", *self.notes)
        held = (
            f"On the {self.segments} segments of the {self.part} part, by their corrected labels: right on {percent(self.before.value)} "
            f"({between(self.before)}) before, {percent(self.after.value)} ({between(self.after)}) after: {points(self.change.interval)}."
        )
        return (done, held, *self.notes)


def retrain(model: AnyModel, manifest: Manifest, *, cache: Cache | None = None, progress: Progress = silent) -> Retrained:
    """Fit the model's kind of head anew to a manifest; parts that it does not say are those of the model's own."""
    if isinstance(model, Ensemble):
        raise ModelError(model.folder or "the model", "is made of several models; retrain each of them, then fuse them again")
    if model.words_alone:
        raise ModelError(model.folder or "the model", "is made of words and has learnt from no segment; train one on the corrected list")
    cache, clock = cache or Cache(), Clock()
    manifest = _parted(manifest, model.manifest)
    if len(manifest.part("train").labels) < 2:
        raise ManifestError(manifest.source or "the list", "leaves fewer than two labels to learn")
    seen = extract(manifest.segments, model.backbone, view=model.view, cache=cache, progress=progress)
    labels = manifest.part("train").labels
    counts: dict[str, dict[str, int]] = {part: {label: manifest.part(part).counts.get(label, 0) for label in labels} for part in PARTS}
    facts = replace(model.facts, source=str(manifest.source or ""), splits=counts, fingerprint=manifest.fingerprint)
    grown = replace(model, labels=labels, manifest=manifest, facts=facts, folder=None)
    fitted, notes = refit_head(grown, seen, _texts(model, labels, cache), progress=progress)
    clock.mark("retraining")
    changed, dropped = _differences(model.manifest, manifest)
    notes = (*notes, *_flattery(model.manifest, manifest))
    dated = f"fitted again to a reviewed list: {changed} labels corrected, {dropped} segments taken out"
    fitted = replace(fitted, facts=replace(fitted.facts, notes=(*fitted.facts.notes, dated)))
    part = "test" if manifest.part("test").segments else "val"
    held = [each for each in manifest.part(part).segments if each in seen.features and each.label is not None]
    if not held:
        return Retrained(fitted, part, 0, None, None, None, changed, dropped, notes, clock.seconds["retraining"])
    shown, groups = [seen.features[each] for each in held], [group_of(each) for each in held]
    truth = np.array([str(each.label) for each in held])
    right = [np.array(each.labels)[each.scores(shown).argmax(axis=1)] == truth for each in (model, fitted)]
    before, after, change = share(right[0], groups), share(right[1], groups), difference(right[1], right[0], groups)
    return Retrained(fitted, part, len(held), before, after, change, changed, dropped, notes, clock.seconds["retraining"])


def _parted(manifest: Manifest, known: Manifest | None) -> Manifest:
    """The labelled segments, each with a part: its own, else the one that the model knew it in, else train."""
    parts = {each.span: each.split for each in known.segments} if known is not None else {}
    return manifest.with_segments(
        replace(each, split=each.split or parts.get(each.span) or "train") for each in manifest.segments if each.label is not None
    )


def _differences(known: Manifest | None, manifest: Manifest) -> tuple[int, int]:
    """How many labels are others than before, and how many segments are gone."""
    before = {each.span: each.label for each in known.segments} if known is not None else {}
    now = {each.span: each.label for each in manifest.segments}
    return sum(now[span] != label for span, label in before.items() if span in now), sum(span not in now for span in before)


def _flattery(known: Manifest | None, manifest: Manifest) -> tuple[str, ...]:
    """A word of warning where what both are measured on was itself corrected."""
    parts = ("test",) if manifest.part("test").segments else ("val",)
    before = known.with_segments(each for each in known.segments if each.split in parts) if known is not None else Manifest(())
    count = sum(_differences(before, manifest))
    if count == 0:
        return ()
    return (
        f"{count} of the held-out labels {'was' if count == 1 else 'were'} corrected too: where only those were looked at that the model "
        "doubted, both figures flatter it.",
    )


def _texts(model: Model, labels: Sequence[str], cache: Cache) -> Texts | None:
    """The sentences of the labels, for a head that reads them."""
    if not model.head.capabilities.reads_texts:
        return None
    template = tuple(model.facts.training.get("template") or ())
    usual = suited(read_class_prompts(list(labels), templates=template), model.backbone, templates=template).by_label
    told = {**usual, **{label: words for label, words in model.facts.words.items() if label in usual}}
    return texts_of(model.backbone, ClassPrompts(tuple(labels), tuple(told[label] for label in labels)), cache=cache)
