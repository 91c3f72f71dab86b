"""learning_curve: a labelled set -> how accuracy grows with the number of labels, on a part that nothing is chosen on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import embeds_text, require_text, view_for
from quickstep.datasets.class_prompts import ClassPrompts, read_class_prompts
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.splits import SplitConfig, split
from quickstep.heads import Examples, FitConfig, capabilities_of, open_head
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.text_features import apply_templates, encode_prompts
from quickstep.storage.cache import Cache
from quickstep.training.learning_curve.config import CurveConfig
from quickstep.training.learning_curve.curve import CurveBaseline, CurvePoint, LearningCurve
from quickstep.training.learning_curve.intervals import HeldOut
from quickstep.training.learning_curve.label_gain import advise
from quickstep.training.learning_curve.trials import Part, Trials
from quickstep.training.train import open_for_training
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment
from quickstep.types.signals import Texts

if TYPE_CHECKING:
    from quickstep.backbones import Backbone

Ints = NDArray[np.int64]
WITH_WORDS, WITHOUT = "few-shot", "prototypes"


def learning_curve(
    manifest: Manifest,
    config: CurveConfig | None = None,
    *,
    backbone: Backbone | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> LearningCurve:
    """Fit heads on few and more segments a class, several draws of each, and measure them on the held-out part.

    `backbone` is an instance to use in place of the config's name.
    """
    started = time.perf_counter()
    config, cache = config or CurveConfig(), cache or Cache()
    eyes = _Eyes.opened(config, backbone, cache, progress)
    words = eyes.wording(manifest)
    manifest, notes = _parted(manifest, config, cache=cache, progress=progress)
    found = eyes.see([segment for segment in manifest.segments if segment.split in ("train", "test")]).check(strict=strict)
    sides = _Sides.of(manifest, found)
    texts = encode_prompts(eyes.backbone, _only(words, sides.labels), cache=cache) if words else None
    held_out = HeldOut.of(sides.held_out.labels, sides.held_out.groups, len(sides.labels), seed=config.seed)
    shots, short = _reachable(config.numbers, sides)
    trials = Trials(sides.pool, sides.held_out, len(sides.labels), eyes.head, texts, config.repeats, config.seed, progress)
    predicted = trials.run([(number, {}) for number in shots])
    baselines = [_majority(sides, held_out)]
    if words is not None and texts is not None:
        baselines += _words_alone(eyes, _only(words, sides.labels), texts, sides, held_out)
    advice = advise(trials, held_out, sides.labels, shots=shots, predicted=predicted, more=config.more) if config.more else None
    return LearningCurve(
        source=str(manifest.source or ""),
        fingerprint=manifest.fingerprint,
        labels=sides.labels,
        backbone=eyes.backbone.name,
        head=eyes.head,
        learnt_from=_counted(sides.pool.labels, sides.labels),
        held_out=_counted(sides.held_out.labels, sides.labels),
        groups=len(set(sides.held_out.groups)),
        repeats=config.repeats,
        seed=config.seed,
        points=tuple(_point(number, each, held_out, sides) for number, each in zip(shots, predicted)),
        baselines=tuple(baselines),
        last_step=held_out.gain(predicted[-1], predicted[-2]) if len(shots) > 1 else None,
        advice=advice,
        notes=(*notes, *sides.notes, *short, *_about(held_out, config)),
        failures=tuple(f"{failure.segment}: {failure.error}" for failure in found.failures),
        seconds=round(time.perf_counter() - started, 3),
    )


@dataclass(frozen=True)
class _Eyes:
    """What is looked with, and which head is fitted to it."""

    backbone: Backbone
    head: str
    config: CurveConfig
    own: bool  # whether the backbone was given as an instance
    cache: Cache
    progress: Progress

    @classmethod
    def opened(cls, config: CurveConfig, backbone: Backbone | None, cache: Cache, progress: Progress) -> _Eyes:
        parts = config.head is not None and capabilities_of(config.head).reads_image_parts
        looker = backbone if backbone is not None else open_for_training(config.looking(), cache, parts=parts)
        head = config.head or (WITH_WORDS if embeds_text(looker) else WITHOUT)
        return cls(looker, head, config, backbone is not None, cache, progress)

    def see(self, segments: Sequence[Segment]) -> Extraction:
        """Their features, through the cache."""
        view = view_for(self.backbone, frames=self.config.frames)
        return extract(segments, self.backbone, view=view, cache=self.cache, progress=self.progress)

    def wording(self, manifest: Manifest) -> ClassPrompts | None:
        """What the labels mean in words, where they can be read."""
        config = self.config
        if not embeds_text(self.backbone):
            if capabilities_of(self.head).reads_texts or config.template or config.prompts:
                require_text(self.backbone)
            return None
        wording = read_class_prompts(manifest.labels, templates=config.template, prompts=config.prompts)
        return apply_templates(wording, self.backbone, templates=config.template)

    def for_words(self) -> _Eyes:
        """Eyes that hold words against what is seen as the network itself does: X-CLIP lets what is seen rewrite them."""
        if self.own or not self.backbone.capabilities.prompts_by_video:
            return self
        return replace(self, backbone=open_for_training(self.config.looking(), self.cache, parts=True))


@dataclass(frozen=True, eq=False)
class _Sides:
    """What is drawn from, and what is held out."""

    labels: tuple[str, ...]
    pool: Part
    held_out: Part
    notes: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest, found: Extraction) -> _Sides:
        source = manifest.source or Path("manifest")
        seen = {part: [s for s in manifest.part(part).segments if s in found.features] for part in ("train", "test")}
        labels = tuple(sorted({str(segment.label) for segment in seen["train"]}))
        if len(labels) < 2:
            failed = f" ({len(found.failures)} videos cannot be used, such as {found.failures[0]})" if found.failures else ""
            raise ManifestError(source, f"has usable segments to learn from of {len(labels)} classes only; it takes two{failed}")
        known = [segment for segment in seen["test"] if segment.label in labels]
        if not known:
            raise ManifestError(source, "has no usable held-out segment of a class that can be learnt; put some into the test part")
        notes = []
        lost = Counter(str(segment.label) for segment in seen["test"] if segment.label not in labels)
        notes += [f"{count} held-out segments of {label!r} are left out: it has none to learn from" for label, count in lost.items()]
        untested = sorted(set(labels) - {str(segment.label) for segment in known})
        if untested:
            notes.append(f"no segment is held out of {', '.join(map(repr, untested))}: its recall is unknown")

        def part(segments: Sequence[Segment]) -> Part:
            numbers = np.array([labels.index(str(segment.label)) for segment in segments], dtype=np.int64)
            return Part(tuple(segments), [found.features[segment] for segment in segments], numbers)

        return cls(labels, part(seen["train"]), part(known), tuple(notes))


def _only(words: ClassPrompts, labels: Sequence[str]) -> ClassPrompts:
    return ClassPrompts(tuple(labels), tuple(words.by_label[label] for label in labels))


def _parted(manifest: Manifest, config: CurveConfig, *, cache: Cache, progress: Progress) -> tuple[Manifest, list[str]]:
    """The manifest with a test part: its own, else one that is drawn once, divides no group, and nothing is chosen on."""
    source = manifest.source or Path("manifest")
    bare = next((segment for segment in manifest.segments if segment.label is None), None)
    if bare is not None:
        raise ManifestError(source, f"{bare} has no label, and a learning curve needs one for each video")
    if len(manifest.labels) < 2:
        raise ManifestError(source, f"has {len(manifest.labels)} classes; a learning curve takes at least two")
    notes: list[str] = []
    if "test" not in manifest.splits or any(segment.split is None for segment in manifest.segments):
        drawn = split(manifest, SplitConfig(val=0.0, test=config.test, seed=config.seed), cache=cache, progress=progress)
        manifest = drawn.manifest
        notes += drawn.warnings
    if not manifest.part("train").segments:
        raise ManifestError(source, "has no train part to draw from")
    watched = len(manifest.part("val").segments)
    if watched:
        notes.append(f"the {watched} segments of the val part are not used: nothing here is stopped or calibrated by them")
    return manifest, notes


def _reachable(numbers: Sequence[int], sides: _Sides) -> tuple[list[int], list[str]]:
    """The shots that at least half of the classes have, and notes on the others."""
    have = np.bincount(sides.pool.labels, minlength=len(sides.labels))
    reached = [number for number in numbers if 2 * int((have >= number).sum()) >= len(have)]
    if not reached:
        raise ConfigError(
            "shots", f"half of the classes have at most {int(np.median(have))} segments to learn from, fewer than {numbers[0]}"
        )
    notes = []
    beyond = [number for number in numbers if number not in reached]
    if beyond:
        enough = int((have >= beyond[0]).sum())
        why = f"only {enough} of {len(have)} classes have {beyond[0]} segments to learn from"
        notes.append(f"the curve ends at {reached[-1]} segments a class: {why}")
    lacking = [f"{label!r} ({count})" for label, count in zip(sides.labels, have) if count < reached[-1]]
    if lacking:
        named = ", ".join(lacking[:8]) + (f" and {len(lacking) - 8} more" if len(lacking) > 8 else "")
        notes.append(f"fewer than {reached[-1]} segments to learn from, so that all of theirs were taken: {named}")
    return reached, notes


def _point(shots: int, predicted: Ints, held_out: HeldOut, sides: _Sides) -> CurvePoint:
    counts = _counted(sides.pool.labels, sides.labels)
    return CurvePoint(
        shots=shots,
        accuracy=held_out.accuracy(predicted),
        balanced_accuracy=held_out.balanced_accuracy(predicted),
        draws=tuple((predicted == held_out.labels).mean(axis=1).tolist()),
        recalls=tuple(held_out.recalls(predicted)),
        fewer={label: count for label, count in counts.items() if count < shots},
    )


def _majority(sides: _Sides, held_out: HeldOut) -> CurveBaseline:
    """Always the label that is commonest where one learns."""
    usual = int(np.bincount(sides.pool.labels).argmax())
    return _baseline("majority", f"always {sides.labels[usual]!r}", np.full((1, len(held_out.labels)), usual), held_out)


def _words_alone(eyes: _Eyes, words: ClassPrompts, texts: Texts, sides: _Sides, held_out: HeldOut) -> list[CurveBaseline]:
    """No example at all: what the words say."""
    reader, features = eyes.for_words(), sides.held_out.features
    if reader is not eyes:
        found = reader.see(sides.held_out.segments)
        if found.failures:
            return []
        texts = encode_prompts(reader.backbone, words, cache=eyes.cache)
        features = [found.features[segment] for segment in sides.held_out.segments]
    head = open_head("zero-shot")
    head.fit(Examples([], np.zeros(0, np.int64), texts=texts), None, classes=len(sides.labels), fitting=FitConfig())
    return [_baseline("words", "words alone", head.scores(features).argmax(axis=1)[None], held_out)]


def _baseline(name: str, about: str, predicted: Ints, held_out: HeldOut) -> CurveBaseline:
    return CurveBaseline(name, about, held_out.accuracy(predicted), held_out.balanced_accuracy(predicted))


def _about(held_out: HeldOut, config: CurveConfig) -> list[str]:
    notes = [f"about the intervals: {held_out.units.note}"] if held_out.units.note else []
    if config.repeats < 3:
        notes.append("with so few draws the intervals know little of the luck of drawing; try --repeats 5")
    return notes


def _counted(numbers: Ints, labels: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(numbers, minlength=len(labels))
    return {label: int(count) for label, count in zip(labels, counts)}
