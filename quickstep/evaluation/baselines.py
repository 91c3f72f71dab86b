"""Baselines: the majority class, file metadata alone, and one middle frame or pose alone; fitted and tested as the model is.

A baseline that cannot be computed says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import Backbone, embeds_text, reads_poses
from quickstep.backbones.frame_statistics import FrameStatistics, for_one_frame
from quickstep.datasets.audit.metadata_shortcuts import MetadataClassifier, Shortcut, cached_video_info, find_shortcut, metadata_features
from quickstep.datasets.class_prompts import ClassPrompts
from quickstep.datasets.manifest import group_of
from quickstep.evaluation.report import Baseline
from quickstep.heads import Examples, FitConfig, Head, open_head
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.models.pose_input import are_pose_files
from quickstep.models.text_features import encode_prompts
from quickstep.storage.cache import Cache
from quickstep.types.confidence_intervals import difference, share
from quickstep.types.errors import ConfigError, MediaError, QuickstepError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment
from quickstep.types.signals import Texts
from quickstep.types.view import View

VIDEO_METADATA = "size, length, frame rate, codec; without the frames"
POSE_METADATA = "length, frame rate, size of the file; without the joints"
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """The segments that the model was fitted, validated and tested on, and the labels that it predicted for the tested ones."""

    train: tuple[Segment, ...]
    validation: tuple[Segment, ...]
    tested: tuple[Segment, ...]
    predicted: tuple[str, ...]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which tested segments the model classified correctly (N,)."""
        return np.array([label == segment.label for label, segment in zip(self.predicted, self.tested)])


@dataclass(frozen=True)
class BaselinePredictions:
    """The labels that a baseline predicted for the tested segments; None for segments that it could not read."""

    labels: tuple[str | None, ...]
    about: str


def compute_baselines(model: Model, task: Task, *, cache: Cache, progress: Progress = silent, seed: int = 0) -> tuple[Baseline, ...]:
    """Compute all baselines and compare each with the model on the same segments."""
    return compute_pooled_baselines([(model, task)], cache=cache, progress=progress, seed=seed)


def compute_pooled_baselines(
    tasks: Sequence[tuple[Model, Task]], *, cache: Cache, progress: Progress = silent, seed: int = 0
) -> tuple[Baseline, ...]:
    """Compute all baselines in each fold, and compare the predictions of all folds with those of the folds' models."""
    still = still_of(tasks[0][0])
    one_still = partial(middle_pose if still == "pose" else middle_frame, cache=cache, progress=progress)
    computations: list[tuple[str, str, Callable[[Model, Task], BaselinePredictions]]] = [
        (still, f"the middle {still} of each video alone", one_still),
        ("metadata", VIDEO_METADATA, lambda _, task: metadata(task, cache=cache, seed=seed)),
        ("majority", "", lambda _, task: majority(task)),
    ]
    baselines = []
    for number, (name, about, compute) in enumerate(computations):
        progress("baselines", number, len(computations))
        try:
            baselines.append(_compare(name, [(compute(model, task), task) for model, task in tasks], seed=seed))
        except QuickstepError as error:
            baselines.append(Baseline(name, about, None, None, problem=str(error)))
    progress("baselines", len(computations), len(computations))
    return tuple(baselines)


def majority(task: Task) -> BaselinePredictions:
    """Predict the majority class of the training part for every segment."""
    label = majority_label(task.train or task.tested)
    source = "" if task.train else ", the majority class of the test part, because there is no training part"
    return BaselinePredictions((label,) * len(task.tested), f"always “{label}”{source}")


def majority_label(segments: Sequence[Segment]) -> str:
    """Return the most frequent label; of equally frequent ones the first by name."""
    counts: dict[str, int] = {}
    for segment in segments:
        counts[segment.label or ""] = counts.get(segment.label or "", 0) + 1
    return min(counts, key=lambda label: (-counts[label], label))


def metadata(task: Task, *, cache: Cache, seed: int = 0) -> BaselinePredictions:
    """Classify by the files' metadata and the segments' length alone."""
    about = POSE_METADATA if are_pose_files([segment.path for segment in task.tested]) else VIDEO_METADATA
    if not task.train:
        raise ConfigError("data", "has no training videos: the model was made from class descriptions")
    traits = _traits((*task.train, *task.tested), cache)
    train, tested = ([segment for segment in part if segment in traits] for part in (task.train, task.tested))
    if len({segment.label for segment in train}) < 2:
        raise _too_few_readable(task)
    classifier = MetadataClassifier(seed=seed).fit([traits[segment] for segment in train], [str(segment.label) for segment in train])
    labels = classifier.predict([traits[segment] for segment in tested]) if tested else []
    predicted = dict(zip(tested, labels))
    return BaselinePredictions(tuple(predicted.get(segment) for segment in task.tested), about)


def shortcut(task: Task, *, cache: Cache, seed: int = 0) -> Shortcut | None:
    """Cross-validate the metadata over all segments, which is more certain than the tested ones alone."""
    traits = _traits((*task.train, *task.validation, *task.tested), cache)
    segments = list(traits)
    return find_shortcut(list(traits.values()), [str(s.label) for s in segments], [group_of(s) for s in segments], seed=seed)


def _traits(segments: Sequence[Segment], cache: Cache) -> dict[Segment, dict[str, float | str]]:
    """Return the metadata of the segments that can be read."""
    traits = {}
    for segment in segments:
        with suppress(MediaError):
            traits[segment] = metadata_features(segment, cached_video_info(segment.path, cache))
    return traits


def middle_frame(model: Model, task: Task, *, cache: Cache, progress: Progress = silent) -> BaselinePredictions:
    """Fit the model's kind of head on one middle frame, as features of its own backbone or as image statistics.

    The validation part decides between the two: with a backbone for motion alone, one frame would seem worse than it is.
    """
    view = replace(model.view, frames=1, fps=None, windows=1, stride=None, crops=1)
    if model.is_zero_shot:
        return _zero_shot_on_one_frame(model, task, view, cache=cache, progress=progress)
    refit = _Refit(model, task, cache, progress)
    own, statistics = refit.fit_on(for_one_frame(model.backbone, view), view), refit.fit_on(FrameStatistics(), FrameStatistics.view)
    chosen, by = (own, model.backbone.name) if own.loss <= statistics.loss else (statistics, "image statistics")
    return BaselinePredictions(chosen.labels, f"the middle frame of each video, with features of {by}")


def still_of(model: Model) -> str:
    """Return what one timestamp gives the model: a "frame", or a "pose"."""
    return "pose" if reads_poses(model.backbone) else "frame"


def middle_pose(model: Model, task: Task, *, cache: Cache, progress: Progress = silent) -> BaselinePredictions:
    """Fit a linear head on one pose; most heads for joints need a movement."""
    assert reads_poses(model.backbone)
    joints = replace(model.backbone.spec, name="joints").open(cache)
    refitted = _Refit(model, task, cache, progress).fit_on(joints, View(frames=1))
    return BaselinePredictions(refitted.labels, "the middle pose of each segment alone")


def _zero_shot_on_one_frame(model: Model, task: Task, view: View, *, cache: Cache, progress: Progress) -> BaselinePredictions:
    """Score one frame by the model's class descriptions."""
    features = extract(task.tested, for_one_frame(model.backbone, view), view=view, cache=cache, progress=progress).features
    readable = [segment for segment in task.tested if segment in features]
    numbers = model.scores([features[segment] for segment in readable]).argmax(axis=1) if readable else []
    predicted = {segment: model.labels[number] for segment, number in zip(readable, numbers)}
    about = "the same class descriptions, on the middle frame of each video"
    return BaselinePredictions(tuple(predicted.get(segment) for segment in task.tested), about)


@dataclass(frozen=True)
class _Refitted:
    """The labels that a head predicted after a fit on other features, and its validation loss."""

    labels: tuple[str | None, ...]
    loss: float


@dataclass(frozen=True)
class _Refit:
    """Fits the model's kind of head on other features of the same segments."""

    model: Model
    task: Task
    cache: Cache
    progress: Progress

    def fit_on(self, backbone: Backbone, view: View) -> _Refitted:
        """Extract features, fit on the training part with early stopping on validation, and classify the tested segments."""
        task = self.task
        segments = [*task.train, *task.validation, *task.tested]
        extraction = extract(segments, backbone, view=view, cache=self.cache, progress=self.progress)
        texts = self._texts(backbone)
        train, validation = (self._examples(part, extraction, texts) for part in (task.train, task.validation))
        if len(set(train.labels.tolist())) < 2:
            raise _too_few_readable(task)
        head = self._head(backbone)
        fitting = _fit_config(self.model)
        history = head.fit(train, validation if len(validation) else None, classes=len(self.model.labels), fitting=fitting)
        readable = [segment for segment in task.tested if segment in extraction.features]
        numbers = head.scores([extraction.features[segment] for segment in readable]).argmax(axis=1) if readable else []
        predicted = {segment: self.model.labels[number] for segment, number in zip(readable, numbers)}
        loss = min(history.val_loss or history.train_loss)
        return _Refitted(tuple(predicted.get(segment) for segment in task.tested), loss)

    def _head(self, backbone: Backbone) -> Head:
        """Return the model's kind of head; a linear one for a single pose, or where the head needs texts and the backbone embeds none."""
        without_texts = self.model.head.capabilities.reads_texts and not embeds_text(backbone)
        if without_texts or reads_poses(backbone):
            return open_head("linear")
        kind: Any = type(self.model.head)
        head: Head = kind(self.model.head.config)
        return head

    def _texts(self, backbone: Backbone) -> Texts | None:
        words = self.model.facts.words
        if not words or not embeds_text(backbone):
            return None
        prompts = ClassPrompts(self.model.labels, tuple(words[label] for label in self.model.labels))
        return encode_prompts(backbone, prompts, cache=self.cache)

    def _examples(self, segments: Sequence[Segment], extraction: Extraction, texts: Texts | None) -> Examples:
        numbers = {label: index for index, label in enumerate(self.model.labels)}
        readable = [segment for segment in segments if segment in extraction.features and segment.label in numbers]
        labels = np.array([numbers[str(segment.label)] for segment in readable], dtype=np.int64)
        return Examples([extraction.features[segment] for segment in readable], labels, tuple(readable), texts)


def _too_few_readable(task: Task) -> MediaError:
    return MediaError(task.train[0].path, f"of {len(task.train)} training segments too few could be read to fit a baseline")


def _fit_config(model: Model) -> FitConfig:
    """Return the loop's settings that the model was fitted with."""
    names = {field.name for field in fields(FitConfig)}
    return FitConfig(**{name: value for name, value in model.facts.fitting.items() if name in names})


def _compare(name: str, folds: Sequence[tuple[BaselinePredictions, Task]], *, seed: int) -> Baseline:
    """Compare a baseline with the model on the segments that both could read."""
    labels = [label for predictions, _ in folds for label in predictions.labels]
    segments = [segment for _, task in folds for segment in task.tested]
    constants = [majority_label(task.train or task.tested) for _, task in folds for _ in task.tested]
    about = "; in other folds ".join(list(dict.fromkeys(predictions.about for predictions, _ in folds))[:2])
    readable = np.array([label is not None for label in labels])
    if not readable.any():
        return Baseline(name, about, None, None, problem="none of the tested segments could be read for it")
    groups = [group_of(segment) for segment, is_readable in zip(segments, readable) if is_readable]
    correct = np.array([label == segment.label for label, segment in zip(labels, segments)])[readable]
    constant_correct = np.array([constant == segment.label for constant, segment in zip(constants, segments)])[readable]
    model_correct = np.concatenate([task.correct for _, task in folds])[readable]
    missing = len(readable) - int(readable.sum())
    return Baseline(
        name=name,
        about=about,
        accuracy=share(correct, groups, seed=seed),
        difference=difference(model_correct, correct, groups, seed=seed),
        over_majority=difference(correct, constant_correct, groups, seed=seed),
        note=f"{missing} of {len(readable)} tested segments could not be read for it and are left out" if missing else "",
    )
