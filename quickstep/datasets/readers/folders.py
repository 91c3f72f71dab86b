"""Read folders of videos: one folder for each class, or train, val and test folders with class folders inside.

A folder without a single video may contain pose files instead; beside videos, pose files are not read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quickstep.datasets.readers.list_files import SPLITS, plain
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.poses.formats.json_formats import is_openpose_folder
from quickstep.storage.model_folder import RECORD
from quickstep.types.errors import ManifestError
from quickstep.types.segment import Segment

_VIDEOS = (
    "3g2 3gp apng asf avi divx dv f4v flv gif h264 h265 hevc m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf nut ogm ogv qt rm "
    "rmvb ts vob webm wmv y4m"
)
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEOS.split())
_SYSTEM_FILES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found"})


@dataclass(frozen=True)
class Skipped:
    """How many files of a folder were left out, and why."""

    hidden: int = 0  # names that begin with a dot, and files of the operating system
    other: int = 0  # files that are not videos
    loose: int = 0  # videos outside the class folders
    tables: tuple[str, ...] = ()  # csv files beside the class folders, which may contain groups

    def __add__(self, more: Skipped) -> Skipped:
        return Skipped(self.hidden + more.hidden, self.other + more.other, self.loose + more.loose, self.tables + more.tables)


@dataclass(frozen=True)
class FolderContent:
    """The segments of a folder, the classes without a video, and what was left out."""

    segments: tuple[Segment, ...] = ()
    empty: frozenset[str] = frozenset()
    skipped: Skipped = Skipped()

    def __add__(self, more: FolderContent) -> FolderContent:
        return FolderContent(self.segments + more.segments, self.empty | more.empty, self.skipped + more.skipped)


@dataclass(frozen=True)
class _Directory:
    """The entries of one directory."""

    folders: tuple[Path, ...]
    videos: tuple[Path, ...]
    skipped: Skipped


_Test = Callable[[Path], bool]  # whether a path is one of the files to list


def is_video(path: Path) -> bool:
    """Whether the suffix is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _is_poses(path: Path) -> bool:
    """Whether the suffix is that of a pose file, or the folder has one file of joints for each frame."""
    return is_pose_name(path) or (path.is_dir() and is_openpose_folder(path))


def read_folder(folder: Path, *, labelled: bool) -> FolderContent:
    """List every video below a folder; its class is the name of the first folder on the way to it, below train, val or test."""
    accepts = is_video if _walk(folder, is_video)[0] or not _walk(folder, _is_poses)[0] else _is_poses
    if not labelled:
        videos, skipped = _walk(folder, accepts)
        return FolderContent(tuple(Segment(path) for path in videos), skipped=skipped)
    splits = _split_folders(folder, accepts)
    if splits:
        content = FolderContent(skipped=_beside_classes(folder, accepts))
        for split in splits:
            content += _read_classes(split, SPLITS[split.name.casefold()], accepts)
    else:
        content = _read_classes(folder, None, accepts)
    if not content.segments:
        if (folder / RECORD).is_file():
            raise ManifestError(folder, "is a model folder; name a folder of labelled videos, or a csv that lists them")
        where = "its videos are not in class folders" if content.skipped.loose else "contains no videos"
        raise ManifestError(folder, f"{where}; put each video into a folder named after its class")
    used = {segment.label for segment in content.segments}
    return FolderContent(content.segments, content.empty - used, content.skipped)


def list_videos(folder: Path) -> list[Path]:
    """List the video files below a folder that are not empty, in order."""
    if not folder.is_dir():
        raise ManifestError(folder, "is not a folder" if folder.exists() else "does not exist; check the path")
    return [path for path in _walk(folder, is_video)[0] if _has_content(path)]


def _has_content(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def _beside_classes(folder: Path, wanted: _Test) -> Skipped:
    """Count the files beside the class folders; a pose file there may describe the whole dataset, so it is not a video without class."""
    directory = _list(folder, wanted)
    count = len(directory.videos)
    return directory.skipped + (Skipped(loose=count) if wanted is is_video else Skipped(other=count))


def _split_folders(folder: Path, wanted: _Test) -> list[Path]:
    """List the train, val and test folders, if the class folders are inside them."""
    full = [inner for inner in _list(folder, wanted).folders if _walk(inner, wanted)[0]]
    splits = [inner for inner in full if inner.name.casefold() in SPLITS]
    deep = [inner for inner in splits if any(_walk(below, wanted)[0] for below in _list(inner, wanted).folders)]
    if len(splits) == len(full):
        if splits and not deep:
            raise ManifestError(folder, f"{splits[0].name} has videos but no class folders; put them into a folder for each class")
        return splits
    if deep and len({SPLITS[inner.name.casefold()] for inner in splits}) > 1:
        others = ", ".join(inner.name for inner in full if inner not in splits)
        raise ManifestError(folder, f"has both splits and other folders with videos ({others[:80]}); keep one kind")
    return []


def _read_classes(folder: Path, split: str | None, wanted: _Test) -> FolderContent:
    content = FolderContent(skipped=_beside_classes(folder, wanted))
    for inner in _list(folder, wanted).folders:
        label = plain(inner.name)
        videos, skipped = _walk(inner, wanted)
        if videos and (label.casefold() == "nan" or not label):
            raise ManifestError(inner, "tables read this class name as a missing value; rename the folder")
        segments = tuple(Segment(path, label=label, split=split) for path in videos)
        content += FolderContent(segments, frozenset() if videos else frozenset({label}), Skipped(skipped.hidden, skipped.other))
    return content


def _walk(folder: Path, wanted: _Test) -> tuple[list[Path], Skipped]:
    """List the wanted files below a folder, in order; links are followed, but not upwards, and no directory is entered twice."""
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
        directory = _list(current, wanted)
        videos += directory.videos
        skipped += directory.skipped
        waiting += reversed(directory.folders)
    return sorted(videos), skipped


def _list(folder: Path, wanted: _Test) -> _Directory:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise ManifestError(folder, f"cannot be read: {error.strerror or error}") from error
    folders, videos, tables = [], [], []
    hidden = other = 0
    for path in paths:
        if path.name.startswith(".") or path.name in _SYSTEM_FILES:
            hidden += 1
        elif wanted(path):  # a broken link or a directory with such a name, too: reading it later reports it
            videos.append(_utf8(path))
        elif path.is_dir():
            folders.append(_utf8(path))
        else:
            other += 1
            tables += [path.name] if path.suffix.lower() in {".csv", ".tsv"} else []
    return _Directory(tuple(folders), tuple(videos), Skipped(hidden, other, 0, tuple(tables)))


def _utf8(path: Path) -> Path:
    """Return the path, or refuse a name that a csv could not contain."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ManifestError(ascii(str(path.parent)), f"the name {path.name!a} is not UTF-8; rename it") from error
    return path
