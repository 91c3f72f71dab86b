"""Import Kinetics (400, 600, 700, 700-2020): its lists, csv or json, and a folder of downloaded files become a Manifest.

Rows are read one at a time, so that a list of hundreds of thousands needs memory only for the requested classes.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from quickstep.datasets.class_prompts import LABEL_SETS, read_class_prompts
from quickstep.datasets.importers.import_result import ClassCount, ImportResult
from quickstep.datasets.label_matching import loose_label_key, match_labels
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.readers.folders import list_videos
from quickstep.datasets.readers.list_files import SPLITS
from quickstep.storage.files import check_regular
from quickstep.types.config_fields import setting
from quickstep.types.errors import ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Segment

_COLUMNS = {
    "label": ("label", "class", "class_name", "category"),
    "youtube_id": ("youtube_id", "video_id", "ytid", "id"),
    "start": ("time_start", "start", "start_time"),
    "end": ("time_end", "end", "end_time"),
    "split": ("split", "subset"),
}
_MISSING_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
_SPLITS = {**SPLITS, "validate": "val", "holdout": "test"}
_LIST = re.compile(r"[,/.\\]")  # characters of a list of labels or a file name, but not of a single label
_MAX_SECONDS = 1e7


@dataclass(frozen=True)
class KineticsConfig:
    """Which classes are imported, and whether their official splits are kept."""

    labels: str | None = setting(None, "only these classes: a,b,c, a file, or a label set: dance19, kinetics400 (default: all)")
    official_splits: bool = setting(False, "keep the lists' own train, val and test, instead of leaving them to `quickstep split`")


class KineticsRow(NamedTuple):
    """One labelled span of one web video; the label is empty where it was not published (test lists)."""

    label: str
    youtube_id: str
    start: float
    end: float
    split: str

    @property
    def file(self) -> str:
        """The usual name of the downloaded and trimmed file, without suffix."""
        return f"{self.youtube_id}_{int(self.start):06d}_{int(self.end):06d}"


class _File(NamedTuple):
    """A downloaded file: trimmed to the span of its row, or the whole video."""

    path: Path
    trimmed: bool


class _Selection(NamedTuple):
    """The rows of the requested classes, each span once, and what there is to report about the lists."""

    rows: list[KineticsRow]
    label_of: dict[str, str]  # class -> label
    notes: list[str]
    unmatched: tuple[str, ...]


def import_kinetics(
    lists: str | Path | Sequence[str | Path], videos: str | Path, config: KineticsConfig | None = None, *, progress: Progress = silent
) -> ImportResult:
    """List the segments of Kinetics lists whose files are in a folder, under their usual names, in class folders or flat.

    A trimmed file (`ID_000010_000020.mp4`) is a segment; a whole video (`ID.mp4`) is read from the row's start to its end. The group is
    the id of the video.
    """
    config = config or KineticsConfig()
    folder, paths = Path(videos), [Path(path) for path in ([lists] if isinstance(lists, str | Path) else lists)]
    if not paths:
        raise ManifestError(folder, "name at least one Kinetics list that describes its files")
    selection = _select_rows(paths, config, progress)
    rows, label_of = selection.rows, selection.label_of
    progress("finding files", 0, 1)
    files, others = _find_files(rows, folder)
    progress("finding files", 1, 1)
    if not files:
        example = f"{rows[0].file}.mp4 or {rows[0].youtube_id}.mp4"
        raise ManifestError(folder, f"contains none of the {len(rows)} videos of the lists, such as {example}")
    notes = [*selection.notes, f"{others} videos in {folder} belong to none of these rows"] if others else selection.notes
    segments = [_segment(rows[number], label_of[rows[number].label], file, config) for number, file in files.items()]
    missing = [row for number, row in enumerate(rows) if number not in files]
    here, absent = Counter(segment.label for segment in segments), Counter(label_of[row.label] for row in missing)
    return ImportResult(
        Manifest(tuple(segments), paths[0]),
        tuple(ClassCount(label, here[label], absent[label]) for label in sorted({*label_of.values()})),
        tuple((row.label, row.youtube_id, f"{row.start:g}", f"{row.end:g}", row.split) for row in missing),
        _MISSING_COLUMNS,
        selection.unmatched,
        tuple(notes),
    )


def _select_rows(paths: Sequence[Path], config: KineticsConfig, progress: Progress) -> _Selection:
    requested = _requested_labels(config.labels)
    label_by_key = {loose_label_key(label): label for label in requested}
    label_of: dict[str, str] = {}
    classes: dict[str, None] = {}
    by_span: dict[tuple[str, float, float], KineticsRow] = {}
    unlabelled = repeated = contradicting = 0
    for number, path in enumerate(paths):
        progress("reading lists", number, len(paths))
        for row in read_kinetics_list(path):
            if not row.label:
                unlabelled += 1
                continue
            if row.label not in classes:
                classes[row.label] = None
                label = label_by_key.get(loose_label_key(row.label)) if requested else row.label
                if label is not None:
                    label_of[row.label] = label
            if row.label not in label_of:
                continue
            first = by_span.setdefault(row[1:4], row)
            repeated += first is not row
            contradicting += first is not row and label_of[first.label] != label_of[row.label]
    progress("reading lists", len(paths), len(paths))
    unmatched = tuple(str(label) for label in match_labels(requested, classes)[1])
    if not by_span:
        why = f"none of its {len(classes)} classes was requested ({'; '.join(unmatched[:3])})" if classes else "no row has a label"
        raise ManifestError(", ".join(map(str, paths)), f"{why}, so there is nothing to import")
    notes = [f"{unlabelled} rows have no label (a test list) and are left out"] if unlabelled else []
    notes += [f"{repeated} rows are listed twice and imported once"] if repeated else []
    notes += [f"{contradicting} of them have another label the second time; the first one is used"] if contradicting else []
    return _Selection(list(by_span.values()), label_of, notes, unmatched)


def _requested_labels(labels: str | None) -> tuple[str, ...]:
    """Read the labels of a list, a file, a shipped label set, or a single label; () if none are requested."""
    if labels is None:
        return ()
    if labels.strip() and labels not in LABEL_SETS and not _LIST.search(labels) and not Path(labels).exists():
        return (" ".join(labels.split()),)
    return read_class_prompts(labels).labels


def _segment(row: KineticsRow, label: str, file: _File, config: KineticsConfig) -> Segment:
    extra = {"source": "kinetics", "youtube_id": row.youtube_id, "time_start": f"{row.start:g}", "time_end": f"{row.end:g}"}
    if label != row.label:
        extra["source_label"] = row.label
    if row.split and not config.official_splits:
        extra["source_split"] = row.split
    return Segment(
        file.path,
        label=label,
        start=0.0 if file.trimmed else row.start,
        end=None if file.trimmed else row.end,
        group=row.youtube_id,
        split=_SPLITS.get(row.split.casefold()) if config.official_splits else None,
        extra=extra,
    )


# -- lists -------------------------------------------------------------------------------------------------------------------


def read_kinetics_list(listing: Path) -> Iterator[KineticsRow]:
    """Yield the rows of a list, in order, in any of the published column layouts."""
    try:
        check_regular(listing)
    except OSError as error:
        raise ManifestError(listing, f"cannot be read: {error.strerror or error}") from error
    if listing.suffix.lower() == ".json":
        yield from _read_json(listing)
        return
    try:
        with listing.open(encoding="utf-8-sig", newline="") as file:
            yield from _read_csv(file, listing)
    except UnicodeDecodeError as error:
        raise ManifestError(listing, "is not UTF-8 text: save it again as UTF-8") from error
    except OSError as error:
        raise ManifestError(listing, f"cannot be read: {error.strerror or error}") from error


def _read_csv(file: Iterable[str], listing: Path) -> Iterator[KineticsRow]:
    reader = csv.reader(file, strict=True)
    shared: dict[str, str] = {}  # one string for each class, however many rows have it
    try:
        header = next(reader, [])
        position = _column_positions(header, listing)
        width = 1 + max(position.values())
        for values in reader:
            if len(values) < width:
                if any(value.strip() for value in values):
                    raise ManifestError(listing, f"{len(values)} values, but the header has {len(header)} columns", line=reader.line_num)
                continue
            row = {name: values[index].strip() for name, index in position.items()}
            label, split = (shared.setdefault(text, text) for text in (row.get("label", ""), row.get("split", "")))
            yield KineticsRow(label, row["youtube_id"], *_span(row["start"], row["end"], listing, reader.line_num), split)
    except csv.Error as error:
        raise ManifestError(listing, f"not csv: {error}", line=reader.line_num) from error


def _column_positions(header: Sequence[str], listing: Path) -> dict[str, int]:
    index_of = {value.strip().casefold(): index for index, value in reversed(list(enumerate(header)))}
    position = {name: next((index_of[alias] for alias in aliases if alias in index_of), -1) for name, aliases in _COLUMNS.items()}
    missing = [_COLUMNS[name][0] for name in ("youtube_id", "start", "end") if position[name] < 0]
    if missing:
        columns = ", ".join(header)[:120] or "none"
        raise ManifestError(listing, f"is not a Kinetics list: it lacks {' and '.join(missing)}; its columns are: {columns}", line=1)
    return {name: index for name, index in position.items() if index >= 0}


def _span(start: str, end: str, listing: Path, line: int | None) -> tuple[float, float]:
    try:
        first, last = float(start), float(end)
    except ValueError:
        raise ManifestError(listing, f"{start!r} to {end!r} is not a span in seconds", line=line) from None
    if not 0 <= first < last < _MAX_SECONDS:
        raise ManifestError(listing, f"a segment must end after its start; this one is from {start} to {end} s", line=line)
    return first, last


def _read_json(listing: Path) -> Iterator[KineticsRow]:
    """Read id -> {annotations: {label, segment}, subset}, as published."""
    try:
        content = json.loads(listing.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ManifestError(listing, f"cannot be read as JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise ManifestError(listing, "is not a Kinetics list: it should map video ids to annotations")
    for name, entry in content.items():
        yield _read_entry(str(name), entry, listing)


def _read_entry(name: str, entry: Any, listing: Path) -> KineticsRow:
    try:
        annotations = entry["annotations"]
        start, end = annotations["segment"]
        url = str(entry.get("url", ""))
        video = url.rpartition("v=")[2] if "v=" in url else name
        span = _span(str(start), str(end), listing, None)
        return KineticsRow(str(annotations.get("label", "")), video, *span, str(entry.get("subset", "")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(listing, f"its entry {name!r} has no annotations with a segment") from error


# -- files -------------------------------------------------------------------------------------------------------------------


def _find_files(rows: Sequence[KineticsRow], folder: Path) -> tuple[dict[int, _File], int]:
    """Return row number -> its file below a folder, and the number of videos that belong to no row.

    A trimmed file is preferred to the whole video, and of several files the one in a folder named after the class.
    """
    rows_of: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        rows_of.setdefault(row.youtube_id, []).append(number)
    best: dict[int, tuple[tuple[bool, bool], _File]] = {}
    others = 0
    for path in list_videos(folder):
        numbers, trimmed = _rows_of_file(path.stem, rows_of, rows)
        others += not numbers
        for number in numbers:
            in_class_folder = loose_label_key(path.parent.name) == loose_label_key(rows[number].label)
            rank = (trimmed, in_class_folder)
            if number not in best or rank > best[number][0]:
                best[number] = (rank, _File(path, trimmed))
    return {number: file for number, (_, file) in sorted(best.items())}, others


def _rows_of_file(stem: str, rows_of: Mapping[str, Sequence[int]], rows: Sequence[KineticsRow]) -> tuple[Sequence[int], bool]:
    """Return the rows of a file name, and whether it is trimmed; an id may itself look like times."""
    video, *times = stem.rsplit("_", 2)
    if video in rows_of and len(times) == 2:
        try:
            span = tuple(int(float(time)) for time in times)
        except ValueError:
            span = ()
        trimmed = [number for number in rows_of[video] if (int(rows[number].start), int(rows[number].end)) == span]
        if trimmed:
            return trimmed, True
    return rows_of.get(stem, ()), False
