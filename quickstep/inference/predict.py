"""predict: files, folders, globs and lists -> what a model says of each; and the same as JSON or csv rows.

Knows no scores of its own: `Model.predict` gives them. Stopped in the middle, it goes on where it was, because the cache remembers.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from quickstep.datasets.manifest import read_manifest
from quickstep.datasets.readers.pose_sets import is_set
from quickstep.models.ensemble import AnyModel, lead_of
from quickstep.models.model import Prediction, Predictions
from quickstep.models.pose_input import of_person
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.formats import is_pose_file
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

LISTS = {".csv", ".tsv", ".txt"}


def predict(
    model: AnyModel,
    inputs: Iterable[Segment | str | Path],
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
        segments, unseen = of_person(segments, lead_of(model).backbone, config.person, cache=cache or Cache(), progress=progress)
        failures += unseen
    if strict and failures:
        raise failures[0].error
    found = model.predict(segments, cache=cache, progress=progress, strict=strict)
    return Predictions(found.predictions, (*failures, *found.failures), found.seconds)


def gather(inputs: Iterable[Segment | str | Path], *, stdin: IO[str] | None = None) -> tuple[list[Segment], list[Failure]]:
    """The segments that inputs stand for, each once, and what stands for nothing."""
    segments: dict[Segment, None] = {}
    failures: list[Failure] = []
    for item in inputs:
        try:
            segments.update(dict.fromkeys(_stands_for(item, stdin)))
        except (ManifestError, MediaError) as error:
            failures.append(Failure(Segment(_place(item)), error))
    if not segments and not failures:
        raise ConfigError("inputs", "name at least one video, folder, glob or list of videos")
    return list(segments), failures


def _stands_for(item: Segment | str | Path, stdin: IO[str] | None) -> list[Segment]:
    if isinstance(item, Segment):
        return [item]
    if str(item) == "-":
        return [Segment(Path(line.rstrip("\r\n"))) for line in stdin or sys.stdin if line.strip()]
    path = Path(item).expanduser()
    if (path.is_dir() and not is_pose_file(path)) or (path.is_file() and (path.suffix.lower() in LISTS or is_set(path))):
        return _listed(path)
    if not os.path.lexists(path) and glob.has_magic(str(path)):
        return _matching(path)
    return [Segment(path)]


def _listed(path: Path) -> list[Segment]:
    segments = list(read_manifest(path, labelled=False).segments)
    if not segments:
        raise ManifestError(path, "holds no videos")
    return segments


def _matching(pattern: Path) -> list[Segment]:
    found = sorted(Path(name) for name in glob.glob(str(pattern), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        raise MediaError(pattern, "nothing is called so")
    return [segment for path in found for segment in (_listed(path) if path.is_dir() else [Segment(path)])]


def _place(item: Segment | str | Path) -> Path:
    return item.path if isinstance(item, Segment) else Path(item)


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
