"""Write the rows of a library: windows of new videos, moved paths, marks, and the metadata that a csv has about the videos."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quickstep.backbones import Backbone
from quickstep.datasets.manifest import read_manifest
from quickstep.library.table import COLUMN_TYPES, KEEP_VERSIONS, OWN_COLUMNS, Library, sql_in, to_vectors, type_name
from quickstep.library.windows import ThumbnailCollector, Vectors, WindowGrid, WindowLabeler, WindowLabels
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.signals.video import DECODING_VERSION, probe
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features

LABEL_BATCH = 16  # videos in one commit, where only labels are written
UPDATE_BATCH = 256  # videos in one commit, where rows are moved or marked
MAX_FRAGMENTS = 16  # files of rows; more are joined

Value = str | int | float | bool | date
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_YES_NO = {"true": True, "yes": True, "false": False, "no": False}


# -- metadata ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metadata:
    """Columns of a csv with their types, and each video's values; a video without a value in a column lacks the key."""

    types: Mapping[str, pa.DataType]
    values: Mapping[str, Mapping[str, Value]]  # path -> column -> value


def read_metadata(file: Path) -> list[Segment]:
    """Read the rows of a csv with a column `path`; relative paths count from the csv's folder."""
    return list(read_manifest(file, labelled=False).segments)


def gather_metadata(segments: Sequence[Segment], schema: pa.Schema) -> Metadata:
    """Collect the columns of some lists and choose their types; a column that the library already has keeps its type."""
    texts = _metadata_texts(segments)
    columns = dict.fromkeys(name for row in texts.values() for name in row)
    types: dict[str, pa.DataType] = {}
    parsers: dict[str, Callable[[str], Value | None]] = {}
    for name in columns:
        in_column = [row[name] for row in texts.values() if name in row]
        types[name] = schema.field(name).type if name in schema.names else _narrowest_type(in_column)
        parsers[name] = _PARSERS[type_name(types[name])]
        wrong = next((text for text in in_column if parsers[name](text) is None), None)
        if wrong is not None:
            raise ConfigError("metadata", f"the library's column {name!r} is of type {type_name(types[name])}, and {wrong[:40]!r} is not")
    values: dict[str, dict[str, Any]] = {path: {name: parsers[name](text) for name, text in row.items()} for path, row in texts.items()}
    return Metadata(types, values)


def _metadata_texts(segments: Sequence[Segment]) -> dict[str, dict[str, str]]:
    """Collect path -> column -> text; the first row of a video counts."""
    texts: dict[str, dict[str, str]] = {}
    for segment in segments:
        columns = {"label": segment.label, "group": segment.group, "split": segment.split}
        row = texts.setdefault(full_path(segment.path), {})
        for name, text in {**segment.extra, **{name: text for name, text in columns.items() if text}}.items():
            if text.strip():
                row.setdefault(_column_name(name), text.strip())
    return texts


def full_path(path: str | Path) -> str:
    """Return the one spelling of a video's path: absolute, links unresolved."""
    expanded = Path(path).expanduser()
    absolute = os.path.abspath(expanded)  # noqa: PTH100 - resolves no links
    return absolute if os.path.lexists(absolute) or not os.path.lexists(expanded) else os.path.realpath(expanded)


def _column_name(name: str) -> str:
    """Return a column's name as SQL can write it."""
    plain = re.sub(r"[.`\"]", "_", name.strip())
    if plain.casefold() in OWN_COLUMNS:
        raise ConfigError("metadata", f"a column cannot be named {name!r}, because the library has its own column of that name; rename it")
    return plain


def _narrowest_type(texts: Sequence[str]) -> pa.DataType:
    return next(COLUMN_TYPES[name] for name, parse in _PARSERS.items() if all(parse(text) is not None for text in texts))


def _parse_whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) and (text == "0" or not text.lstrip("+-").startswith("0")) else None


def _parse_number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) and not re.match(r"[+-]?0\d", text) else None  # 0123 is a name, not a number


def _parse_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        return None


_PARSERS: dict[str, Callable[[str], Value | None]] = {
    "whole number": _parse_whole,
    "number": _parse_number,
    "yes or no": lambda text: _YES_NO.get(text.casefold()),
    "date": _parse_date,
    "text": lambda text: text,
}


# -- windows of new videos --------------------------------------------------------------------------------------------------


@dataclass
class RowWriter:
    """Turns videos into rows of one library and commits them."""

    library: Library
    backbone: Backbone
    model: Model | None
    metadata: Metadata
    cache: Cache
    notes: list[str] = field(default_factory=list)
    grid: WindowGrid = field(init=False)

    def __post_init__(self) -> None:
        self.grid = grid_of(self.library)
        self.model_digest = None if self.model is None else self.model.digest
        self._labeler = None if self.model is None else WindowLabeler(self.model, self.grid, dict(self.backbone.identity), self.cache)

    def write(self, paths: Sequence[str], digests: Mapping[str, str], progress: Progress) -> tuple[list[str], list[Failure]]:
        """Embed videos and commit them together; return those that were written, and those that could not be read."""
        durations, failures = self._durations(paths, digests)
        segments = {path: Segment(Path(path)) for path in durations}
        thumbnails = ThumbnailCollector(self.grid)
        for path, segment in segments.items():
            thumbnails.expect(segment, durations[path])
        extracted = extract(
            list(segments.values()), self.backbone, view=self.grid.view, cache=self.cache, progress=progress, on_window=thumbnails
        )
        failures += extracted.failures
        tables = []
        for path, segment in segments.items():
            if segment not in extracted.features:
                continue
            features, duration = extracted.features[segment], durations[path]
            try:
                vectors = self.grid.vectors(path, features, duration)
                jpegs = thumbnails.take(segment, duration)
                labels = self._labels(path, self.grid.spans(duration), features)
            except QuickstepError as error:
                failures.append(Failure(segment, error))
                continue
            if segment in extracted.damaged:
                self.notes.append(
                    f"{path}: {100 * extracted.damaged[segment]:.0f} % of its frames are damaged and were replaced by neighbours"
                )
            tables.append(self._rows(path, digests[path], duration, vectors=vectors, jpegs=jpegs, labels=labels))
        written = [table["path"][0].as_py() for table in tables]
        if tables:
            self.library.replace(pa.concat_tables(tables), written)
        return written, failures

    def label_the_rest(self, progress: Progress) -> int:
        """Label the videos that have no labels of this model yet; return how many those were."""
        videos = videos_of(self.library)
        paths = [path for path, video in videos.items() if video.named_by != self.model_digest and not video.gone]
        progress("labelling", 0, len(paths))
        for first in range(0, len(paths), LABEL_BATCH):
            self._label_batch(paths[first : first + LABEL_BATCH])
            progress("labelling", min(first + LABEL_BATCH, len(paths)), len(paths))
        return len(paths)

    def _label_batch(self, paths: Sequence[str]) -> None:
        rows = self.library.rows(["path", "start", "end"], sql_in("path", paths))
        rows = rows.sort_by([("path", "ascending"), ("start", "ascending")])
        features: dict[Segment, Features] = {}
        if self._labeler is not None and self._labeler.shares_frames:
            features = extract([Segment(Path(path)) for path in paths], self.backbone, view=self.grid.view, cache=self.cache).features
        tables = []
        for path in dict.fromkeys(rows["path"].to_pylist()):
            own = rows.filter(pc.equal(rows["path"], path))
            spans = np.stack([own["start"].to_numpy(), own["end"].to_numpy()], axis=1)
            labels = self._labels(path, spans, features.get(Segment(Path(path))))
            table = own.select(["path", "start"]).append_column("names", _lists(labels.names, pa.string()))
            table = table.append_column("scores", _lists(labels.scores, pa.float32()))
            tables.append(table.append_column("named_by", pa.array([self.model_digest] * len(own), pa.string())))
        labelled = pa.concat_tables(tables)
        self.library.commit(lambda table: table.merge_insert(["path", "start"]).when_matched_update_all().execute(labelled))

    def _durations(self, paths: Sequence[str], digests: Mapping[str, str]) -> tuple[dict[str, float], list[Failure]]:
        durations: dict[str, float] = {}
        failures = []

        def probe_path(path: str) -> float:
            key = {"sha256": digests[path], "decoding": DECODING_VERSION}
            duration = self.cache.recall("duration", key)
            if duration is None:
                duration = probe(path).duration
                self.cache.remember("duration", key, duration)
            return float(duration)

        for path, duration in run_parallel(probe_path, paths, "probing"):
            if isinstance(duration, QuickstepError):
                failures.append(Failure(Segment(Path(path)), duration))
            else:
                durations[path] = duration
        return {path: durations[path] for path in paths if path in durations}, failures

    def _labels(self, path: str, spans: Any, features: Features | None) -> WindowLabels:
        return WindowLabels() if self._labeler is None else self._labeler.label(path, spans, features)

    def _rows(self, path: str, digest: str, duration: float, *, vectors: Vectors, jpegs: Sequence[bytes], labels: WindowLabels) -> pa.Table:
        spans = self.grid.spans(duration)
        count = len(spans)
        columns: dict[str, Any] = {
            "vector": to_vectors(vectors),
            "path": [path] * count,
            "digest": [digest] * count,
            "start": spans[:, 0],
            "end": spans[:, 1],
            "duration": [duration] * count,
            "gone": [False] * count,
            "names": _lists(labels.names, pa.string()) if labels.names else [None] * count,
            "scores": _lists(labels.scores, pa.float32()) if labels.scores else [None] * count,
            "named_by": [self.model_digest] * count,
            "thumbnail": list(jpegs),
        }
        metadata = self.metadata.values.get(path, {})
        columns |= {name: [metadata.get(name)] * count for name in self.library.metadata_columns}
        schema = self.library.schema
        return pa.table({column.name: pa.array(columns[column.name], column.type) for column in schema}, schema=schema)


def grid_of(library: Library) -> WindowGrid:
    """Return how a library cuts its videos into windows."""
    card = library.card
    return WindowGrid(card.window, card.stride, card.view, card.single_frames)


def _lists(rows: Sequence[Sequence[Any]], kind: pa.DataType) -> pa.Array:
    return pa.array([list(row) for row in rows], pa.list_(kind))


# -- rows that exist --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VideoRecord:
    """The entry of a library for one path."""

    digest: str
    gone: bool
    named_by: str | None
    metadata: Mapping[str, object]


def videos_of(library: Library, paths: Sequence[str] | None = None) -> dict[str, VideoRecord]:
    """Return the records of some paths, or of all: every video has one window that starts at 0."""
    where = "start = 0" if paths is None else f"start = 0 AND {sql_in('path', paths)}"
    records: dict[str, VideoRecord] = {}
    for batch in library.batches(["path", "digest", "gone", "named_by", *library.metadata_columns], where):
        for row in batch.to_pylist():
            path, digest, gone, named_by = (row.pop(name) for name in ("path", "digest", "gone", "named_by"))
            records[path] = VideoRecord(digest, gone, named_by, row)
    return records


def copy_rows(library: Library, sources: Mapping[str, str], moved: Collection[str], digests: Mapping[str, str]) -> list[str]:
    """Copy the rows of known bytes to other paths (path -> source), or move them; return the paths whose source had no rows."""
    missing: list[str] = []
    paths = list(sources)
    for first in range(0, len(paths), UPDATE_BATCH):
        batch = {path: sources[path] for path in paths[first : first + UPDATE_BATCH]}
        rows = library.rows(library.schema.names, sql_in("path", sorted(set(batch.values()))))
        tables = []
        for path, source in batch.items():
            own = rows.filter(pc.and_(pc.equal(rows["path"], source), pc.equal(rows["digest"], digests[path])))
            if len(own) == 0:  # another process was quicker
                missing.append(path)
                continue
            tables.append(_with_value(_with_value(own, "path", path), "gone", False))
        left_behind = {batch[path] for path in batch if path in moved and path not in missing}
        if tables:
            rows = pa.concat_tables(tables).cast(library.schema)
            library.replace(rows, sorted({*left_behind, *(path for path in batch if path not in missing)}))
    return missing


def mark_gone(library: Library, paths: Sequence[str], gone: bool) -> None:
    """Mark videos as gone, or as existing again."""
    for first in range(0, len(paths), UPDATE_BATCH):
        where = sql_in("path", paths[first : first + UPDATE_BATCH])
        library.commit(lambda table, where=where: table.update(where=where, values={"gone": gone}))  # type: ignore[misc]


def delete_gone(library: Library) -> int:
    """Delete the videos that are gone; return how many."""
    gone = sum(video.gone for video in videos_of(library).values())
    if gone:
        library.commit(lambda table: table.delete("gone"))
    return gone


def add_columns(library: Library, metadata: Metadata) -> None:
    """Add the columns that the library does not have yet."""

    def change(table: Any) -> None:
        present = set(table.schema.names)
        fields = [pa.field(name, kind) for name, kind in metadata.types.items() if name not in present]
        if fields:
            table.add_columns(fields)

    if set(metadata.types) - set(library.schema.names):
        library.commit(change)


def update_metadata(library: Library, metadata: Metadata) -> None:
    """Write the values that differ from the library's; values that the lists do not have stay."""
    if not metadata.values:
        return
    videos = videos_of(library)
    rows = []
    for path, values in metadata.values.items():
        if path in videos and any(videos[path].metadata.get(name) != value for name, value in values.items()):
            rows.append({"path": path, **{name: videos[path].metadata.get(name) for name in metadata.types}, **values})
    for first in range(0, len(rows), 4096):
        schema = pa.schema([library.schema.field(name) for name in ("path", *metadata.types)])
        batch = pa.Table.from_pylist(rows[first : first + 4096], schema=schema)
        library.commit(lambda table, batch=batch: table.merge_insert("path").when_matched_update_all().execute(batch))  # type: ignore[misc]


def compact_if_needed(library: Library) -> None:
    """Join files and remove old versions when there are many of them."""
    files = library.table.stats()["fragment_stats"]["num_fragments"]
    if files > MAX_FRAGMENTS or len(library.table.list_versions()) > MAX_FRAGMENTS:
        library.compact(before=KEEP_VERSIONS)


def _with_value(table: pa.Table, column: str, value: object) -> pa.Table:
    """Return the same rows with one value for all in a column."""
    column_field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), column_field, pa.array([value] * len(table), column_field.type))
