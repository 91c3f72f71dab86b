"""Forms of files of predictions: csv, and one JSON object a line; what is in such a file, and what of it still holds. Asks no model."""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quickstep.inference.predict import to_json, to_rows
from quickstep.models.ensemble import AnyModel
from quickstep.models.predictions import Predictions
from quickstep.signals.poses.formats import digest_of, is_pose_file
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, MediaError, QuickstepError
from quickstep.types.segment import Segment

FORMS = (".csv", ".jsonl")
WHO = ("path", "start", "end", "person")  # what a row is about
SOURCE = ("video", "model")  # what it was made of: the first half of a sha256 each


@dataclass(frozen=True)
class Source:
    """What rows are made of: the bytes of each segment's video, and the model."""

    videos: Mapping[Segment, str]
    model: str


@dataclass(frozen=True)
class Form(ABC):
    """A file of predictions, one a line."""

    path: Path
    columns: tuple[str, ...]
    top: int | None

    def begin(self, by: str, asked: set[tuple[str, ...]], cache: Cache) -> tuple[dict[tuple[str, ...], str], int]:
        """Make the file ready to be added to: which rows it has (what about, of which bytes), and how many had to go."""
        rows = self._rows() if self.path.exists() else []
        kept = {_about(row): row for row in rows if row.get("model") == by and not row.get("error") and self.fits(row)}
        videos: dict[str, str] = {}
        for about, row in list(kept.items()):
            if (*about[:3], "") in asked or about in asked:
                name = about[0]
                videos.setdefault(name, digest_of_video(Segment(Path(name)), cache))
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


class Csv(Form):
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


class JsonLines(Form):
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


def form_of(path: Path, model: AnyModel, *, top: int | None, people: bool) -> Form:
    form = path.suffix.lower()
    if form == ".csv":
        return Csv(path, (*columns_of(model, top=top, people=people), *SOURCE), top)
    if form == ".jsonl":
        return JsonLines(path, tuple(model.labels), top)
    raise ConfigError("out", f"predictions are written as {' or '.join(FORMS)}, not as {path.name!r}")


def columns_of(model: AnyModel, *, top: int | None = None, people: bool = False) -> tuple[str, ...]:
    """The columns of predictions as csv."""
    who = WHO if people else WHO[:3]
    ranks = range(1, min(top or 0, len(model.labels)) + 1)
    scores = [f"score:{label}" for label in model.labels] if top is None else [f"{part}_{n}" for n in ranks for part in ("label", "score")]
    return (*who, "label", "score", "sure", "error", *scores)


def who(segment: Segment) -> tuple[str, ...]:
    told = (segment.path, segment.start, segment.end, segment.person)
    return tuple("" if value is None else str(value) for value in told)


def digest_of_video(segment: Segment, cache: Cache) -> str:
    """The bytes that a segment is of; empty where they cannot be read."""
    try:
        whole = digest_of(segment.path, cache) if is_pose_file(segment.path) else cache.digest(segment.path)
    except MediaError:
        return ""
    return whole[:32]
