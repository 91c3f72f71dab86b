"""What must be beaten: the commonest label, the file's metadata alone, one middle frame alone; fitted and tested as the model is.

A Baseline that cannot be made says why; nothing is guessed in its place.
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
from quickstep.backbones.frame_statistics import Still
from quickstep.backbones.still_frame import on_one_frame
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

METADATA = "size, length, frame rate, codec; no picture looked at"
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What the model was fitted and chosen on, and what it was tested on, with what it said there."""

    train: tuple[Segment, ...]
    validation: tuple[Segment, ...]
    tested: tuple[Segment, ...]
    said: tuple[str, ...]  # by the model, of each tested segment

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.array([name == segment.label for name, segment in zip(self.said, self.tested)])


@dataclass(frozen=True)
class Answers:
    """What a baseline said of each tested segment; None where it could not look."""

    said: tuple[str | None, ...]
    about: str


def beside(model: Model, task: Task, *, cache: Cache, progress: Progress = silent, seed: int = 0) -> tuple[Baseline, ...]:
    """One middle frame, file metadata and the commonest label, each held against the model on the same segments."""
    still = middle_pose if still_of(model) == "pose" else middle_frame
    alone = partial(still, model, task, cache=cache, progress=progress)
    makers: list[tuple[str, str, Callable[[], Answers]]] = [
        (still_of(model), f"the middle {still_of(model)} of each video, nothing else", alone),
        ("metadata", METADATA, partial(metadata, task, cache=cache, seed=seed)),
        ("majority", "", partial(majority, task)),
    ]
    made = []
    for place, (name, about, make) in enumerate(makers):
        progress("baselines", place, len(makers))
        try:
            made.append(_measured(name, make(), task, seed=seed))
        except QuickstepError as error:
            made.append(Baseline(name, about, None, None, problem=str(error)))
    progress("baselines", len(makers), len(makers))
    return tuple(made)


def majority(task: Task) -> Answers:
    """Always the label that training has most of; of equally common ones the first by name."""
    label = commonest(task.train or task.tested)
    told = "" if task.train else ", the commonest of the test itself, as there is no training"
    return Answers((label,) * len(task.tested), f"saying “{label}”{told}")


def commonest(segments: Sequence[Segment]) -> str:
    """The label that most segments have; of equally common ones the first by name."""
    counts: dict[str, int] = {}
    for segment in segments:
        counts[segment.label or ""] = counts.get(segment.label or "", 0) + 1
    return min(counts, key=lambda label: (-counts[label], label))


def metadata(task: Task, *, cache: Cache, seed: int = 0) -> Answers:
    """What trees make of the files' headers, and of how long a segment is."""
    about = (
        "length, frame rate and size of the file; no joint is read"
        if are_pose_files([segment.path for segment in task.tested])
        else METADATA
    )
    if not task.train:
        raise ConfigError("data", "there is nothing to fit on: the model learnt from words, not from videos")
    traits = _traits((*task.train, *task.tested), cache)
    train, tested = ([segment for segment in part if segment in traits] for part in (task.train, task.tested))
    if len({segment.label for segment in train}) < 2:
        raise MediaError(task.train[0].path, f"of {len(task.train)} training segments too few could be read to fit on")
    classifier = MetadataClassifier(seed=seed).fit([traits[segment] for segment in train], [str(segment.label) for segment in train])
    named = classifier.predict([traits[segment] for segment in tested]) if tested else []
    answers = dict(zip(tested, named))
    return Answers(tuple(answers.get(segment) for segment in task.tested), about)


def shortcut(task: Task, *, cache: Cache, seed: int = 0) -> Shortcut | None:
    """How well metadata does over all segments, cross-validated: surer than the few that were tested."""
    traits = _traits((*task.train, *task.validation, *task.tested), cache)
    segments = list(traits)
    return find_shortcut(list(traits.values()), [str(s.label) for s in segments], [group_of(s) for s in segments], seed=seed)


def _traits(segments: Sequence[Segment], cache: Cache) -> dict[Segment, dict[str, float | str]]:
    """What the headers say, of those that can be read."""
    found = {}
    for segment in segments:
        with suppress(MediaError):
            found[segment] = metadata_features(segment, cached_video_info(segment.path, cache))
    return found


def middle_frame(model: Model, task: Task, *, cache: Cache, progress: Progress = silent) -> Answers:
    """The model's head over one middle frame, seen by its own backbone or by a plain description of pictures.

    Which of the two is decided on validation: a backbone that looks at motion alone would make one frame seem worse than it is.
    """
    view = replace(model.view, frames=1, fps=None, windows=1, stride=None, crops=1)
    if model.is_zero_shot:
        return _by_words(model, task, view, cache=cache, progress=progress)
    looker = _Looker(model, task, cache, progress)
    own, plain = looker.look(on_one_frame(model.backbone, view), view), looker.look(Still(), Still.view)
    chosen, by = (own, model.backbone.name) if own.surprise <= plain.surprise else (plain, "a plain description of pictures")
    return Answers(chosen.said, f"the middle frame of each video, seen by {by}")


def still_of(model: Model) -> str:
    """What one moment shows the model: a "frame", or of people a "pose"."""
    return "pose" if reads_poses(model.backbone) else "frame"


def middle_pose(model: Model, task: Task, *, cache: Cache, progress: Progress = silent) -> Answers:
    """A linear head over one pose: most heads that read joints need a movement."""
    assert reads_poses(model.backbone)
    joints = replace(model.backbone.spec, name="joints").open(cache)
    looked = _Looker(model, task, cache, progress).look(joints, View(frames=1))
    return Answers(looked.said, "the pose in the middle of each segment, nothing else")


def _by_words(model: Model, task: Task, view: View, *, cache: Cache, progress: Progress) -> Answers:
    """What the words alone say of one frame."""
    found = extract(task.tested, on_one_frame(model.backbone, view), view=view, cache=cache, progress=progress).features
    seen = [segment for segment in task.tested if segment in found]
    named = model.scores([found[segment] for segment in seen]).argmax(axis=1) if seen else []
    answers = {segment: model.labels[index] for segment, index in zip(seen, named)}
    return Answers(tuple(answers.get(segment) for segment in task.tested), "the same words, on the middle frame of each video")


@dataclass(frozen=True)
class _Looked:
    """What a head said after fitting on one way of looking, and how surprised it was by validation."""

    said: tuple[str | None, ...]
    surprise: float


@dataclass(frozen=True)
class _Looker:
    """Fits the model's kind of head on other features of the same segments."""

    model: Model
    task: Task
    cache: Cache
    progress: Progress

    def look(self, backbone: Backbone, view: View) -> _Looked:
        """Extract, fit on train, stop by validation, answer for what was tested."""
        task = self.task
        found = extract([*task.train, *task.validation, *task.tested], backbone, view=view, cache=self.cache, progress=self.progress)
        texts = self._texts(backbone)
        train, validation = (self._examples(part, found, texts) for part in (task.train, task.validation))
        if len(set(train.labels.tolist())) < 2:
            raise MediaError(task.train[0].path, f"of {len(task.train)} training segments too few could be read to fit on")
        head = self._head(backbone)
        history = head.fit(train, validation if len(validation) else None, classes=len(self.model.labels), fitting=_fitting(self.model))
        seen = [segment for segment in task.tested if segment in found.features]
        named = head.scores([found.features[segment] for segment in seen]).argmax(axis=1) if seen else []
        answers = {segment: self.model.labels[index] for segment, index in zip(seen, named)}
        surprise = min(history.val_loss or history.train_loss)
        return _Looked(tuple(answers.get(segment) for segment in task.tested), surprise)

    def _head(self, backbone: Backbone) -> Head:
        """The model's kind of head; a linear one where its own reads words and the backbone does not, or where there is one pose."""
        blind = self.model.head.capabilities.reads_texts and not embeds_text(backbone)
        if blind or reads_poses(backbone):
            return open_head("linear")
        kind: Any = type(self.model.head)
        head: Head = kind(self.model.head.config)
        return head

    def _texts(self, backbone: Backbone) -> Texts | None:
        words = self.model.facts.words
        if not words or not embeds_text(backbone):
            return None
        return encode_prompts(
            backbone, ClassPrompts(self.model.labels, tuple(words[label] for label in self.model.labels)), cache=self.cache
        )

    def _examples(self, segments: Sequence[Segment], found: Extraction, texts: Texts | None) -> Examples:
        place = {label: index for index, label in enumerate(self.model.labels)}
        seen = [segment for segment in segments if segment in found.features and segment.label in place]
        labels = np.array([place[str(segment.label)] for segment in seen], dtype=np.int64)
        return Examples([found.features[segment] for segment in seen], labels, tuple(seen), texts)


def _fitting(model: Model) -> FitConfig:
    """The loop's settings under which the model was fitted."""
    known = {field.name for field in fields(FitConfig)}
    return FitConfig(**{name: value for name, value in model.facts.fitting.items() if name in known})


def _measured(name: str, answers: Answers, task: Task, *, seed: int) -> Baseline:
    """The baseline held against the model where both could look."""
    both = np.array([said is not None for said in answers.said])
    if not both.any():
        return Baseline(name, answers.about, None, None, problem="none of the tested segments could be read for it")
    tested = [segment for segment, seen in zip(task.tested, both) if seen]
    groups = [group_of(segment) for segment in tested]
    right = np.array([said == segment.label for said, segment in zip(answers.said, task.tested)])[both]
    usual = commonest(task.train or task.tested)
    always = np.array([segment.label == usual for segment in tested])
    missed = len(both) - int(both.sum())
    return Baseline(
        name=name,
        about=answers.about,
        accuracy=share(right, groups, seed=seed),
        difference=difference(task.right[both], right, groups, seed=seed),
        over_majority=difference(right, always, groups, seed=seed),
        note=f"{missed} of {len(both)} tested segments could not be read for it and are left out" if missed else "",
    )
