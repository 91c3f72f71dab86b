"""Folders of videos: one a class, or train|val|test with one a class inside; opens no video.

A folder without any video may hold files of poses instead; where there are videos, what lies beside them is not taken for poses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quickstep.datasets.readers.rows import SPLITS, plain
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.poses.formats.json_formats import is_openpose_folder
from quickstep.types.errors import ManifestError
from quickstep.types.segment import Segment

_VIDEOS = (
    "3g2 3gp apng asf avi divx dv f4v flv gif h264 h265 hevc m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf nut ogm ogv qt rm "
    "rmvb ts vob webm wmv y4m"
)
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEOS.split())
_LEFTOVERS = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found"})


@dataclass(frozen=True)
class Skipped:
    """What lay in a folder and was not taken, counted."""

    hidden: int = 0  # names that begin with a dot, and what systems leave behind
    other: int = 0  # files that are not videos
    loose: int = 0  # videos that lie in no class folder
    tables: tuple[str, ...] = ()  # csv files beside the class folders, which may know more than the folders say

    def __add__(self, more: Skipped) -> Skipped:
        return Skipped(self.hidden + more.hidden, self.other + more.other, self.loose + more.loose, self.tables + more.tables)


@dataclass(frozen=True)
class Found:
    """The segments of a folder, the classes whose folders hold no video, and what was skipped."""

    segments: tuple[Segment, ...] = ()
    empty: frozenset[str] = frozenset()
    skipped: Skipped = Skipped()

    def __add__(self, more: Found) -> Found:
        return Found(self.segments + more.segments, self.empty | more.empty, self.skipped + more.skipped)


@dataclass(frozen=True)
class _Shelf:
    """One directory, sorted into what it holds."""

    folders: tuple[Path, ...]
    videos: tuple[Path, ...]
    skipped: Skipped


Kind = Callable[[Path], bool]  # whether a name in a folder is what is looked for


def is_video(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_poses(path: Path) -> bool:
    """Whether the name says so, or the folder is one of a file of joints a frame."""
    return is_pose_name(path) or (path.is_dir() and is_openpose_folder(path))


def read_folder(folder: Path, *, labelled: bool) -> Found:
    """Every video below a folder; its class is the first folder on the way down, after train, val or test if those are there."""
    kind = is_video if _walk(folder, is_video)[0] or not _walk(folder, is_poses)[0] else is_poses
    if not labelled:
        videos, skipped = _walk(folder, kind)
        return Found(tuple(Segment(path) for path in videos), skipped=skipped)
    splits = _splits(folder, kind)
    if splits:
        found = Found(skipped=_loose(folder, kind))
        for inner in splits:
            found += _classes(inner, SPLITS[inner.name.casefold()], kind)
    else:
        found = _classes(folder, None, kind)
    if not found.segments and found.skipped.loose:
        raise ManifestError(folder, "its videos lie in no class folder; put each video into a folder named as its class")
    if not found.segments:
        raise ManifestError(folder, "contains no videos; put each video into a folder named as its class")
    used = {segment.label for segment in found.segments}
    return Found(found.segments, found.empty - used, found.skipped)


def _loose(folder: Path, kind: Kind) -> Skipped:
    """What lies beside the class folders: videos without a class; a file that might be poses may as well describe the set."""
    shelf = _look(folder, kind)
    aside = len(shelf.videos)
    return shelf.skipped + (Skipped(loose=aside) if kind is is_video else Skipped(other=aside))


def _splits(folder: Path, kind: Kind) -> list[Path]:
    """The train, val and test folders, where the classes lie one level deeper."""
    full = [inner for inner in _look(folder, kind).folders if _walk(inner, kind)[0]]
    splits = [inner for inner in full if inner.name.casefold() in SPLITS]
    deep = [inner for inner in splits if any(_walk(below, kind)[0] for below in _look(inner, kind).folders)]
    if len(splits) == len(full):
        if splits and not deep:
            raise ManifestError(folder, f"{splits[0].name} holds videos but no class folders; put a folder a class into it")
        return splits
    if deep and len({SPLITS[inner.name.casefold()] for inner in splits}) > 1:
        others = ", ".join(inner.name for inner in full if inner not in splits)
        raise ManifestError(folder, f"holds splits beside other folders with videos ({others[:80]}); keep one or the other")
    return []


def _classes(folder: Path, split: str | None, kind: Kind) -> Found:
    found = Found(skipped=_loose(folder, kind))
    for inner in _look(folder, kind).folders:
        label = plain(inner.name)
        videos, skipped = _walk(inner, kind)
        if videos and (label.casefold() == "nan" or not label):
            raise ManifestError(inner, "a class cannot be called that, tables read it as a missing value; rename the folder")
        segments = tuple(Segment(path, label=label, split=split) for path in videos)
        found += Found(segments, frozenset() if videos else frozenset({label}), Skipped(skipped.hidden, skipped.other))
    return found


def _walk(folder: Path, kind: Kind) -> tuple[list[Path], Skipped]:
    """The videos below a folder, in order; links are followed, but not upwards, and no directory is entered twice."""
    waiting = [folder]
    entered = {os.path.realpath(above) for above in (*folder.absolute().parents, *folder.resolve().parents)}
    videos: list[Path] = []
    skipped = Skipped()
    while waiting:
        current = waiting.pop()
        real = os.path.realpath(current)
        if real in entered:
            continue
        entered.add(real)
        shelf = _look(current, kind)
        videos += shelf.videos
        skipped += shelf.skipped
        waiting += reversed(shelf.folders)
    return sorted(videos), skipped


def _look(folder: Path, kind: Kind) -> _Shelf:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise ManifestError(folder, f"cannot be read: {error.strerror or error}") from error
    folders, videos, tables = [], [], []
    hidden = other = 0
    for path in paths:
        if path.name.startswith(".") or path.name in _LEFTOVERS:
            hidden += 1
        elif kind(path):  # also a broken link or a directory of that name: it fails by name later, rather than vanish
            videos.append(_spelled(path))
        elif path.is_dir():
            folders.append(_spelled(path))
        else:
            other += 1
            tables += [path.name] if path.suffix.lower() in {".csv", ".tsv"} else []
    return _Shelf(tuple(folders), tuple(videos), Skipped(hidden, other, 0, tuple(tables)))


def _spelled(path: Path) -> Path:
    """The path itself, if a manifest could write it down."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ManifestError(ascii(str(path.parent)), f"the name {path.name!a} is not UTF-8; rename it") from error
    return path
