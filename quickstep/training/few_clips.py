"""Train at once on the few clips that somebody has just recorded: every clip is used, and held-out clips measure the result."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quickstep.datasets.manifest import Manifest
from quickstep.heads import Examples, FitConfig, History, open_head
from quickstep.heads.inner_folds import Bools, grouped_folds, training_and_held_out
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.models.pose_input import SkeletonChoice
from quickstep.storage.cache import Cache
from quickstep.training.provenance import make_facts
from quickstep.training.train import Parts, check_labels
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure

FEW_SHOT, USUAL = "prototypes", "linear"
ENOUGH = 16  # clips of each class from which the usual head replaces the few-shot head


@dataclass(frozen=True, eq=False)
class TrainedOnClips:
    """The model, and how many clips it recognized while they were held out."""

    model: Model
    right: int
    tested: int  # 0 where no clip could be held out
    by_person: bool  # whether the people in the held-out clips were held out too
    failures: tuple[Failure, ...] = ()


def train_on_clips(clips: Manifest, like: Model, *, cache: Cache | None = None, progress: Progress = silent) -> TrainedOnClips:
    """Fit a head to all clips, on the backbone of the model `like`; the group of a clip is the person in it."""
    check_labels(clips)
    clock = Clock()
    clips = replace(clips, segments=tuple(replace(segment, split="train") for segment in clips.segments))
    backbone, view = like.backbone, like.view
    extraction = extract(clips.segments, backbone, view=view, cache=cache, progress=progress)
    clock.mark("features")
    examples = Parts.of(clips, extraction, skeleton=SkeletonChoice(backbone).skeleton).train
    name = FEW_SHOT if min(clips.counts.values()) < ENOUGH else USUAL
    head, fitting = open_head(name, {}), FitConfig()
    history: History = head.fit(examples, None, classes=len(clips.labels), fitting=fitting, progress=silent)
    right, tested = _held_out(name, examples, len(clips.labels))
    clock.mark("fitting")
    people = {segment.group for segment in clips.segments}
    note = f"{right} of {tested} clips were recognized while they were held out; the model is fitted to all of them"
    facts = make_facts(
        clips,
        failures=extraction.failures,
        notes=(note,) if tested else (),
        training={"head": name, "backbone": like.spec.name},
        fitting={"shrinkage": history.shrinkage},
        seconds=clock.seconds,
    )
    model = Model(clips.labels, backbone, view, head, like.spec, 1.0, None, facts, clips, history)
    return TrainedOnClips(model, right, tested, len(people) >= 2 * len(clips.labels), extraction.failures)


def _held_out(name: str, examples: Examples, classes: int) -> tuple[int, int]:
    """Return how many examples heads recognize that were fitted without them, and how many were tested."""
    folds = grouped_folds(examples.labels, examples.groups, np.random.default_rng(0))
    right = tested = 0
    for rest, held_out in training_and_held_out(folds, examples.labels):
        head = open_head(name, {})
        head.fit(_part(examples, rest), None, classes=classes, fitting=FitConfig(), progress=silent)
        features = _part(examples, held_out).features
        right += int((head.scores(features).argmax(axis=1) == examples.labels[held_out]).sum())
        tested += len(features)
    return right, tested


def _part(examples: Examples, chosen: Bools) -> Examples:
    places: list[int] = np.flatnonzero(chosen).tolist()
    return replace(
        examples,
        features=[examples.features[index] for index in places],
        labels=examples.labels[places],
        segments=tuple(examples.segments[index] for index in places),
    )
