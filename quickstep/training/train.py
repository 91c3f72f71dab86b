"""Train a model: draw missing splits, compute features, fit one head and calibrate it; the test part is never used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from quickstep.backbones import PROMPTED, BackboneSpec, view_for
from quickstep.datasets.class_prompts import ClassPrompts, check_templates, read_class_prompts
from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import SplitConfig, SplitResult, split
from quickstep.heads import HEADS, OPTIMIZERS, Examples, FitConfig, Head, History, open_head
from quickstep.models.classifier import fit_temperature, fit_threshold, probabilities
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.models.pose_input import are_pose_files, choose_skeleton
from quickstep.models.text_features import apply_templates, encode_prompts
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.training.provenance import make_facts
from quickstep.types.confidence_intervals import Interval, share
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError, ManifestError, WeightsError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.registry import trust_typed
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Texts
from quickstep.types.skeleton import Skeleton
from quickstep.types.view import check_views

if TYPE_CHECKING:
    from quickstep.backbones import Backbone

DEFAULT_BACKBONE = "clip-vit-b32"
DEFAULT_FOR_POSES = "joints"  # for a set of pose files
MIN_SEGMENTS = 5  # of a class: fewer are noted
NO_VALIDATION = "without validation segments all epochs were run, the last one is used, and the confidence is not calibrated"


@dataclass(frozen=True)
class TrainConfig:
    """The backbone, the view, the head and how it is fitted; the defaults need no tuning."""

    backbone: str | None = setting(None, "the feature extractor; by default clip-vit-b32; flow-hist needs no download")
    weights: str | None = setting(None, "a local folder (or another hub name) to take the backbone's weights from")
    embedding: str | None = setting(None, "which embedding of the network: projected or pooled", was="output")
    precision: str | None = setting(None, "auto, fp32 or bf16; by default bf16 where it is fast on this machine and accurate in a check")
    engine: str | None = setting(None, "the runtime of the network: torch or openvino (an extra), the fastest on Intel processors")
    flow: str | None = setting(None, "the optical flow for i3d-flow: dis, tvl1 or farneback; dis,camera removes camera motion")
    head: str = setting("linear", f"the classifier to fit: {', '.join(HEADS)}")
    template: tuple[str, ...] = setting((), "for heads that read text: 'a video of {}' (the label replaces {}); several, or ensemble")
    prompts: str | None = setting(None, "for heads that read text: a file of `label: a sentence; another`", was="words")
    head_settings: dict[str, float | str] = field(
        default_factory=dict, metadata={"help": "other settings of the head, such as --head-settings.hidden 20"}
    )
    frames: int | None = setting(None, "frames a window; by default the backbone's own number")
    windows: int | None = setting(None, "windows over a segment, whose features are averaged; by default the backbone's own number")
    crops: int | None = setting(None, "square crops of each window: 1, 3 (along the long edge), 5 (corners too) or 10 (mirrored too)")
    epochs: int | None = setting(None, "passes over the training segments, at most; by default 100, more for few segments")
    learning_rate: float | None = setting(None, "initial learning rate; the default depends on the head and the optimizer")
    optimizer: Literal["adamw", "adam", "sgd"] = setting("adamw", f"one of {', '.join(OPTIMIZERS)}")
    dropout: float = setting(0.0, "share of the features that dropout zeroes while fitting")
    class_weights: bool = setting(False, "weight classes equally, whatever their number of segments")
    batch: int | None = setting(None, "segments a step; by default from 32 to 512, growing with their number")
    patience: int | None = setting(
        None, "stop after this many epochs in a row that are significantly worse on validation; by default a fifth of all"
    )
    seed: int = setting(0, "for the split and the fit; the same seed gives the same model")

    def __post_init__(self) -> None:
        between("dropout", self.dropout, 0, 0.95)
        if self.frames is not None:
            between("frames", self.frames, 1, 4096)
        check_views(self.windows, self.crops)
        check_templates(self.template)
        self.fitting()

    @property
    def spec(self) -> BackboneSpec:
        """The backbone to train on."""
        return BackboneSpec.named(
            self.backbone or DEFAULT_BACKBONE,
            weights=self.weights,
            embedding=self.embedding,
            precision=self.precision,
            engine=self.engine,
            flow=self.flow,
        )

    def fitting(self) -> FitConfig:
        """Return the settings of the training loop."""
        return FitConfig(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            class_weights=self.class_weights,
            batch=self.batch,
            patience=self.patience,
            seed=self.seed,
        )


@dataclass(frozen=True, eq=False)
class Trained:
    """A model, the history of its fit, and what to know about both."""

    model: Model
    history: History
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    split: SplitResult | None = None  # where splits were drawn
    validation: Interval | None = None  # accuracy on the val part, which also stopped and calibrated the fit; None without one
    computed: int = 0  # segments whose features were computed; the others came from the cache

    @property
    def seconds(self) -> dict[str, float]:
        """The time of each stage."""
        return self.model.facts.seconds


def train(
    manifest: ManifestSource,
    config: TrainConfig | None = None,
    *,
    backbone: Backbone | None = None,
    poses: PoseConfig | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    validation: bool = True,
) -> Trained:
    """Fit a head on the train part; use the val part for early stopping and calibration. Missing splits are drawn first.

    `manifest` is a Manifest or a path: a folder with one folder of videos per class, or a csv. `backbone` is an instance to use instead
    of the config's; `poses` are settings for a backbone that reads poses. With `validation=False` no val part is taken out of train.
    """
    manifest = as_manifest(manifest)
    config, cache, clock = config or TrainConfig(), cache or Cache(), Clock()
    if config.backbone is None and are_pose_files(manifest.paths):
        config = replace(config, backbone=DEFAULT_FOR_POSES)
    if poses is not None and poses.person == "all":
        raise ConfigError("person", "a model is trained on one person a segment: name each in a column pose_person, or use auto")
    check_labels(manifest)
    trust_typed(config.head)
    head = open_head(config.head, ({"dropout": config.dropout} if config.dropout else {}) | config.head_settings)
    prompts = _read_prompts(manifest, config, head)
    spec = config.spec if backbone is None else BackboneSpec.of(backbone)
    if backbone is None:
        backbone = open_for_training(config, cache, image_parts=head.capabilities.reads_image_parts, poses=poses)
    _check_joints(head, backbone)
    settled = choose_skeleton(backbone, manifest.paths, cache=cache)
    backbone = settled.backbone
    view = view_for(backbone, frames=config.frames, windows=config.windows, crops=config.crops)
    prompts = apply_templates(prompts, backbone, templates=config.template) if prompts else None
    texts = encode_prompts(backbone, prompts, cache=cache) if prompts else None
    spec = spec.settled(backbone)  # the head is fitted to these features, so the model computes the same ones everywhere
    clock.mark("opening")
    manifest, drawn = with_splits(manifest, seed=config.seed, cache=cache, progress=progress, validation=validation)
    clock.mark("splits")
    segments = [segment for segment in manifest.segments if segment.split in ("train", "val")]
    extraction = extract(segments, backbone, view=view, cache=cache, progress=progress).check(strict=strict)
    clock.mark("features")
    parts = Parts.of(manifest, extraction, texts=texts, skeleton=settled.skeleton)
    history = head.fit(parts.train, parts.val, classes=len(parts.labels), fitting=config.fitting(), progress=progress)
    temperature, threshold = calibrate(head, parts.val)
    clock.mark("fitting")
    warnings = (*(drawn.warnings if drawn else ()), *settled.notes, *_notes(parts, extraction, validation=validation))
    facts = make_facts(
        manifest,
        failures=extraction.failures,
        notes=warnings,
        words=prompts.by_label if prompts else {},
        training=to_plain(config),
        fitting=to_plain(config.fitting()) | {"shrinkage": history.shrinkage},
        seconds=clock.seconds,
    )
    model = Model(parts.labels, backbone, view, head, spec, temperature, threshold, facts, manifest, history)
    validated = None if parts.val is None else _accuracy(head, parts.val, seed=config.seed)
    return Trained(model, history, extraction.failures, warnings, drawn, validated, extraction.computed)


def _accuracy(head: Head, val: Examples, *, seed: int) -> Interval:
    """Return the accuracy on the val part with its interval over groups."""
    correct = head.scores(val.features).argmax(axis=1) == val.labels
    return share(correct, [group_of(segment) for segment in val.segments], seed=seed)


def _read_prompts(manifest: Manifest, config: TrainConfig, head: Head) -> ClassPrompts | None:
    """Return the sentences of the labels, for a head that reads text."""
    if head.capabilities.reads_texts:
        return read_class_prompts(manifest.labels, templates=config.template, prompts=config.prompts)
    for name, value in (("template", config.template), ("prompts", config.prompts)):
        if value:
            raise ConfigError(name, f"the head {config.head!r} does not read text: leave it out, or use the head zero-shot or few-shot")
    return None


def _check_joints(head: Head, backbone: Backbone) -> None:
    """Refuse a head that needs joints behind a backbone that gives none."""
    if head.capabilities.reads_joints and not backbone.capabilities.gives_joints:
        raise ConfigError("head", f"{head.name!r} needs joints, and the backbone {backbone.name!r} gives none: use the backbone joints")


def with_splits(
    manifest: Manifest, *, seed: int, cache: Cache, progress: Progress, validation: bool = True
) -> tuple[Manifest, SplitResult | None]:
    """Return the manifest with a part for every segment, and how missing parts were drawn."""
    drawn = None
    if not ({"train", "val"} if validation else {"train"}) <= set(manifest.splits) or any(
        segment.split is None for segment in manifest.segments
    ):
        drawn = split(manifest, SplitConfig(seed=seed), cache=cache, progress=progress)
        manifest = drawn.manifest
    _check_parts(manifest)
    return manifest, drawn


def open_for_training(
    config: TrainConfig, cache: Cache | None = None, *, image_parts: bool = False, poses: PoseConfig | None = None
) -> Backbone:
    """Open the backbone that the config names and find its weights.

    With `image_parts`, a backbone that lets the video rewrite the prompts (X-CLIP) gives the features for that.
    """
    spec = replace(config.spec, poses=poses.to_options() if poses else {})
    try:
        backbone = spec.open(cache)
        if image_parts and backbone.capabilities.prompts_by_video:
            backbone = replace(spec, embedding=PROMPTED).open(cache)
        _ = backbone.identity  # raises WeightsError where there are no weights
    except WeightsError as error:
        if config.backbone is not None or config.weights is not None:
            raise
        raise WeightsError(
            f"the weights of the default backbone {DEFAULT_BACKBONE} are not on this machine and cannot be downloaded: "
            "use the backbone flow-hist, which needs none, or name the folder of the weights"
        ) from error
    return backbone


@dataclass(frozen=True, eq=False)
class Parts:
    """The examples that a head is fitted to, and those for early stopping and calibration."""

    labels: tuple[str, ...]
    train: Examples
    val: Examples | None

    @classmethod
    def of(cls, manifest: Manifest, extraction: Extraction, *, texts: Texts | None = None, skeleton: Skeleton | None = None) -> Parts:
        """Collect the segments that have features; refuse a manifest in which a class has no training segment left."""
        labels = manifest.part("train").labels
        number = {label: index for index, label in enumerate(labels)}
        usable: dict[str, list[Segment]] = {"train": [], "val": []}
        for segment in manifest.segments:
            if segment in extraction.features:
                usable[str(segment.split)].append(segment)
        lost = sorted(set(labels) - {str(segment.label) for segment in usable["train"]})
        if lost:
            failures = extraction.failures
            example = f", such as {failures[0]}" if failures else ""
            raise ManifestError(_source(manifest), f"no training video of {_listed(lost)} can be used ({len(failures)} failed{example})")

        def examples(segments: Sequence[Segment]) -> Examples:
            classes = np.array([number[str(segment.label)] for segment in segments], dtype=np.int64)
            return Examples([extraction.features[segment] for segment in segments], classes, tuple(segments), texts, skeleton)

        return cls(labels, examples(usable["train"]), examples(usable["val"]) if usable["val"] else None)


def calibrate(head: Head, val: Examples | None) -> tuple[float, float | None]:
    """Fit the temperature and the confidence threshold on the val part; 1 and None where there is none."""
    if val is None:
        return 1.0, None
    logits = head.scores(val.features)
    temperature = fit_temperature(logits, val.labels)
    return temperature, fit_threshold(probabilities(logits, temperature), val.labels)


def check_labels(manifest: Manifest) -> None:
    """Refuse a manifest that no classifier can be trained on."""
    source, labels = _source(manifest), manifest.labels
    if not manifest.segments:
        raise ManifestError(source, "lists no videos; put videos into one folder per class")
    unlabelled = next((segment for segment in manifest.segments if segment.label is None), None)
    if unlabelled is not None:
        raise ManifestError(source, f"{unlabelled} has no label; training needs one for each video")
    if len(labels) < 2:
        raise ManifestError(source, f"has only one class ({labels[0]!r}); add videos of at least one more")
    if len(manifest) < 2 * len(labels) and max(manifest.counts.values()) < 2:
        raise ManifestError(source, f"has one video for each of {len(labels)} classes; add at least one more of each, better ten")


def _check_parts(manifest: Manifest) -> None:
    """Refuse a manifest in which a class has no training segment."""
    absent = sorted(set(manifest.labels) - set(manifest.part("train").labels))
    if absent:
        parts = sorted({str(segment.split) for segment in manifest.segments if segment.label in absent})
        raise ManifestError(
            _source(manifest), f"{_listed(absent)} has no video in the train part, only in {' and '.join(parts)}; move some there"
        )


def _notes(parts: Parts, extraction: Extraction, *, validation: bool) -> list[str]:
    """List what to know about the data."""
    notes = []
    failed = len(extraction.failures)
    if failed:
        notes.append(f"{failed} of {failed + len(extraction.features)} segments could not be used; they are listed")
    if extraction.damaged:
        notes.append(f"{len(extraction.damaged)} segments are partly damaged; their readable frames were used")
    if parts.val is None and validation:
        notes.append(NO_VALIDATION)
    counts = Counter(parts.train.labels.tolist())
    few = [label for index, label in enumerate(parts.labels) if counts[index] < MIN_SEGMENTS]
    if few:
        notes.append(f"{_listed(few)}: fewer than {MIN_SEGMENTS} training segments")
    return notes


def _listed(names: Sequence[str], most: int = 5) -> str:
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def _source(manifest: Manifest) -> Path:
    return manifest.source or Path("manifest")
