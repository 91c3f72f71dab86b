"""predict: files, folders, globs and lists -> what a model says of each; and the same as JSON or csv rows.

Knows no scores of its own: `Model.predict` gives them. Stopped in the middle, it goes on where it was, because the cache remembers.
"""

from __future__ import annotations

from typing import IO, Any

from quickstep.datasets.inputs import Inputs, gather
from quickstep.models.ensemble import AnyModel
from quickstep.models.pose_input import select_people
from quickstep.models.predictions import Prediction, Predictions
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment


def predict(
    model: AnyModel,
    inputs: Inputs,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> Predictions:
    """Names what `inputs` stand for: videos, folders, globs, lists (csv), segments, or "-" for paths on standard input.

    `person`, for models that look at people: "auto" for the dancer, a number, or "all" for an answer a person.
    """
    segments, failures = gather(inputs, stdin=stdin)
    if person is not None:
        config = PoseConfig(person=person)
        segments, unseen = select_people(segments, model.lead.backbone, config.person, cache=cache or Cache(), progress=progress)
        failures += unseen
    if strict and failures:
        raise failures[0].error
    found = model.predict(segments, cache=cache, progress=progress, strict=strict)
    return Predictions(found.predictions, (*failures, *found.failures), found.seconds)


def to_json(predictions: Predictions, *, top: int | None = None) -> dict[str, Any]:
    """Plain data: a list of predictions with the `top` labels (or all), and a list of failures."""
    return {
        "predictions": [_record(each, top) for each in predictions.predictions],
        "failures": [{**_where(failure.segment), "error": str(failure.error)} for failure in predictions.failures],
    }


def _record(prediction: Prediction, top: int | None) -> dict[str, Any]:
    ranked = prediction.top(len(prediction.labels) if top is None else top)
    record = {
        **_where(prediction.segment),
        "label": prediction.label,
        "score": prediction.score,
        "sure": prediction.sure,
        "scores": dict(ranked),
    }
    return record if not prediction.damaged else {**record, "damaged": prediction.damaged}


def _where(segment: Segment) -> dict[str, Any]:
    where = {"path": str(segment.path), "start": segment.start, "end": segment.end}
    return where if segment.person is None else {**where, "person": segment.person}


def to_rows(predictions: Predictions, *, top: int | None = None) -> list[dict[str, str]]:
    """One flat row each for csv: what was looked at, the answer, then the score of each label (or the `top` ones in order)."""
    rows = []
    for each in predictions.predictions:
        row = {name: "" if value is None else str(value) for name, value in _where(each.segment).items()}
        row |= {"label": each.label, "score": repr(each.score), "sure": {True: "yes", False: "no", None: ""}[each.sure], "error": ""}
        if top is None:
            row |= {f"score:{label}": repr(float(score)) for label, score in zip(each.labels, each.scores, strict=True)}
        else:
            row |= {
                f"{part}_{i}": text
                for i, pair in enumerate(each.top(top), 1)
                for part, text in zip(("label", "score"), (pair[0], repr(pair[1])))
            }
        rows.append(row)
    for failure in predictions.failures:
        where = {name: "" if value is None else str(value) for name, value in _where(failure.segment).items()}
        rows.append({**where, "label": "", "score": "", "sure": "", "error": str(failure.error)})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in columns} for row in rows]
