"""Files of predictions, csv or one JSON object a line: read their rows, decide which are still valid, and format new ones."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quickstep.inference.predict import to_json, to_rows
from quickstep.models.classifier import Predictions
from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.formats import digest_of, is_pose_file
from quickstep.storage.cache import Cache
from quickstep.storage.files import check_regular, write_text
from quickstep.types.errors import ConfigError, MediaError, QuickstepError
from quickstep.types.escaping import csv_cells, from_csv
from quickstep.types.segment import Segment

FORMATS = (".csv", ".jsonl")
SEGMENT_COLUMNS = ("path", "start", "end", "person")
SOURCE_COLUMNS = ("video", "model")  # digests of the video and of the model that a row was made with

_CONFIDENCE_OF_0_1 = {True: "sure", "yes": "sure", False: "not sure", "no": "not sure", None: "uncalibrated", "": "uncalibrated"}

RowKey = tuple[str, ...]  # the segment columns as text


@dataclass(frozen=True)
class Source:
    """The digests that new rows are written with."""

    videos: Mapping[Segment, str]
    model: str


@dataclass(frozen=True)
class PredictionFile(ABC):
    """A file with one prediction a line."""

    path: Path
    columns: tuple[str, ...]
    top: int | None

    def prepare(self, model_digest: str, segments: set[RowKey], cache: Cache) -> tuple[dict[RowKey, str], int]:
        """Remove the rows that are not valid any more; return the video digests of those that are, and how many were removed.

        A row is valid if it was made by this model, is not a failure, has the wanted columns, and its video has not changed.
        """
        written = self._complete_rows() if self.path.exists() else []
        rows = [upgraded(row) for row in written]
        valid = {_key_of(row): row for row in rows if row.get("model") == model_digest and not row.get("error") and self.has_columns(row)}
        digests: dict[str, str] = {}
        for key, row in list(valid.items()):
            if (*key[:3], "") in segments or key in segments:
                path = key[0]
                digests.setdefault(path, digest_of_video(Segment(Path(path)), cache))
                if digests[path] != row.get("video"):
                    del valid[key]
        if not (rows and rows == written and len(valid) == len(rows) and self._text().endswith("\n")):
            self._rewrite(valid.values())
        return {key: str(row["video"]) for key, row in valid.items()}, len(rows) - len(valid)

    def format(self, predictions: Predictions, source: Source | None = None) -> str:
        """Return predictions and failures as lines, with the digests of their source where it is given."""
        records = self.records(predictions)
        if source is None:
            return "".join(map(self.line, records))
        segments = [*(one.segment for one in predictions.predictions), *(one.segment for one in predictions.failures)]
        digests = [{"video": source.videos.get(segment, ""), "model": source.model} for segment in segments]
        return "".join(self.line({**record, **more}) for record, more in zip(records, digests, strict=True))

    def _rewrite(self, rows: Iterable[Mapping[str, Any]]) -> None:
        try:
            write_text(self.path, self.header() + "".join(self.line(row) for row in rows), errors="surrogateescape")
        except OSError as error:
            raise MediaError(self.path, f"cannot be written: {error.strerror or error}") from error

    def _text(self) -> str:
        try:
            check_regular(self.path)
            with self.path.open(encoding="utf-8", newline="", errors="surrogateescape") as file:
                return file.read()
        except OSError as error:
            raise MediaError(self.path, f"cannot be read: {error.strerror or error}") from error

    def _complete_rows(self) -> list[dict[str, Any]]:
        """Read the rows, without a last line that a killed process left incomplete."""
        text = self._text()
        return self.parse(text[: text.rfind("\n") + 1])

    def not_ours(self) -> QuickstepError:
        """Return the error for a file with other content."""
        return ConfigError("out", f"{self.path} exists and contains no predictions of quickstep, so it is left alone; name another file")

    @abstractmethod
    def header(self) -> str:
        """Return the line before all rows; "" without one."""

    @abstractmethod
    def line(self, row: Mapping[str, Any]) -> str:
        """Format a row as a line."""

    @abstractmethod
    def parse(self, text: str) -> list[dict[str, Any]]:
        """Parse complete lines; raise `not_ours` for other content."""

    @abstractmethod
    def records(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Return predictions, then failures, as rows."""

    @abstractmethod
    def has_columns(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has what is wanted now."""


class CsvFile(PredictionFile):
    """Predictions as comma-separated values."""

    def header(self) -> str:
        """Return the names of the columns."""
        return self._join(self.columns)

    def line(self, row: Mapping[str, Any]) -> str:
        """Format a row; what it lacks stays empty."""
        return self._join(["" if row.get(name) is None else row[name] for name in self.columns])

    def parse(self, text: str) -> list[dict[str, Any]]:
        """Parse a header and rows."""
        rows = [[from_csv(cell) for cell in row] for row in csv.reader(io.StringIO(text))]
        if rows and not {"path", "label", "score", *SOURCE_COLUMNS} <= set(rows[0]):
            raise self.not_ours()
        return [dict(zip(rows[0], row)) for row in rows[1:]]

    def records(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Return flat rows."""
        return [dict(row) for row in to_rows(predictions, top=self.top)]

    def has_columns(self, row: Mapping[str, Any]) -> bool:
        """Whether the columns are the same."""
        return tuple(row) == self.columns

    def _join(self, values: Iterable[object]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(csv_cells(values))
        return out.getvalue()


class JsonLinesFile(PredictionFile):
    """Predictions as one JSON object a line."""

    def header(self) -> str:
        """Return nothing: every line is complete in itself."""
        return ""

    def line(self, row: Mapping[str, Any]) -> str:
        """Format a row as JSON."""
        return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"

    def parse(self, text: str) -> list[dict[str, Any]]:
        """Parse one object a line."""
        try:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        except ValueError as error:
            raise self.not_ours() from error
        if not all(isinstance(row, dict) and {"path", *SOURCE_COLUMNS} <= row.keys() for row in rows):
            raise self.not_ours()
        return rows

    def records(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Return nested records."""
        plain = to_json(predictions, top=self.top)
        return [*plain["predictions"], *plain["failures"]]

    def has_columns(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has as many scores as are wanted."""
        return self.top is None or len(row.get("scores", ())) == min(self.top, len(self.columns))


def prediction_file(path: Path, model: AnyModel, *, top: int | None, people: bool) -> PredictionFile:
    """Return the file of predictions for a path, by its ending."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return CsvFile(path, (*csv_columns(model, top=top, people=people), *SOURCE_COLUMNS), top)
    if suffix == ".jsonl":
        return JsonLinesFile(path, tuple(model.labels), top)
    raise ConfigError("out", f"predictions are written as {' or '.join(FORMATS)}, not as {path.name!r}")


def csv_columns(model: AnyModel, *, top: int | None = None, people: bool = False) -> tuple[str, ...]:
    """Return the columns of predictions as csv."""
    segment = SEGMENT_COLUMNS if people else SEGMENT_COLUMNS[:3]
    ranks = range(1, min(top or 0, len(model.labels)) + 1)
    scores = [f"score:{label}" for label in model.labels] if top is None else [f"{part}_{n}" for n in ranks for part in ("label", "score")]
    return (*segment, "label", "score", "confidence", "error", *scores)


def row_key(segment: Segment) -> RowKey:
    """Return the segment columns of a segment as text."""
    values = (segment.path, segment.start, segment.end, segment.person)
    return tuple("" if value is None else str(value) for value in values)


def digest_of_video(segment: Segment, cache: Cache) -> str:
    """Return a hash of the content of a segment's file; "" if it cannot be read."""
    try:
        digest = digest_of(segment.path, cache) if is_pose_file(segment.path) else cache.digest(segment.path)
    except MediaError:
        return ""
    return digest[:32]


def upgraded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row that version 0.1 wrote under the names of today, in the same order; other rows as they are."""
    if "sure" not in row:
        return row
    confidence = "" if row.get("error") else _CONFIDENCE_OF_0_1[row["sure"]]
    return {("confidence" if name == "sure" else name): confidence if name == "sure" else value for name, value in row.items()}


def _key_of(row: Mapping[str, Any]) -> RowKey:
    return tuple("" if row.get(name) is None else str(row[name]) for name in SEGMENT_COLUMNS)
