"""Predict batch by batch, and write files of predictions that grow: what is in such a file already is not computed again.

A row has the digests of its model and of its video, so that another model or a changed video is noticed. Only one batch of predictions is
in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from quickstep.datasets.inputs import Inputs, gather
from quickstep.inference.prediction_files.formats import (
    CsvFile,
    JsonLinesFile,
    PredictionFile,
    Source,
    csv_columns,
    digest_of_video,
    prediction_file,
    row_key,
)
from quickstep.models.classifier import Predictions
from quickstep.models.ensemble import AnyModel, load_model
from quickstep.models.pose_input import select_people
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

BATCH = 64  # segments that are predicted together

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenPredictions:
    """What was written to a file of predictions."""

    path: Path
    predicted: int = 0  # new rows
    kept: int = 0  # rows that were in the file already
    replaced: int = 0  # rows of another model, of changed videos or of failures, which were computed again
    failures: tuple[Failure, ...] = ()


def predict_batches(
    model: AnyModel | str | Path,
    inputs: Inputs,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> Iterator[Predictions]:
    """Yield what `predict` returns, batch by batch, as soon as each is ready."""
    model = load_model(model, cache=cache)
    segments, failures = gather(inputs, stdin=stdin)
    if failures:
        _raise_if_strict(failures, strict=strict)
        yield Predictions((), tuple(failures))
    yield from _batches(model, segments, cache=cache or Cache(), progress=progress, strict=strict, person=person)


def predict_as_text(
    model: AnyModel | str | Path,
    inputs: Inputs,
    format: str,
    *,
    top: int | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> Iterator[tuple[str, Predictions]]:
    """Yield lines of csv (its header first) or of JSON, batch by batch, each with its predictions."""
    model = load_model(model, cache=cache)
    segments, failures = gather(inputs, stdin=stdin)
    _raise_if_strict(failures, strict=strict)
    file: PredictionFile
    if format == ".csv":
        file = CsvFile(Path("-"), csv_columns(model, top=top, people=_has_people(segments, person)), top)
    else:
        file = JsonLinesFile(Path("-"), tuple(model.labels), top)
    unreadable = Predictions((), tuple(failures))
    yield file.header() + file.format(unreadable), unreadable
    for predictions in _batches(model, segments, cache=cache or Cache(), progress=progress, strict=strict, person=person):
        yield file.format(predictions), predictions


def write_predictions(
    model: AnyModel | str | Path,
    inputs: Inputs,
    path: str | Path,
    *,
    top: int | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> WrittenPredictions:
    """Write predictions to a .csv or .jsonl file, each batch as soon as it is ready; resume with a file that exists.

    Failures are computed again. Rows about other videos stay if they are of this model.
    """
    cache = cache or Cache()
    model = load_model(model, cache=cache)
    segments, failures = gather(inputs, stdin=stdin)
    _raise_if_strict(failures, strict=strict)
    target = prediction_file(Path(path), model, top=top, people=_has_people(segments, person))
    digests, replaced = target.prepare(model.digest, {row_key(segment) for segment in segments}, cache)
    if digests or replaced:
        _log.info("%s: %d rows are valid, %d are computed again", target.path, len(digests), replaced)
    predicted, kept = 0, 0
    with target.path.open("a", encoding="utf-8", newline="", errors="surrogateescape") as file:
        file.write(target.format(Predictions((), tuple(failures)), Source({}, model.digest)))
        for first in range(0, len(segments), BATCH):
            batch, absent = _select_people(segments[first : first + BATCH], model, person, cache)
            videos = {segment: digest_of_video(segment, cache) for segment in batch}
            missing = [segment for segment in batch if videos[segment] == "" or digests.get(row_key(segment)) != videos[segment]]
            kept += len(batch) - len(missing)
            inner = _BatchProgress(progress, first, len(segments), min(BATCH, len(segments) - first))
            answer = model.predict(missing, cache=cache, progress=inner) if missing else Predictions(())
            answer = Predictions(answer.predictions, (*absent, *answer.failures))
            file.write(target.format(answer, Source(videos, model.digest)))
            file.flush()
            predicted, failures = predicted + len(answer.predictions), [*failures, *answer.failures]
            _raise_if_strict(answer.failures, strict=strict)
    progress("features", len(segments), len(segments))
    return WrittenPredictions(target.path, predicted, kept, replaced, tuple(failures))


def _batches(
    model: AnyModel, segments: Sequence[Segment], *, cache: Cache, progress: Progress, strict: bool, person: str | None
) -> Iterator[Predictions]:
    for first in range(0, len(segments), BATCH):
        batch, absent = _select_people(segments[first : first + BATCH], model, person, cache)
        _raise_if_strict(absent, strict=strict)
        inner = _BatchProgress(progress, first, len(segments), min(BATCH, len(segments) - first))
        answer = model.predict(batch, cache=cache, progress=inner, strict=strict) if batch else Predictions(())
        yield Predictions(answer.predictions, (*absent, *answer.failures), answer.seconds)
    if segments:
        progress("features", len(segments), len(segments))


def _has_people(segments: Sequence[Segment], person: str | None) -> bool:
    return person is not None or any(segment.person is not None for segment in segments)


def _raise_if_strict(failures: Sequence[Failure], *, strict: bool) -> None:
    if strict and failures:
        raise failures[0].error


def _select_people(segments: Sequence[Segment], model: AnyModel, person: str | None, cache: Cache) -> tuple[list[Segment], list[Failure]]:
    if person is None:
        return list(segments), []
    return select_people(segments, model.lead.backbone, PoseConfig(person=person).person, cache=cache)


@dataclass(frozen=True)
class _BatchProgress:
    """Reports the progress of a batch as that of all segments."""

    progress: Progress
    before: int
    total: int
    length: int

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != "features":
            self.progress(stage, done, total)
        elif total:  # a batch may have segments that are done, and several people in one segment
            self.progress(stage, min(self.before + round(self.length * done / total), self.total - 1), self.total)
