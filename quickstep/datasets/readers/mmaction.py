"""MMAction2 list files: `path number` a line, spaces in the path allowed, or `folder frames number`; knows nothing of csv.

A list of frame folders may say where a segment begins, too: `folder first frames number`. What stands on the disk is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from quickstep.datasets.readers.class_lists import named
from quickstep.datasets.readers.rows import Row
from quickstep.types.errors import ManifestError

_LINE = re.compile(r"^(?P<path>\S.*?)\s+(?P<label>\d{1,9})$")
_FRAMES = re.compile(r"^(?P<folder>\S.*?)(?:\s+(?P<first>\d{1,9}))?\s+(?P<frames>\d{1,9})\s+(?P<label>\d{1,9})$")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,5}$")
_SEVERAL = re.compile(r"\.[A-Za-z0-9]{2,5}(\s+\d+)+$")


class FrameRow(NamedTuple):
    """A line about a folder of frames: from frame `first` (counted from 0) on, `frames` of them."""

    line: int
    folder: str
    first: int
    frames: int
    label: str


def looks_like(text: str) -> bool:
    """Whether the first line that says something has the form `path number`."""
    return _LINE.match(_first(text)) is not None


def lists_frames(text: str) -> bool:
    """Whether the lines are about folders of frames: two or three numbers behind what is no name of a file."""
    match = _FRAMES.match(_first(text))
    return match is not None and _SUFFIX.search(match["folder"]) is None


def read_rows(text: str, path: Path, *, classes: Mapping[int, str] | None) -> list[Row]:
    """One row a line; the last word is the class number."""
    if lists_frames(text):
        raise ManifestError(path, "lists folders of frames, not videos: make videos of them once with `quickstep import-dataset mmaction`")
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.match(line.strip())
        if match is None:
            raise ManifestError(path, f"expected `path number`, found {line.strip()[:80]!r}", line=number)
        if _SEVERAL.search(match["path"]):
            raise ManifestError(path, "several numbers stand behind the path; a segment has one label", line=number)
        rows.append(Row(number, match["path"], label=named(match["label"], classes, listing=path, line=number)))
    return rows


def read_frame_rows(text: str, path: Path, *, classes: Mapping[int, str] | None) -> list[FrameRow]:
    """The lines of a list of frame folders."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = _FRAMES.match(line.strip())
        if match is None or int(match["frames"]) == 0:
            raise ManifestError(path, f"expected `folder frames number`, found {line.strip()[:80]!r}", line=number)
        label = named(match["label"], classes, listing=path, line=number)
        rows.append(FrameRow(number, match["folder"], int(match["first"] or 0), int(match["frames"]), label))
    return rows


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
