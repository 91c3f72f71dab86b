"""Classify files, folders, globs and lists with a model, and turn the predictions into JSON or csv rows.

An interrupted run resumes where it stopped, because the features are in the cache.
`attribute` measures which timestamps decided a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from quickstep.datasets.inputs import Inputs, gather
from quickstep.models.classifier import Prediction, Predictions
from quickstep.models.ensemble import AnyModel, load_model
from quickstep.models.pose_input import select_people
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.video import probe
from quickstep.storage.cache import Cache
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment


def predict(
    model: AnyModel | str | Path,
    inputs: Inputs,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> Predictions:
    """Classify one or several videos, folders, globs, csv lists or Segments; "-" reads paths from standard input.

    `model` is a model or its folder. `person`, for models that read poses: "auto" for the main person, a number, or "all" for a prediction
    for each person. What cannot be read becomes a failure; with `strict` its error is raised.
    """
    model = load_model(model, cache=cache)
    segments, failures = gather(inputs, stdin=stdin)
    if person is not None:
        person = PoseConfig(person=person).person
        segments, absent = select_people(segments, model.lead.backbone, person, cache=cache or Cache(), progress=progress)
        failures += absent
    if strict and failures:
        raise failures[0].error
    answer = model.predict(segments, cache=cache, progress=progress, strict=strict)
    return Predictions(answer.predictions, (*failures, *answer.failures), answer.seconds)


def to_json(predictions: Predictions, *, top: int | None = None) -> dict[str, Any]:
    """Return plain data: the predictions with their `top` labels (or all), and the failures."""
    return {
        "predictions": [_record(prediction, top) for prediction in predictions.predictions],
        "failures": [{**_segment_record(failure.segment), "error": str(failure.error)} for failure in predictions.failures],
    }


def to_rows(predictions: Predictions, *, top: int | None = None) -> list[dict[str, str]]:
    """Return a flat row for each prediction and failure: the segment, the label, then the score of each label, or the `top` ones."""
    rows = []
    for prediction in predictions.predictions:
        row = _segment_row(prediction.segment)
        row |= {"label": prediction.label, "score": repr(prediction.score), "confidence": prediction.confidence, "error": ""}
        rows.append(row | _score_columns(prediction, top))
    unscored = {"label": "", "score": "", "confidence": ""}
    rows += [{**_segment_row(failure.segment), **unscored, "error": str(failure.error)} for failure in predictions.failures]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in columns} for row in rows]


def _record(prediction: Prediction, top: int | None) -> dict[str, Any]:
    record = {
        **_segment_record(prediction.segment),
        "label": prediction.label,
        "score": prediction.score,
        "confidence": prediction.confidence,
        "scores": dict(prediction.top(len(prediction.labels) if top is None else top)),
    }
    return record if not prediction.damaged else {**record, "damaged": prediction.damaged}


def _segment_record(segment: Segment) -> dict[str, Any]:
    record = {"path": str(segment.path), "start": segment.start, "end": segment.end}
    return record if segment.person is None else {**record, "person": segment.person}


def _segment_row(segment: Segment) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in _segment_record(segment).items()}


def _score_columns(prediction: Prediction, top: int | None) -> dict[str, str]:
    if top is None:
        return {f"score:{label}": repr(float(score)) for label, score in zip(prediction.labels, prediction.scores, strict=True)}
    columns: dict[str, str] = {}
    for rank, (label, score) in enumerate(prediction.top(top), start=1):
        columns |= {f"label_{rank}": label, f"score_{rank}": repr(score)}
    return columns


MIN_SECONDS = 0.3  # a shorter part shows no movement
MAX_PARTS = 8


@dataclass(frozen=True)
class Part:
    """A part of a segment, and the probability of the segment's label when the model reads this part only."""

    start: float  # seconds of the video
    end: float
    score: float
    label: str  # the most likely label of this part


@dataclass(frozen=True)
class Attribution:
    """The parts of a segment in time order, without those that could not be read."""

    label: str
    parts: tuple[Part, ...]

    @property
    def strongest(self) -> Part | None:
        """Return the part with the highest probability."""
        return max(self.parts, key=lambda part: part.score, default=None)


def attribute(model: AnyModel, segment: Segment, label: str, *, parts: int = MAX_PARTS, cache: Cache | None = None) -> Attribution:
    """Return how likely `label` is for each part of a segment; no parts for a pose file or a very short segment."""
    if is_pose_name(segment.path):
        return Attribution(label, ())
    end = probe(segment.path).duration if segment.end is None else segment.end
    count = int(min(parts, (end - segment.start) // MIN_SECONDS))
    if count < 2:
        return Attribution(label, ())
    edges = np.linspace(segment.start, end, count + 1).tolist()
    pieces = [Segment(segment.path, start=start, end=stop, person=segment.person) for start, stop in pairwise(edges)]
    column = model.labels.index(label)
    answer = model.predict(pieces, cache=cache)
    scored = [Part(one.segment.start, one.segment.end or end, float(one.scores[column]), one.label) for one in answer.predictions]
    return Attribution(label, tuple(scored))
