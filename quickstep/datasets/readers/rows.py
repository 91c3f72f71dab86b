"""Row: one line of a list of videos as text; `to_segment` checks it and turns it into a Segment."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from quickstep.types.errors import ManifestError
from quickstep.types.segment import Segment

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
NO_SPLIT = "out"  # of a row that is not part of the chosen official split
_MISSING = {"nan", "NaN", "NAN"}  # how tables write a missing value


@dataclass(frozen=True)
class Row:
    """The values of one line; an empty text is a missing value."""

    line: int
    path: str
    label: str = ""
    start: str = ""
    end: str = ""
    group: str = ""
    split: str = ""
    pose_person: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


def plain(text: str) -> str:
    """Return a name without surrounding space, in one unicode form: the same name typed on two systems is equal."""
    return unicodedata.normalize("NFC", text.strip())


def to_segment(row: Row, listing: Path, *, root: Path, labelled: bool, official_split: str | None = None) -> Segment:
    """Return the segment of a row, or raise a ManifestError with the file and the line; relative paths start at `root`.

    A row may belong to several official splits (`1:train|2:test`); `official_split` chooses one of them.
    """

    def wrong(why: str) -> ManifestError:
        return ManifestError(listing, why, line=row.line)

    if not row.path.strip() or row.path in _MISSING:
        raise wrong("the path is missing")
    if "\0" in row.path:
        raise wrong("the path contains a zero character")
    label, group, split = plain(row.label), plain(row.group), plain(row.split)
    for name, value in (("label", label), ("group", group), ("split", split)):
        if value in _MISSING:
            raise wrong(f"the {name} is {value!r}, which means a missing value: fill it in or leave it empty")
    if labelled and not label:
        raise wrong("the label is missing")
    try:
        return Segment(
            locate(row.path, root),
            label=label or None,
            start=_seconds("start", row.start) or 0.0,
            end=_seconds("end", row.end),
            group=group or None,
            split=_split(split, official_split) if labelled else None,
            extra=dict(row.extra),
            person=_person(row.pose_person),
        )
    except ValueError as error:
        raise wrong(str(error)) from error


def choose_split(text: str, official_split: str | None) -> str:
    """Return the split of a row; where it lists several official splits, that of the chosen one, or NO_SPLIT."""
    if ":" not in text:
        return text
    splits = {name.strip(): split.strip() for name, _, split in (entry.partition(":") for entry in text.split("|"))}
    if official_split is None:
        raise ValueError(f"the row lists several official splits ({', '.join(splits)}): choose one with `official_split`")
    return splits.get(official_split, NO_SPLIT)


def _split(text: str, official_split: str | None) -> str | None:
    split = choose_split(text, official_split)
    if split and split.casefold() not in SPLITS and split != NO_SPLIT:
        raise ValueError(f"the split is {split!r}; it must be train, val or test (or empty)")
    return SPLITS.get(split.casefold(), split) or None


def _person(text: str) -> int | None:
    text = text.strip()
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"the pose_person is {text!r}; it must be the number of a person, or empty for the dancer")
    return int(text) if text else None


def _seconds(name: str, text: str) -> float | None:
    text = text.strip()
    if not text:
        return None
    try:
        if "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise ValueError(f"the {name} is {text!r}, which is not a number of seconds") from None


def locate(text: str, root: Path) -> Path:
    """Return the file of a path in a list: as written if it exists, else with spaces, backslashes or unicode form corrected."""
    as_written = _under(root, text)
    for spelling in _spellings(text):
        path = _under(root, spelling)
        if os.path.lexists(path):
            return path
    return _in_other_unicode_form(as_written) or as_written


def _spellings(text: str) -> Iterator[str]:
    yield text
    yield text.strip()
    slashed = text.strip().replace("\\", "/")
    yield slashed
    yield unicodedata.normalize("NFC", slashed)
    yield unicodedata.normalize("NFD", slashed)


def _under(root: Path, text: str) -> Path:
    path = Path(text)
    if path.is_absolute() or ".." not in path.parts:
        return root / path
    # `..` starts at the real folder of the list, as in a shell
    return Path(os.path.normpath(Path(os.path.realpath(root)) / path)) if _is_linked(root) else Path(os.path.normpath(root / path))


def _is_linked(folder: Path) -> bool:
    return os.path.realpath(folder) != os.path.abspath(folder)  # noqa: PTH100 - compares with the path before links are resolved


def _in_other_unicode_form(path: Path) -> Path | None:
    """Return the existing path whose parts differ only in unicode form."""
    if path.as_posix().isascii():
        return None
    current = Path(path.anchor) if path.is_absolute() else Path()
    for part in PurePosixPath(path.as_posix()).parts[1 if path.is_absolute() else 0 :]:
        current = current / part
        if os.path.lexists(current):
            continue
        try:
            names = [entry.name for entry in current.parent.iterdir()]
        except (OSError, ValueError):
            return None
        equal = [name for name in names if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", part)]
        if not equal:
            return None
        current = current.parent / equal[0]
    return current
