"""train: a labelled set of videos -> a model; splits, features, one head, calibration. Never looks at the test part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from quickstep.backbones import PROMPTED, BackboneSpec, view_for
from quickstep.datasets.class_prompts import ClassPrompts, check_templates, read_class_prompts
from quickstep.datasets.manifest import PARTS, Manifest
from quickstep.datasets.splits import SplitConfig, SplitResult, split
from quickstep.heads import HEADS, OPTIMIZERS, Examples, FitConfig, Head, History, open_head
from quickstep.models.calibration import fit_temperature, fit_threshold, probabilities
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Facts, Model
from quickstep.models.pose_input import are_pose_files, choose_skeleton
from quickstep.models.text_features import apply_templates, encode_prompts
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError, ManifestError, WeightsError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Texts
from quickstep.types.skeleton import Skeleton
from quickstep.types.view import check_views

if TYPE_CHECKING:
    from quickstep.backbones import Backbone

USUAL_BACKBONE = "clip-vit-b32"
USUAL_FOR_POSES = "joints"  # where a set holds files of poses instead of videos
LIBRARIES = ("numpy", "torch", "transformers", "av", "opencv-contrib-python-headless", "scikit-learn", "scipy", "safetensors")


@dataclass(frozen=True)
class TrainConfig:
    """What to look with and how to fit; the defaults need no tuning."""

    backbone: str | None = setting(None, "what turns frames into numbers; by default clip-vit-b32; flow-hist needs no download")
    weights: str | None = setting(None, "a local folder (or another hub name) to take the backbone's weights from")
    embedding: str | None = setting(None, "which embedding of the network: projected or pooled", was="output")
    precision: str | None = setting(None, "auto, fp32 or bf16; by default bf16 where the machine is fast in it and a trial finds it safe")
    engine: str | None = setting(None, "what runs the network: torch or openvino (extra), the fastest on Intel processors")
    flow: str | None = setting(None, "how motion is found for i3d-flow: dis, tvl1 or farneback; dis,camera takes the camera's away")
    head: str = setting("linear", f"what is fitted: {', '.join(HEADS)}")
    template: tuple[str, ...] = setting((), "for heads that read words: 'a video of {}' (the label goes into {}); several, or ensemble")
    prompts: str | None = setting(None, "for heads that read text: a file of `label: a sentence; another`", was="words")
    head_settings: dict[str, float | str] = field(
        default_factory=dict, metadata={"help": "what else the head lets one choose, as in --head-settings.hidden 20"}
    )
    frames: int | None = setting(None, "frames a window; by default the backbone's own number")
    windows: int | None = setting(None, "windows laid over a segment and averaged; by default as many as the backbone has")
    crops: int | None = setting(None, "squares looked at in each window: 1, 3 (along the long edge), 5 (corners too) or 10 (mirrored too)")
    epochs: int | None = setting(None, "passes over the training segments, at most; by default 100, more where they are few")
    learning_rate: float | None = setting(None, "size of the first steps; by default what suits the optimizer")
    optimizer: Literal["adamw", "adam", "sgd"] = setting("adamw", f"one of {', '.join(OPTIMIZERS)}")
    dropout: float = setting(0.0, "share of the numbers hidden at random while fitting")
    class_weights: bool = setting(False, "let every class count the same, however many segments it has")
    batch: int | None = setting(None, "segments a step; by default from 32 to 512, growing with their number")
    patience: int | None = setting(
        None, "stop after so many epochs in a row that are measurably worse on validation; by default a fifth of all"
    )
    seed: int = setting(0, "for the split and the fit: the same seed gives the same model")

    def __post_init__(self) -> None:
        between("dropout", self.dropout, 0, 0.95)
        if self.frames is not None:
            between("frames", self.frames, 1, 4096)
        check_views(self.windows, self.crops)
        check_templates(self.template)
        self.fitting()

    @property
    def spec(self) -> BackboneSpec:
        """Which backbone it trains on."""
        return BackboneSpec.named(
            self.backbone or USUAL_BACKBONE,
            weights=self.weights,
            embedding=self.embedding,
            precision=self.precision,
            engine=self.engine,
            flow=self.flow,
        )

    def fitting(self) -> FitConfig:
        """The part of it that the loop needs."""
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
    """A model, how its fit went, what could not be used, and what one should know about it."""

    model: Model
    history: History
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    split: SplitResult | None = None  # where the manifest's splits had to be completed
    computed: int = 0  # videos looked at; the others came from the cache

    @property
    def seconds(self) -> dict[str, float]:
        """Time per stage."""
        return self.model.facts.seconds


def train(
    manifest: Manifest,
    config: TrainConfig | None = None,
    *,
    backbone: Backbone | None = None,
    poses: PoseConfig | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> Trained:
    """Fit a head on the train part, stop and calibrate by the val part; splits that the manifest lacks are drawn first.

    `backbone` is an instance to use in place of the config's name; `poses` says which poses one that reads them is shown.
    """
    config, cache, clock = config or TrainConfig(), cache or Cache(), Clock()
    if config.backbone is None and are_pose_files(manifest.paths):
        config = replace(config, backbone=USUAL_FOR_POSES)
    if poses is not None and poses.person == "all":
        raise ConfigError("person", "a model learns from one person a segment: name each in a column pose_person, or take auto")
    check_labels(manifest)
    head = open_head(config.head, ({"dropout": config.dropout} if config.dropout else {}) | config.head_settings)
    wording = _wording(manifest, config, head)
    spec = config.spec if backbone is None else BackboneSpec.of(backbone)
    if backbone is None:
        backbone = open_for_training(config, cache, parts=head.capabilities.reads_image_parts, poses=poses)
    _check_joints(head, backbone)
    whose = choose_skeleton(backbone, manifest.paths, cache=cache)
    backbone = whose.backbone
    view = view_for(backbone, frames=config.frames, windows=config.windows, crops=config.crops)
    wording = apply_templates(wording, backbone, templates=config.template) if wording else None
    texts = encode_prompts(backbone, wording, cache=cache) if wording else None
    # What was left open and how it was settled here is what the model asks for everywhere: its head was fitted on those values.
    spec = spec.settled(backbone)
    clock.mark("opening")
    manifest, drawn = with_splits(manifest, seed=config.seed, cache=cache, progress=progress)
    clock.mark("splits")
    segments = [segment for segment in manifest.segments if segment.split in ("train", "val")]
    found = extract(segments, backbone, view=view, cache=cache, progress=progress).check(strict=strict)
    clock.mark("features")
    parts = Parts.of(manifest, found, texts=texts, skeleton=whose.skeleton)
    history = head.fit(parts.train, parts.val, classes=len(parts.labels), fitting=config.fitting(), progress=progress)
    temperature, threshold = calibrate(head, parts.val)
    clock.mark("fitting")
    warnings = (*(drawn.warnings if drawn else ()), *whose.notes, *_notes(parts, found))
    facts = facts_of(manifest, config, history, failures=found.failures, notes=warnings, seconds=clock.seconds)
    facts = replace(facts, words=wording.by_label if wording else {})
    model = Model(parts.labels, backbone, view, head, spec, temperature, threshold, facts, manifest, history)
    return Trained(model, history, found.failures, warnings, drawn, found.computed)


def _wording(manifest: Manifest, config: TrainConfig, head: Head) -> ClassPrompts | None:
    """What the labels mean in words, for a head that reads them."""
    if head.capabilities.reads_texts:
        return read_class_prompts(manifest.labels, templates=config.template, prompts=config.prompts)
    for name in ("template", "prompts"):
        if getattr(config, name):
            raise ConfigError(name, f"the head {config.head!r} reads no words; leave it out, or take --head zero-shot or few-shot")
    return None


def _check_joints(head: Head, backbone: Backbone) -> None:
    """A head that knows bodies is shown joints, nothing else."""
    if head.capabilities.reads_joints and not backbone.capabilities.gives_joints:
        raise ConfigError("head", f"{head.name!r} reads joints, and the backbone {backbone.name!r} gives none: take --backbone joints")


def with_splits(manifest: Manifest, *, seed: int, cache: Cache, progress: Progress) -> tuple[Manifest, SplitResult | None]:
    """The manifest with a part for every segment, and how those it lacked were drawn."""
    drawn = None
    if not {"train", "val"} <= set(manifest.splits) or any(segment.split is None for segment in manifest.segments):
        drawn = split(manifest, SplitConfig(seed=seed), cache=cache, progress=progress)
        manifest = drawn.manifest
    _check_parts(manifest)
    return manifest, drawn


def facts_of(
    manifest: Manifest,
    config: TrainConfig,
    history: History,
    *,
    failures: Sequence[Failure],
    notes: tuple[str, ...],
    seconds: dict[str, float],
) -> Facts:
    """How a model came to be."""
    return Facts(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quickstep=library_version("quickstep"),
        source=str(manifest.source or ""),
        fingerprint=manifest.fingerprint,
        splits=counts_of(manifest),
        failures=tuple(f"{failure.segment}: {failure.error}" for failure in failures),
        notes=notes,
        training=to_plain(config),
        fitting=to_plain(config.fitting()) | {"shrinkage": history.shrinkage},
        versions=versions(),
        seconds=seconds,
    )


def open_for_training(config: TrainConfig, cache: Cache | None = None, *, parts: bool = False, poses: PoseConfig | None = None) -> Backbone:
    """The backbone that the config names, its weights at hand; where none was named, CLIP or a line that says how to go on.

    With `parts`, one that lets what is seen rewrite the words (X-CLIP) gives what that needs.
    """
    spec = replace(config.spec, poses=poses.to_options() if poses else {})
    try:
        backbone = spec.open(cache)
        if parts and backbone.capabilities.prompts_by_video:
            backbone = replace(spec, embedding=PROMPTED).open(cache)
        _ = backbone.identity  # finds the weights, or says that there are none
    except WeightsError as error:
        if config.backbone is not None or config.weights is not None:
            raise
        raise WeightsError(
            f"no backbone was named and the weights of {USUAL_BACKBONE} are neither here nor can they be fetched: "
            "name `--backbone flow-hist`, which needs none, or say where they are with `--weights FOLDER`"
        ) from error
    return backbone


@dataclass(frozen=True, eq=False)
class Parts:
    """What the head is shown."""

    labels: tuple[str, ...]
    train: Examples
    val: Examples | None

    @classmethod
    def of(cls, manifest: Manifest, found: Extraction, *, texts: Texts | None = None, skeleton: Skeleton | None = None) -> Parts:
        labels = manifest.part("train").labels
        number = {label: index for index, label in enumerate(labels)}
        shown: dict[str, list[Segment]] = {"train": [], "val": []}
        for segment in manifest.segments:
            if segment in found.features:
                shown[str(segment.split)].append(segment)
        lost = sorted(set(labels) - {str(segment.label) for segment in shown["train"]})
        if lost:
            why = f"such as {found.failures[0]}" if found.failures else ""
            raise ManifestError(
                _source(manifest), f"no training video of {_listed(lost)} can be used ({len(found.failures)} failed, {why})"
            )

        def examples(segments: Sequence[Segment]) -> Examples:
            classes = np.array([number[str(segment.label)] for segment in segments], dtype=np.int64)
            return Examples([found.features[segment] for segment in segments], classes, tuple(segments), texts, skeleton)

        return cls(labels, examples(shown["train"]), examples(shown["val"]) if shown["val"] else None)


def calibrate(head: Head, val: Examples | None) -> tuple[float, float | None]:
    """The temperature, and from which score on answers can be relied on, as validation has it."""
    if val is None:
        return 1.0, None
    logits = head.scores(val.features)
    temperature = fit_temperature(logits, val.labels)
    return temperature, fit_threshold(probabilities(logits, temperature), val.labels)


def check_labels(manifest: Manifest) -> None:
    """Refuse what nothing can be learnt from."""
    source, labels = _source(manifest), manifest.labels
    if not manifest.segments:
        raise ManifestError(source, "lists no video; put videos into one folder per class")
    bare = next((segment for segment in manifest.segments if segment.label is None), None)
    if bare is not None:
        raise ManifestError(source, f"{bare} has no label, and training needs one for each video")
    if len(labels) < 2:
        raise ManifestError(source, f"has only one class ({labels[0]!r}), and there is nothing to tell apart; add videos of another")
    if len(manifest) < 2 * len(labels) and max(manifest.counts.values()) < 2:
        raise ManifestError(
            source, f"has one video for each of {len(labels)} classes, too few to learn from; give at least two of each, better ten"
        )


def _check_parts(manifest: Manifest) -> None:
    """Every label must be learnt from something."""
    learnt, source = set(manifest.part("train").labels), _source(manifest)
    absent = sorted(set(manifest.labels) - learnt)
    if absent:
        where = {str(segment.split) for segment in manifest.segments if segment.label in absent}
        raise ManifestError(
            source, f"{_listed(absent)} has no video in the train part, only in {' and '.join(sorted(where))}; move some there"
        )


def _notes(parts: Parts, found: Extraction) -> list[str]:
    """What the trainer should know."""
    notes = []
    if found.failures:
        notes.append(f"{len(found.failures)} of {len(found.failures) + len(found.features)} segments could not be used; they are listed")
    if found.damaged:
        notes.append(f"{len(found.damaged)} segments are damaged in places; what can be read of them was used")
    if parts.val is None:
        notes.append("there are no validation segments: all epochs were run, the last one is kept, and the scores are not calibrated")
    counts = Counter(parts.train.labels.tolist())
    few = [parts.labels[index] for index in range(len(parts.labels)) if counts[index] < 5]
    if few:
        notes.append(f"{_listed(few)}: fewer than 5 segments to learn from")
    return notes


def counts_of(manifest: Manifest) -> dict[str, dict[str, int]]:
    """How many segments each label has in each part."""
    return {part: {label: manifest.part(part).counts.get(label, 0) for label in manifest.labels} for part in PARTS}


def _listed(names: Sequence[str], most: int = 5) -> str:
    told = ", ".join(repr(name) for name in names[:most])
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def _source(manifest: Manifest) -> Path:
    return manifest.source or Path("manifest")


def versions() -> dict[str, str]:
    """What a model's values were made with."""
    return {name: library_version(name) for name in LIBRARIES}


def library_version(name: str) -> str:
    """The installed version, "" where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
