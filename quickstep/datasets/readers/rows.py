"""Row: one line of a list of videos, still as text, and how it becomes a Segment; knows no file format."""

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
LEFT_OUT = "out"  # of the chosen fold
_MISSING = {"nan", "NaN", "NAN"}  # what tables write for a value that is not there


@dataclass(frozen=True)
class Row:
    """What a line says about one video; an empty text is a value that was not given."""

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
    """A name without surrounding space, in one unicode form, so that it is the same whoever typed it."""
    return unicodedata.normalize("NFC", text.strip())


def to_segment(row: Row, listing: Path, *, root: Path, labelled: bool, fold: str | None = None) -> Segment:
    """The segment a row means, or a ManifestError that names the file and the line; `root` is what relative paths count from.

    A split may be said for several folds (`1:train|2:test`); then `fold` chooses one of them.
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
            raise wrong(f"the {name} is {value!r}, a missing value: fill it in or leave the cell empty")
    if labelled and not label:
        raise wrong("the label is missing")
    try:
        split = in_fold(split, fold) if labelled else ""
    except ValueError as error:
        raise wrong(str(error)) from error
    if split and split.casefold() not in SPLITS and split != LEFT_OUT:
        raise wrong(f"the split is {split!r}; it must be train, val or test (or empty)")
    try:
        start = _seconds("start", row.start) or 0.0
        end = _seconds("end", row.end)
        return Segment(
            locate(row.path, root),
            label=label or None,
            start=start,
            end=end,
            group=group or None,
            split=SPLITS.get(split.casefold(), split) or None,
            extra=dict(row.extra),
            person=_person(row.pose_person),
        )
    except ValueError as error:
        raise wrong(str(error)) from error


def _person(text: str) -> int | None:
    text = text.strip()
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"the pose_person is {text!r}; it is the number of a person, or empty for the dancer")
    return int(text) if text else None


def in_fold(split: str, fold: str | None) -> str:
    """The part that a cell says, in the chosen fold where it says several; "" for what that fold leaves out."""
    if ":" not in split:
        return split
    folds = {name.strip(): part.strip() for name, _, part in (each.partition(":") for each in split.split("|"))}
    if fold is None:
        raise ValueError(
            f"there are several official splits ({', '.join(folds)}): choose one with `official_split`, such as {next(iter(folds))}"
        )
    return folds.get(fold, LEFT_OUT)


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
    """The file that a path in a list means: as written if it exists, else tidied (spaces, backslashes, unicode form)."""
    first = _under(root, text)
    for candidate in _spellings(text):
        path = _under(root, candidate)
        if os.path.lexists(path):
            return path
    return _by_listing(first) or first


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
    # a relative path is written against the real place of the list, as a shell would follow it
    return Path(os.path.normpath(Path(os.path.realpath(root)) / path)) if _is_linked(root) else Path(os.path.normpath(root / path))


def _is_linked(folder: Path) -> bool:
    return os.path.realpath(folder) != os.path.abspath(folder)  # noqa: PTH100 - lexical on purpose


def _by_listing(path: Path) -> Path | None:
    """The same path where single parts differ in unicode form from what is on the disk."""
    if path.as_posix().isascii():
        return None
    found = Path(path.anchor) if path.is_absolute() else Path()
    for part in PurePosixPath(path.as_posix()).parts[1 if path.is_absolute() else 0 :]:
        found = found / part
        if os.path.lexists(found):
            continue
        try:
            names = [entry.name for entry in found.parent.iterdir()]
        except (OSError, ValueError):
            return None
        same = [name for name in names if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", part)]
        if not same:
            return None
        found = found.parent / same[0]
    return found
