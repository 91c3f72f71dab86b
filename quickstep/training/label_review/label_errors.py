"""Rank segments by how likely their label is wrong, with heads that were not fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import group_of
from quickstep.heads import Examples
from quickstep.heads.inner_folds import fold_numbers
from quickstep.models.classifier import probabilities
from quickstep.models.ensemble import AnyModel, Ensemble, load_model
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.models.pose_input import SkeletonChoice
from quickstep.storage.cache import Cache
from quickstep.training.refit import fit_config, new_head
from quickstep.types.errors import QuickstepError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

FOLDS = 4
CLOSE_CALL = 0.5  # a smaller margin between the two most likely labels is mentioned

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Suspect:
    """A segment with its label and the scores of each label."""

    segment: Segment
    labels: tuple[str, ...]
    scores: Scores  # (C,), summing to 1
    held_out: bool  # scored by a head that was not fitted to this segment

    @property
    def predicted(self) -> str:
        """The most likely label."""
        return self.labels[int(self.scores.argmax())]

    @property
    def label_score(self) -> float:
        """The probability of the given label; 0 for a label that the model does not have."""
        label = self.segment.label
        return float(self.scores[self.labels.index(label)]) if label in self.labels else 0.0

    @property
    def margin(self) -> float:
        """The difference between the two highest scores."""
        first, second = np.sort(self.scores)[::-1][:2]
        return float(first - second)

    @property
    def disagrees(self) -> bool:
        """Whether the most likely label is not the given one."""
        return self.segment.label is not None and self.predicted != self.segment.label

    @property
    def doubt(self) -> float:
        """How much the label should be checked, from 0 to 2: disagreements first, then close calls."""
        if self.segment.label is None:
            return 1.0 - self.margin
        return 1.0 + (1.0 - self.label_score) if self.disagrees else 1.0 - self.margin

    @property
    def reason(self) -> str:
        """Why the segment is worth checking, in a sentence."""
        who = "A head that was not fitted to this segment" if self.held_out else "The model"
        if self.segment.label is None:
            return f"{who} predicts {self.predicted!r}; it has no label yet."
        percent = f"{100 * self.scores.max():.0f} %"
        if self.disagrees:
            return f"{who} predicts {self.predicted!r} ({percent}); the label is {self.segment.label!r}."
        if self.margin < CLOSE_CALL:
            return f"{who} predicts {self.predicted!r} as well, but with little confidence ({percent})."
        return f"{who} predicts {self.predicted!r} as well ({percent})."


@dataclass(frozen=True, eq=False)
class Suspects:
    """Every segment that could be scored, the most suspicious first."""

    suspects: tuple[Suspect, ...]
    failures: tuple[Failure, ...] = ()


def suspects(
    model: AnyModel | str | Path, manifest: ManifestSource, *, cache: Cache | None = None, progress: Progress = silent, seed: int = 0
) -> Suspects:
    """Rank the segments of a manifest; those that the model was fitted to are scored by heads of its kind that were not."""
    cache = cache or Cache()
    model = load_model(model, cache=cache)
    segments = as_manifest(manifest).segments
    predicted = model.predict(segments, cache=cache, progress=progress)
    held_out = _held_out_scores(model, segments, cache=cache, progress=progress, seed=seed)
    ranked = [
        Suspect(prediction.segment, model.labels, held_out.get(prediction.segment, prediction.scores), prediction.segment in held_out)
        for prediction in predicted.predictions
    ]
    return Suspects(tuple(sorted(ranked, key=lambda suspect: (-suspect.doubt, str(suspect.segment)))), predicted.failures)


def _held_out_scores(model: AnyModel, segments: Sequence[Segment], *, cache: Cache, progress: Progress, seed: int) -> dict[Segment, Scores]:
    """Score training segments, each by a head fitted to the other folds; empty where such a head cannot be fitted."""
    trained = [segment for segment in segments if segment.split == "train" and segment.label in model.labels]
    if isinstance(model, Ensemble) or not trained or model.is_zero_shot or model.head.capabilities.reads_texts:
        return {}
    extraction = extract(trained, model.backbone, view=model.view, cache=cache, progress=progress)
    trained = [segment for segment in trained if segment in extraction.features]
    folds = _folds(trained, seed)
    scores: dict[Segment, Scores] = {}
    for number, held_out in enumerate(folds):
        progress("second opinion", number, len(folds))
        rest = [segment for segment in trained if segment not in held_out]
        if {segment.label for segment in rest} == set(model.labels):
            scores |= _fit_and_score(model, extraction, rest, held_out)
    progress("second opinion", len(folds), len(folds))
    return scores


def _folds(segments: Sequence[Segment], seed: int) -> list[dict[Segment, None]]:
    """Divide the segments into folds with similar shares of each class; no group is in two folds."""
    names = sorted({str(segment.label) for segment in segments})
    labels = np.array([names.index(str(segment.label)) for segment in segments], dtype=np.int64)
    numbers = fold_numbers(labels, [group_of(segment) for segment in segments], FOLDS, np.random.default_rng(seed))
    if numbers is None:
        return []
    members = ((segment for segment, number in zip(segments, numbers, strict=True) if number == fold) for fold in np.unique(numbers))
    return [dict.fromkeys(fold) for fold in members]


def _fit_and_score(model: Model, extraction: Extraction, rest: Sequence[Segment], held_out: dict[Segment, None]) -> dict[Segment, Scores]:
    head = new_head(model)
    number = {label: place for place, label in enumerate(model.labels)}
    labels = np.array([number[str(segment.label)] for segment in rest], dtype=np.int64)
    features = extraction.features
    examples = Examples([features[segment] for segment in rest], labels, tuple(rest), None, SkeletonChoice(model.backbone).skeleton)
    try:
        head.fit(examples, None, classes=len(model.labels), fitting=fit_config(model))
    except QuickstepError:  # too few segments for this head: the model's own scores are used
        return {}
    rows = probabilities(head.scores([features[segment] for segment in held_out]), model.temperature)
    return dict(zip(held_out, rows, strict=True))
