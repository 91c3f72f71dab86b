"""Predictions as they are made, a few at a time, and files of them that grow: what is in such a file is not asked again.

A row tells by which model it was made and of which bytes, so that another model or a changed video is noticed. Memory holds a few
predictions, however many there are. Knows no scores of its own: `Model.predict` gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from quickstep.datasets.inputs import gather
from quickstep.inference.prediction_files.formats import Csv, Form, JsonLines, Source, columns_of, digest_of_video, form_of, who
from quickstep.models.ensemble import AnyModel
from quickstep.models.pose_input import select_people
from quickstep.models.predictions import Predictions
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

TOGETHER = 64  # segments that are looked at together


@dataclass(frozen=True)
class Written:
    """What became of a file of predictions."""

    path: Path
    named: int = 0  # rows written now
    kept: int = 0  # asked for, and there already
    replaced: int = 0  # rows of another model, of changed videos, or of failures, which were asked again
    failures: tuple[Failure, ...] = ()


def predict_some(
    model: AnyModel,
    inputs: Iterable[Segment | str | Path],
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> Iterator[Predictions]:
    """What `predict` gives of the same inputs, a few at a time, as they are ready."""
    segments, failures = gather(inputs, stdin=stdin)
    if failures:
        _strictly(failures, strict=strict)
        yield Predictions((), tuple(failures))
    yield from _few_by_few(model, segments, cache=cache or Cache(), progress=progress, strict=strict, person=person)


def _few_by_few(
    model: AnyModel, segments: Sequence[Segment], *, cache: Cache, progress: Progress, strict: bool, person: str | None
) -> Iterator[Predictions]:
    for first in range(0, len(segments), TOGETHER):
        some, unseen = _people(segments[first : first + TOGETHER], model, person, cache)
        _strictly(unseen, strict=strict)
        told = _Part(progress, first, len(segments), min(TOGETHER, len(segments) - first))
        found = model.predict(some, cache=cache, progress=told, strict=strict) if some else Predictions(())
        yield Predictions(found.predictions, (*unseen, *found.failures), found.seconds)
    if segments:
        progress("features", len(segments), len(segments))


def predict_as_text(
    model: AnyModel,
    inputs: Iterable[Segment | str | Path],
    form: str,
    *,
    top: int | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> Iterator[tuple[str, Predictions]]:
    """Lines of csv (its head first) or of JSON, a few at a time as they are ready, each with what it says."""
    segments, failures = gather(inputs, stdin=stdin)
    _strictly(failures, strict=strict)
    named = person is not None or any(segment.person is not None for segment in segments)
    if form == ".csv":
        columns = columns_of(model, top=top, people=named)
        printed: Form = Csv(Path("-"), columns, top)
    else:
        printed = JsonLines(Path("-"), tuple(model.labels), top)
    before = Predictions((), tuple(failures))
    yield printed.head() + printed.lines(before), before
    for found in _few_by_few(model, segments, cache=cache or Cache(), progress=progress, strict=strict, person=person):
        yield printed.lines(found), found


def write_predictions(
    model: AnyModel,
    inputs: Iterable[Segment | str | Path],
    path: str | Path,
    *,
    top: int | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> Written:
    """Predictions into a .csv or .jsonl file, each as it is made; a file that is there already goes on where it stopped.

    What failed is asked again. Rows about other videos stay, as long as they are of this model.
    """
    cache = cache or Cache()
    segments, failures = gather(inputs, stdin=stdin)
    _strictly(failures, strict=strict)
    named = person is not None or any(segment.person is not None for segment in segments)
    form = form_of(Path(path), model, top=top, people=named)
    by = model.digest
    known, replaced = form.begin(by, {who(segment) for segment in segments}, cache)
    done, kept = 0, 0
    with form.path.open("a", encoding="utf-8", newline="", errors="surrogateescape") as file:
        file.write(form.lines(Predictions((), tuple(failures)), Source({}, by)))
        for first in range(0, len(segments), TOGETHER):
            some, unseen = _people(segments[first : first + TOGETHER], model, person, cache)
            videos = {segment: digest_of_video(segment, cache) for segment in some}
            missing = [segment for segment in some if videos[segment] == "" or known.get(who(segment)) != videos[segment]]
            kept += len(some) - len(missing)
            told = _Part(progress, first, len(segments), min(TOGETHER, len(segments) - first))
            found = model.predict(missing, cache=cache, progress=told) if missing else Predictions(())
            found = Predictions(found.predictions, (*unseen, *found.failures))
            file.write(form.lines(found, Source(videos, by)))
            file.flush()
            done, failures = done + len(found.predictions), [*failures, *found.failures]
            _strictly(found.failures, strict=strict)
    progress("features", len(segments), len(segments))
    return Written(form.path, done, kept, replaced, tuple(failures))


def _strictly(failures: Sequence[Failure], *, strict: bool) -> None:
    if strict and failures:
        raise failures[0].error


def _people(segments: Sequence[Segment], model: AnyModel, person: str | None, cache: Cache) -> tuple[list[Segment], list[Failure]]:
    """The segments, each about the person that is asked for."""
    if person is None:
        return list(segments), []
    return select_people(segments, model.lead.backbone, PoseConfig(person=person).person, cache=cache)


@dataclass(frozen=True)
class _Part:
    """Progress of a part, told as that of the whole."""

    progress: Progress
    before: int
    total: int
    length: int

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != "features":
            self.progress(stage, done, total)
        elif total:  # of a part, some may be there already, and some be several people
            self.progress(stage, min(self.before + round(self.length * done / total), self.total - 1), self.total)
