"""Predictions as they are made, a few at a time, and files of them that grow: what is in such a file is not asked again.

A row tells by which model it was made and of which bytes, so that another model or a changed video is noticed. Memory holds a few
predictions, however many there are. Knows no scores of its own: `Model.predict` gives them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from quickstep.ensemble import AnyModel, Ensemble, lead_of
from quickstep.errors import ConfigError, MediaError, QuickstepError
from quickstep.model import Model, Predictions
from quickstep.people import of_person
from quickstep.poses.files import digest_of, is_pose_file
from quickstep.poses.settings import PoseConfig
from quickstep.prediction import gather, to_json, to_rows
from quickstep.progress import Progress, silent
from quickstep.records import to_plain
from quickstep.segment import Failure, Segment
from quickstep.store import Store, hash_of

TOGETHER = 64  # segments that are looked at together
FORMS = (".csv", ".jsonl")
WHO = ("path", "start", "end", "person")  # what a row is about
SOURCE = ("video", "model")  # what it was made of: the first half of a sha256 each


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
    store: Store | None = None,
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
    yield from _few_by_few(model, segments, store=store or Store(), progress=progress, strict=strict, person=person)


def _few_by_few(
    model: AnyModel, segments: Sequence[Segment], *, store: Store, progress: Progress, strict: bool, person: str | None
) -> Iterator[Predictions]:
    for first in range(0, len(segments), TOGETHER):
        some, unseen = _people(segments[first : first + TOGETHER], model, person, store)
        _strictly(unseen, strict=strict)
        told = _Part(progress, first, len(segments), min(TOGETHER, len(segments) - first))
        found = model.predict(some, store=store, progress=told, strict=strict) if some else Predictions(())
        yield Predictions(found.predictions, (*unseen, *found.failures), found.seconds)
    if segments:
        progress("features", len(segments), len(segments))


def predict_as_text(
    model: AnyModel,
    inputs: Iterable[Segment | str | Path],
    form: str,
    *,
    top: int | None = None,
    store: Store | None = None,
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
        printed: _Form = _Csv(Path("-"), columns, top)
    else:
        printed = _JsonLines(Path("-"), tuple(model.labels), top)
    before = Predictions((), tuple(failures))
    yield printed.head() + printed.lines(before), before
    for found in _few_by_few(model, segments, store=store or Store(), progress=progress, strict=strict, person=person):
        yield printed.lines(found), found


def write_predictions(
    model: AnyModel,
    inputs: Iterable[Segment | str | Path],
    path: str | Path,
    *,
    top: int | None = None,
    store: Store | None = None,
    progress: Progress = silent,
    strict: bool = False,
    stdin: IO[str] | None = None,
    person: str | None = None,
) -> Written:
    """Predictions into a .csv or .jsonl file, each as it is made; a file that is there already goes on where it stopped.

    What failed is asked again. Rows about other videos stay, as long as they are of this model.
    """
    store = store or Store()
    segments, failures = gather(inputs, stdin=stdin)
    _strictly(failures, strict=strict)
    named = person is not None or any(segment.person is not None for segment in segments)
    form = _form(Path(path), model, top=top, people=named)
    by = digest_of_model(model)
    known, replaced = form.begin(by, {_who(segment) for segment in segments}, store)
    done, kept = 0, 0
    with form.path.open("a", encoding="utf-8", newline="", errors="surrogateescape") as file:
        file.write(form.lines(Predictions((), tuple(failures)), Source({}, by)))
        for first in range(0, len(segments), TOGETHER):
            some, unseen = _people(segments[first : first + TOGETHER], model, person, store)
            videos = {segment: _digest(segment, store) for segment in some}
            missing = [segment for segment in some if videos[segment] == "" or known.get(_who(segment)) != videos[segment]]
            kept += len(some) - len(missing)
            told = _Part(progress, first, len(segments), min(TOGETHER, len(segments) - first))
            found = model.predict(missing, store=store, progress=told) if missing else Predictions(())
            found = Predictions(found.predictions, (*unseen, *found.failures))
            file.write(form.lines(found, Source(videos, by)))
            file.flush()
            done, failures = done + len(found.predictions), [*failures, *found.failures]
            _strictly(found.failures, strict=strict)
    progress("features", len(segments), len(segments))
    return Written(form.path, done, kept, replaced, tuple(failures))


def digest_of_model(model: AnyModel) -> str:
    """What tells a model from any other that could give other scores: its labels, network, view, head and calibration."""
    if isinstance(model, Ensemble):
        told: Any = [[digest_of_model(member) for member in model.members], list(model.weights), model.temperature, model.threshold]
    else:
        told = _facts(model)
    return hash_of(told)[:32]


def _facts(model: Model) -> dict[str, Any]:
    weights = hashlib.sha256()
    for name, array in sorted(model.head.weights().items()):
        weights.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        weights.update(np.ascontiguousarray(array).tobytes())
    return {
        "labels": list(model.labels),
        "backbone": json.loads(json.dumps(dict(model.backbone.identity), default=str)),
        "view": asdict(model.view),
        "head": [model.head.name, to_plain(model.head.config), weights.hexdigest()],
        "calibration": [model.temperature, model.threshold],
        "poses": model.opening.poses,
    }


def _strictly(failures: Sequence[Failure], *, strict: bool) -> None:
    if strict and failures:
        raise failures[0].error


def _people(segments: Sequence[Segment], model: AnyModel, person: str | None, store: Store) -> tuple[list[Segment], list[Failure]]:
    """The segments, each about the person that is asked for."""
    if person is None:
        return list(segments), []
    return of_person(segments, lead_of(model).backbone, PoseConfig(person=person).person, store=store)


def _who(segment: Segment) -> tuple[str, ...]:
    told = (segment.path, segment.start, segment.end, segment.person)
    return tuple("" if value is None else str(value) for value in told)


def _digest(segment: Segment, store: Store) -> str:
    """The bytes that a segment is of; empty where they cannot be read."""
    try:
        whole = digest_of(segment.path, store) if is_pose_file(segment.path) else store.digest(segment.path)
    except MediaError:
        return ""
    return whole[:32]


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


# -- forms of file -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """What rows are made of: the bytes of each segment's video, and the model."""

    videos: Mapping[Segment, str]
    model: str


@dataclass(frozen=True)
class _Form(ABC):
    """A file of predictions, one a line."""

    path: Path
    columns: tuple[str, ...]
    top: int | None

    def begin(self, by: str, asked: set[tuple[str, ...]], store: Store) -> tuple[dict[tuple[str, ...], str], int]:
        """Make the file ready to be added to: which rows it has (what about, of which bytes), and how many had to go."""
        rows = self._rows() if self.path.exists() else []
        kept = {_about(row): row for row in rows if row.get("model") == by and not row.get("error") and self.fits(row)}
        videos: dict[str, str] = {}
        for about, row in list(kept.items()):
            if (*about[:3], "") in asked or about in asked:
                name = about[0]
                videos.setdefault(name, _digest(Segment(Path(name)), store))
                if videos[name] != row.get("video"):
                    del kept[about]
        if rows and len(kept) == len(rows) and self._whole():
            return {about: str(row["video"]) for about, row in kept.items()}, 0
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file:
                file.write(self.head() + "".join(self.line(row) for row in kept.values()))
            aside.replace(self.path)
        except OSError as error:
            raise MediaError(self.path, f"cannot be written: {error.strerror or error}") from error
        finally:
            aside.unlink(missing_ok=True)
        return {about: str(row["video"]) for about, row in kept.items()}, len(rows) - len(kept)

    def lines(self, found: Predictions, source: Source | None = None) -> str:
        """Predictions and failures as lines of the file, with what they were made of where that is to be told."""
        records = self.records(found)
        if source is None:
            return "".join(map(self.line, records))
        segments = [*(each.segment for each in found.predictions), *(each.segment for each in found.failures)]
        told = [{"video": source.videos.get(segment, ""), "model": source.model} for segment in segments]
        return "".join(self.line({**row, **more}) for row, more in zip(records, told, strict=True))

    def _text(self) -> str:
        try:
            with self.path.open(encoding="utf-8", newline="", errors="surrogateescape") as file:
                return file.read()
        except OSError as error:
            raise MediaError(self.path, f"cannot be read: {error.strerror or error}") from error

    def _rows(self) -> list[dict[str, Any]]:
        """What is in the file; what a kill left of a last line is none."""
        text = self._text()
        whole = text[: text.rfind("\n") + 1]
        return self.parse(whole)

    def _whole(self) -> bool:
        return self._text().endswith("\n")

    def foreign(self) -> QuickstepError:
        """What to say of a file that is something else."""
        return ConfigError("out", f"{self.path} is there and holds no predictions of ours, so it is left alone; name another file")

    @abstractmethod
    def head(self) -> str:
        """The line before all rows, where there is one."""

    @abstractmethod
    def line(self, row: Mapping[str, Any]) -> str:
        """A row as a line."""

    @abstractmethod
    def parse(self, text: str) -> list[dict[str, Any]]:
        """The rows of whole lines; an error where they are something else."""

    @abstractmethod
    def records(self, found: Predictions) -> list[dict[str, Any]]:
        """Predictions, then failures, as rows."""

    @abstractmethod
    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row says as much as is asked for now."""


class _Csv(_Form):
    def head(self) -> str:
        return self._print(self.columns)

    def line(self, row: Mapping[str, Any]) -> str:
        return self._print(["" if row.get(name) is None else row[name] for name in self.columns])

    def parse(self, text: str) -> list[dict[str, Any]]:
        rows = list(csv.reader(io.StringIO(text)))
        if rows and not {"path", "label", "score", *SOURCE} <= set(rows[0]):
            raise self.foreign()
        return [dict(zip(rows[0], row)) for row in rows[1:]]

    def records(self, found: Predictions) -> list[dict[str, Any]]:
        return [dict(row) for row in to_rows(found, top=self.top)]

    def fits(self, row: Mapping[str, Any]) -> bool:
        return tuple(row) == self.columns

    def _print(self, cells: Iterable[object]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(cells)
        return out.getvalue()


class _JsonLines(_Form):
    def head(self) -> str:
        return ""

    def line(self, row: Mapping[str, Any]) -> str:
        return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"

    def parse(self, text: str) -> list[dict[str, Any]]:
        try:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        except ValueError as error:
            raise self.foreign() from error
        if not all(isinstance(row, dict) and {"path", *SOURCE} <= row.keys() for row in rows):
            raise self.foreign()
        return rows

    def records(self, found: Predictions) -> list[dict[str, Any]]:
        plain = to_json(found, top=self.top)
        return [*plain["predictions"], *plain["failures"]]

    def fits(self, row: Mapping[str, Any]) -> bool:
        return self.top is None or len(row.get("scores", ())) == min(self.top, len(self.columns))


def _about(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple("" if row.get(name) is None else str(row[name]) for name in WHO)


def _form(path: Path, model: AnyModel, *, top: int | None, people: bool) -> _Form:
    form = path.suffix.lower()
    if form == ".csv":
        return _Csv(path, (*columns_of(model, top=top, people=people), *SOURCE), top)
    if form == ".jsonl":
        return _JsonLines(path, tuple(model.labels), top)
    raise ConfigError("out", f"predictions are written as {' or '.join(FORMS)}, not as {path.name!r}")


def columns_of(model: AnyModel, *, top: int | None = None, people: bool = False) -> tuple[str, ...]:
    """The columns of predictions as csv."""
    who = WHO if people else WHO[:3]
    ranks = range(1, min(top or 0, len(model.labels)) + 1)
    scores = [f"score:{label}" for label in model.labels] if top is None else [f"{part}_{n}" for n in ranks for part in ("label", "score")]
    return (*who, "label", "score", "sure", "error", *scores)
