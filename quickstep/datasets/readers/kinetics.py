"""Kinetics lists (400, 600, 700, 700-2020), csv or json, and the downloaded files that belong to their rows; knows no manifest.

Rows are read one at a time, so that a list of hundreds of thousands costs only the rows that are wanted.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quickstep.datasets.readers.folders import VIDEO_SUFFIXES
from quickstep.types.errors import ManifestError

_COLUMNS = {
    "label": ("label", "class", "class_name", "category"),
    "youtube_id": ("youtube_id", "video_id", "ytid", "id"),
    "start": ("time_start", "start", "start_time"),
    "end": ("time_end", "end", "end_time"),
    "split": ("split", "subset"),
}
COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


class Row(NamedTuple):
    """One labelled span of one video of the web; an empty label is one that was not published (the test lists)."""

    label: str
    youtube_id: str
    start: float
    end: float
    split: str

    @property
    def file(self) -> str:
        """The usual name of its downloaded, trimmed file, without the ending."""
        return f"{self.youtube_id}_{int(self.start):06d}_{int(self.end):06d}"


class File(NamedTuple):
    """A downloaded file that belongs to a row: trimmed to its span, or the whole video."""

    path: Path
    trimmed: bool


def read_rows(listing: Path) -> Iterator[Row]:
    """The rows of a list, in order, whichever of the published column layouts it has."""
    if listing.suffix.lower() == ".json":
        yield from _of_json(listing)
        return
    try:
        with listing.open(encoding="utf-8-sig", newline="") as handle:
            yield from _of_csv(handle, listing)
    except UnicodeDecodeError as error:
        raise ManifestError(listing, "is not UTF-8 text: save it again as UTF-8") from error
    except OSError as error:
        raise ManifestError(listing, f"cannot be read: {error.strerror or error}") from error


def _of_csv(handle: Iterable[str], listing: Path) -> Iterator[Row]:
    reader = csv.reader(handle, strict=True)
    label_of: dict[str, str] = {}  # one string a class, however many rows
    try:
        header = next(reader, [])
        place = _places(header, listing)
        width = 1 + max(place.values())
        for cells in reader:
            if len(cells) < width:
                if any(cell.strip() for cell in cells):
                    raise ManifestError(listing, f"{len(cells)} values where the header names {len(header)} columns", line=reader.line_num)
                continue
            said = {name: cells[index].strip() for name, index in place.items()}
            label, split = (label_of.setdefault(text, text) for text in (said.get("label", ""), said.get("split", "")))
            yield Row(label, said["youtube_id"], *_span(said["start"], said["end"], listing, reader.line_num), split)
    except csv.Error as error:
        raise ManifestError(listing, f"not csv: {error}", line=reader.line_num) from error


def _places(header: Sequence[str], listing: Path) -> dict[str, int]:
    """Where each column stands, whatever their order and number."""
    there = {cell.strip().casefold(): index for index, cell in reversed(list(enumerate(header)))}
    place = {name: next((there[alias] for alias in aliases if alias in there), -1) for name, aliases in _COLUMNS.items()}
    lacking = [_COLUMNS[name][0] for name in ("youtube_id", "start", "end") if place[name] < 0]
    if lacking:
        columns = ", ".join(header)[:120] or "none"
        raise ManifestError(
            listing, f"is no Kinetics list: its first line names no {' and no '.join(lacking)}; it has the columns {columns}", line=1
        )
    return {name: index for name, index in place.items() if index >= 0}


def _span(start: str, end: str, listing: Path, line: int | None) -> tuple[float, float]:
    try:
        first, last = float(start), float(end)
    except ValueError:
        raise ManifestError(listing, f"{start!r} to {end!r} are no seconds", line=line) from None
    if not 0 <= first < last < 1e7:
        raise ManifestError(listing, f"a segment ends after its start, and not from {start} to {end} s", line=line)
    return first, last


def _of_json(listing: Path) -> Iterator[Row]:
    """The same as published in JSON: id -> {annotations: {label, segment}, subset}."""
    try:
        content = json.loads(listing.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ManifestError(listing, f"cannot be read as JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise ManifestError(listing, "is no Kinetics list: it should name videos by their ids")
    for name, said in content.items():
        yield _of_entry(str(name), said, listing)


def _of_entry(name: str, said: Any, listing: Path) -> Row:
    try:
        marks = said["annotations"]
        start, end = marks["segment"]
        url = str(said.get("url", ""))
        video = url.rpartition("v=")[2] if "v=" in url else name
        return Row(str(marks.get("label", "")), video, *_span(str(start), str(end), listing, None), str(said.get("subset", "")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(listing, f"its entry {name!r} has no annotations with a segment") from error


def find_files(rows: Sequence[Row], folder: Path, *, spelt: Callable[[str], str]) -> tuple[dict[int, File], int]:
    """Row number -> its file in a folder, however deep; and how many videos there belong to none of the rows.

    A trimmed file counts more than the whole video; of several, the one in a folder named as the class (as `spelt` has it).
    """
    wanted: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        wanted.setdefault(row.youtube_id, []).append(number)
    found: dict[int, tuple[tuple[bool, bool], File]] = {}
    strangers = 0
    for path in videos_below(folder):
        stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122 - a Path each would take as long as the walk
        numbers, trimmed = _rows_of(stem, wanted, rows)
        strangers += not numbers
        for number in numbers:
            at_home = spelt(os.path.basename(os.path.dirname(path))) == spelt(rows[number].label)  # noqa: PTH119, PTH120
            worth = (trimmed, at_home)
            if number not in found or worth > found[number][0]:
                found[number] = (worth, File(Path(path), trimmed))
    return {number: file for number, (_, file) in sorted(found.items())}, strangers


def _rows_of(stem: str, wanted: Mapping[str, Sequence[int]], rows: Sequence[Row]) -> tuple[Sequence[int], bool]:
    """Which rows a file's name means, and whether it is trimmed; an id may itself contain what looks like times."""
    video, *times = stem.rsplit("_", 2)
    if video in wanted and len(times) == 2:
        try:
            span = tuple(int(float(time)) for time in times)
        except ValueError:
            span = ()
        meant = [number for number in wanted[video] if (int(rows[number].start), int(rows[number].end)) == span]
        if meant:
            return meant, True
    return wanted.get(stem, ()), False


def videos_below(folder: Path) -> Iterator[str]:
    """The path of every file below a folder that its name says is a video and that is not empty, in order."""
    if not folder.is_dir():
        raise ManifestError(folder, "is no folder" if folder.exists() else "does not exist")
    waiting, entered = [os.fspath(folder)], set()
    while waiting:
        current = waiting.pop()
        real = os.path.realpath(current)
        if real in entered:
            continue
        entered.add(real)
        try:
            with os.scandir(current) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise ManifestError(current, f"cannot be read: {error.strerror or error}") from error
        inner = [entry.path for entry in listed if entry.is_dir() and not entry.name.startswith(".")]
        waiting += reversed(inner)
        yield from (entry.path for entry in listed if _is_whole_video(entry))


def _is_whole_video(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() not in VIDEO_SUFFIXES or entry.name.startswith("."):  # noqa: PTH122
        return False
    try:
        return entry.is_file() and entry.stat().st_size > 0
    except OSError:
        return False
