"""Read MMAction2 annotation files: `path number` on each line, or `folder frames number` and `folder first frames number`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from quickstep.datasets.readers.list_files import Row, class_name
from quickstep.types.errors import ManifestError

_LINE = re.compile(r"^(?P<path>\S.*?)\s+(?P<label>\d{1,9})$")
_FRAMES = re.compile(r"^(?P<folder>\S.*?)(?:\s+(?P<first>\d{1,9}))?\s+(?P<frames>\d{1,9})\s+(?P<label>\d{1,9})$")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,5}$")
_SEVERAL_NUMBERS = re.compile(r"\.[A-Za-z0-9]{2,5}(\s+\d+)+$")


class FrameRow(NamedTuple):
    """A line about a folder of frames: `frames` of them, beginning with frame `first` (counted from 0)."""

    line: int
    folder: str
    first: int
    frames: int
    label: str


def looks_like(text: str) -> bool:
    """Whether the first line that is not blank has the form `path number`."""
    return _LINE.match(_first_line(text)) is not None


def lists_frames(text: str) -> bool:
    """Whether the lines list folders of frames: two or three numbers after a name without a suffix."""
    match = _FRAMES.match(_first_line(text))
    return match is not None and _SUFFIX.search(match["folder"]) is None


def read_rows(text: str, path: Path, *, classes: Mapping[int, str] | None) -> list[Row]:
    """Read a list of videos; the last word of a line is the class number, and the path may contain spaces."""
    if lists_frames(text):
        raise ManifestError(path, "lists folders of frames, not videos: import it once with `quickstep import-dataset mmaction`")
    rows = []
    for number, line in _lines(text):
        match = _LINE.match(line)
        if match is None:
            raise ManifestError(path, f"expected `path number`, got {line[:80]!r}", line=number)
        if _SEVERAL_NUMBERS.search(match["path"]):
            raise ManifestError(path, "there are several numbers after the path, but a segment has one label", line=number)
        rows.append(Row(number, match["path"], label=class_name(match["label"], classes, listing=path, line=number)))
    return rows


def read_frame_rows(text: str, path: Path, *, classes: Mapping[int, str] | None) -> list[FrameRow]:
    """Read a list of folders of frames."""
    rows = []
    for number, line in _lines(text):
        match = _FRAMES.match(line)
        if match is None or int(match["frames"]) == 0:
            raise ManifestError(path, f"expected `folder frames number`, got {line[:80]!r}", line=number)
        label = class_name(match["label"], classes, listing=path, line=number)
        rows.append(FrameRow(number, match["folder"], int(match["first"] or 0), int(match["frames"]), label))
    return rows


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank."""
    yield from ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
