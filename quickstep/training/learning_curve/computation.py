"""Measure how accuracy grows with the number of labels, on held-out segments that nothing is chosen on."""

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
from quickstep.datasets.class_prompts import ClassPrompts, check_templates, read_class_prompts
from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.splits import SplitConfig, split
from quickstep.heads import HEADS, Examples, FitConfig, capabilities_of, open_head
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.text_features import apply_templates, encode_prompts
from quickstep.storage.cache import Cache
from quickstep.training.learning_curve.curve import CurveBaseline, CurvePoint, LearningCurve
from quickstep.training.learning_curve.label_gain import advise
from quickstep.training.learning_curve.trials import HeldOut, Part, Trials
from quickstep.training.train import TrainConfig, open_for_training
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment
from quickstep.types.signals import Texts

if TYPE_CHECKING:
    from quickstep.backbones import Backbone

SHOTS = "1,2,4,8,16"


@dataclass(frozen=True)
class CurveConfig:
    """The numbers of segments a class, the draws of each, the backbone and the head."""

    shots: str = setting(SHOTS, "numbers of training segments a class")
    repeats: int = setting(5, "draws for each number; more draws make the curve more precise")
    more: int = setting(8, "labels to add to one class at a time, to find the class that they would help most; 0: none")
    test: float = setting(0.3, "share of the segments to hold out, if the manifest has no test part")
    head: str | None = setting(
        None, f"the classifier to fit: {', '.join(HEADS)}; by default few-shot if the backbone embeds text, else prototypes"
    )
    backbone: str | None = setting(None, "the feature extractor; by default clip-vit-b32; flow-hist needs no download")
    weights: str | None = setting(None, "a local folder (or another hub name) to take the backbone's weights from")
    precision: str | None = setting(None, "auto, fp32 or bf16; by default bf16 where it is fast on this machine and accurate in a check")
    engine: str | None = setting(None, "the runtime of the network: torch or openvino (an extra), the fastest on Intel processors")
    frames: int | None = setting(None, "frames a window; by default the backbone's own number")
    template: tuple[str, ...] = setting((), "for backbones that embed text: 'a video of {}' (the label replaces {}); several, or ensemble")
    prompts: str | None = setting(None, "for backbones that embed text: a file of `label: a sentence; another`", was="words")
    seed: int = setting(0, "for the split, the draws and the fits; the same seed gives the same curve")

    def __post_init__(self) -> None:
        _ = self.numbers
        between("repeats", self.repeats, 1, 1000)
        between("more", self.more, 0, 10_000)
        between("test", self.test, 0.05, 0.9)
        at_least("seed", self.seed, 0)
        if self.frames is not None:
            between("frames", self.frames, 1, 4096)
        check_templates(self.template)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The shots as numbers, ascending, without repeats."""
        parts = [part.strip() for part in self.shots.split(",") if part.strip()]
        if not parts or not all(part.isdecimal() and 1 <= int(part) <= 100_000 for part in parts):
            raise ConfigError("shots", f"whole numbers from 1 on, as in {SHOTS}, not {self.shots!r}")
        return tuple(sorted({int(part) for part in parts}))

    def train_config(self) -> TrainConfig:
        """Return the settings of the backbone."""
        return TrainConfig(
            backbone=self.backbone,
            weights=self.weights,
            precision=self.precision,
            engine=self.engine,
            frames=self.frames,
            template=self.template,
            prompts=self.prompts,
            seed=self.seed,
        )


Ints = NDArray[np.int64]
HEAD_WITH_TEXT, HEAD_WITHOUT_TEXT = "few-shot", "prototypes"


def learning_curve(
    manifest: ManifestSource,
    config: CurveConfig | None = None,
    *,
    backbone: Backbone | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> LearningCurve:
    """Fit heads to few and to more segments a class, with several draws of each, and measure them on the held-out part.

    `manifest` is a Manifest or a path; `backbone` is an instance to use instead of the config's.
    """
    started = time.perf_counter()
    config, cache = config or CurveConfig(), cache or Cache()
    manifest = as_manifest(manifest)
    extractor = _Extractor.open(config, backbone, cache, progress)
    prompts = extractor.read_prompts(manifest)
    manifest, notes = _with_test_part(manifest, config, cache=cache, progress=progress)
    segments = [segment for segment in manifest.segments if segment.split in ("train", "test")]
    extraction = extractor.extract(segments).check(strict=strict)
    data = _Data.of(manifest, extraction)
    prompts = _only(prompts, data.labels) if prompts is not None else None
    texts = encode_prompts(extractor.backbone, prompts, cache=cache) if prompts is not None else None
    held_out = HeldOut.of(data.held_out.labels, data.held_out.groups, len(data.labels), seed=config.seed)
    shots, shots_notes = _possible_shots(config.numbers, data)
    trials = Trials(data.pool, data.held_out, len(data.labels), extractor.head, texts, config.repeats, config.seed, progress)
    predicted = trials.run([(number, {}) for number in shots])
    baselines = [_majority_class(data, held_out)]
    if prompts is not None and texts is not None:
        baselines += _zero_shot(extractor, prompts, texts, data, held_out)
    advice = advise(trials, held_out, data.labels, shots=shots, predicted=predicted, more=config.more) if config.more else None
    return LearningCurve(
        source=str(manifest.source or ""),
        fingerprint=manifest.fingerprint,
        labels=data.labels,
        backbone=extractor.backbone.name,
        head=extractor.head,
        learnt_from=_count(data.pool.labels, data.labels),
        held_out=_count(data.held_out.labels, data.labels),
        groups=len(set(data.held_out.groups)),
        repeats=config.repeats,
        seed=config.seed,
        points=tuple(_point(number, of_draws, held_out, data) for number, of_draws in zip(shots, predicted)),
        baselines=tuple(baselines),
        last_step=held_out.gain(predicted[-1], predicted[-2]) if len(shots) > 1 else None,
        advice=advice,
        notes=(*notes, *data.notes, *shots_notes, *_interval_notes(held_out, config)),
        failures=tuple(f"{failure.segment}: {failure.error}" for failure in extraction.failures),
        seconds=round(time.perf_counter() - started, 3),
    )


@dataclass(frozen=True)
class _Extractor:
    """The backbone, and the head that is fitted to its features."""

    backbone: Backbone
    head: str
    config: CurveConfig
    own: bool  # whether the backbone was given as an instance
    cache: Cache
    progress: Progress

    @classmethod
    def open(cls, config: CurveConfig, backbone: Backbone | None, cache: Cache, progress: Progress) -> _Extractor:
        image_parts = config.head is not None and capabilities_of(config.head).reads_image_parts
        opened = backbone if backbone is not None else open_for_training(config.train_config(), cache, image_parts=image_parts)
        head = config.head or (HEAD_WITH_TEXT if embeds_text(opened) else HEAD_WITHOUT_TEXT)
        return cls(opened, head, config, backbone is not None, cache, progress)

    def extract(self, segments: Sequence[Segment]) -> Extraction:
        view = view_for(self.backbone, frames=self.config.frames)
        return extract(segments, self.backbone, view=view, cache=self.cache, progress=self.progress)

    def read_prompts(self, manifest: Manifest) -> ClassPrompts | None:
        """Return the sentences of the labels; None where the backbone does not embed text."""
        config = self.config
        if not embeds_text(self.backbone):
            if capabilities_of(self.head).reads_texts or config.template or config.prompts:
                require_text(self.backbone)
            return None
        prompts = read_class_prompts(manifest.labels, templates=config.template, prompts=config.prompts)
        return apply_templates(prompts, self.backbone, templates=config.template)

    def for_zero_shot(self) -> _Extractor:
        """Return an extractor of the features that zero-shot needs, for a backbone that lets the video rewrite the prompts (X-CLIP)."""
        if self.own or not self.backbone.capabilities.prompts_by_video:
            return self
        return replace(self, backbone=open_for_training(self.config.train_config(), self.cache, image_parts=True))


@dataclass(frozen=True, eq=False)
class _Data:
    """The pool that training segments are drawn from, and the held-out segments."""

    labels: tuple[str, ...]
    pool: Part
    held_out: Part
    notes: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest, extraction: Extraction) -> _Data:
        source, features = manifest.source or Path("manifest"), extraction.features
        train, test = ([segment for segment in manifest.part(part).segments if segment in features] for part in ("train", "test"))
        labels = tuple(sorted({str(segment.label) for segment in train}))
        if len(labels) < 2:
            failures = extraction.failures
            failed = f" ({len(failures)} videos cannot be used, such as {failures[0]})" if failures else ""
            raise ManifestError(source, f"has usable training segments of {len(labels)} classes only, and two are needed{failed}")
        held_out = [segment for segment in test if segment.label in labels]
        if not held_out:
            raise ManifestError(source, "has no usable held-out segment of a class with training segments; put some into the test part")
        untrained = Counter(str(segment.label) for segment in test if segment.label not in labels)
        notes = [f"{count} held-out segments of {label!r} are left out: it has no training segments" for label, count in untrained.items()]
        untested = sorted(set(labels) - {str(segment.label) for segment in held_out})
        if untested:
            notes.append(f"no segment of {', '.join(map(repr, untested))} is held out, so the recall is unknown")

        def part(segments: Sequence[Segment]) -> Part:
            numbers = np.array([labels.index(str(segment.label)) for segment in segments], dtype=np.int64)
            return Part(tuple(segments), [features[segment] for segment in segments], numbers)

        return cls(labels, part(train), part(held_out), tuple(notes))


def _only(prompts: ClassPrompts, labels: Sequence[str]) -> ClassPrompts:
    return ClassPrompts(tuple(labels), tuple(prompts.by_label[label] for label in labels))


def _with_test_part(manifest: Manifest, config: CurveConfig, *, cache: Cache, progress: Progress) -> tuple[Manifest, list[str]]:
    """Return the manifest with a test part: its own, else one that is drawn once and divides no group."""
    source = manifest.source or Path("manifest")
    unlabelled = next((segment for segment in manifest.segments if segment.label is None), None)
    if unlabelled is not None:
        raise ManifestError(source, f"{unlabelled} has no label; a learning curve needs one for each video")
    if len(manifest.labels) < 2:
        raise ManifestError(source, f"has {len(manifest.labels)} classes; a learning curve needs at least two")
    notes: list[str] = []
    if "test" not in manifest.splits or any(segment.split is None for segment in manifest.segments):
        drawn = split(manifest, SplitConfig(val=0.0, test=config.test, seed=config.seed), cache=cache, progress=progress)
        manifest = drawn.manifest
        notes += drawn.warnings
    if not manifest.part("train").segments:
        raise ManifestError(source, "has no train part to draw from")
    unused = len(manifest.part("val").segments)
    if unused:
        notes.append(f"the {unused} segments of the val part are not used: there is no early stopping and no calibration here")
    return manifest, notes


def _possible_shots(numbers: Sequence[int], data: _Data) -> tuple[list[int], list[str]]:
    """Return the shots that at least half of the classes have, and notes on the classes that have fewer."""
    have = np.bincount(data.pool.labels, minlength=len(data.labels))
    possible = [number for number in numbers if 2 * int((have >= number).sum()) >= len(have)]
    if not possible:
        median = int(np.median(have))
        raise ConfigError("shots", f"half of the classes have at most {median} training segments, fewer than {numbers[0]}")
    notes = []
    beyond = [number for number in numbers if number not in possible]
    if beyond:
        enough = int((have >= beyond[0]).sum())
        why = f"only {enough} of {len(have)} classes have {beyond[0]} training segments"
        notes.append(f"the curve ends at {possible[-1]} segments a class: {why}")
    fewer = [f"{label!r} ({count})" for label, count in zip(data.labels, have) if count < possible[-1]]
    if fewer:
        listed = ", ".join(fewer[:8]) + (f" and {len(fewer) - 8} more" if len(fewer) > 8 else "")
        notes.append(f"classes with fewer than {possible[-1]} training segments, all of which were used: {listed}")
    return possible, notes


def _point(shots: int, predicted: Ints, held_out: HeldOut, data: _Data) -> CurvePoint:
    counts = _count(data.pool.labels, data.labels)
    return CurvePoint(
        shots=shots,
        accuracy=held_out.accuracy(predicted),
        balanced_accuracy=held_out.balanced_accuracy(predicted),
        draws=tuple((predicted == held_out.labels).mean(axis=1).tolist()),
        recalls=tuple(held_out.recalls(predicted)),
        fewer={label: count for label, count in counts.items() if count < shots},
    )


def _majority_class(data: _Data, held_out: HeldOut) -> CurveBaseline:
    """Predict the most frequent label of the train part everywhere."""
    most_frequent = int(np.bincount(data.pool.labels).argmax())
    predicted = np.full((1, len(held_out.labels)), most_frequent)
    return _baseline("majority", f"majority class {data.labels[most_frequent]!r}", predicted, held_out)


def _zero_shot(extractor: _Extractor, prompts: ClassPrompts, texts: Texts, data: _Data, held_out: HeldOut) -> list[CurveBaseline]:
    """Predict from text alone; empty where a held-out segment cannot be read again."""
    zero_shot, features = extractor.for_zero_shot(), data.held_out.features
    if zero_shot is not extractor:
        extraction = zero_shot.extract(data.held_out.segments)
        if extraction.failures:
            return []
        texts = encode_prompts(zero_shot.backbone, prompts, cache=extractor.cache)
        features = [extraction.features[segment] for segment in data.held_out.segments]
    head = open_head("zero-shot")
    head.fit(Examples([], np.zeros(0, np.int64), texts=texts), None, classes=len(data.labels), fitting=FitConfig())
    return [_baseline("words", "zero-shot", head.scores(features).argmax(axis=1)[None], held_out)]


def _baseline(name: str, about: str, predicted: Ints, held_out: HeldOut) -> CurveBaseline:
    return CurveBaseline(name, about, held_out.accuracy(predicted), held_out.balanced_accuracy(predicted))


def _interval_notes(held_out: HeldOut, config: CurveConfig) -> list[str]:
    notes = [f"about the intervals: {held_out.units.note}"] if held_out.units.note else []
    if config.repeats < 3:
        notes.append("with so few draws the intervals are unreliable; use at least 5 repeats")
    return notes


def _count(numbers: Ints, labels: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(numbers, minlength=len(labels))
    return {label: int(count) for label, count in zip(labels, counts)}
