"""Read folders of videos: one folder for each class, or train, val and test folders with class folders inside; and whole pose datasets.

A folder without a single video may contain pose files instead; beside videos, pose files are not read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from quickstep.datasets.readers.list_files import SPLITS, class_name, plain
from quickstep.signals.poses.formats import is_pose_name, pyskl, read_annotations, sequence_path, text_files
from quickstep.signals.poses.formats.json_formats import is_openpose_folder
from quickstep.storage.model_folder import RECORD
from quickstep.types.errors import ManifestError, MediaError
from quickstep.types.segment import Segment

_PICKLE_SUFFIXES = (".pkl", ".pickle")


def is_set(path: Path) -> bool:
    """Whether a path is a pose dataset: a pickle, a text file of sequences with its labels, or a folder that contains such files."""
    if path.is_dir():
        return bool(_text_files_in(path))
    return path.is_file() and (path.suffix.lower() in _PICKLE_SUFFIXES or _is_text(path))


def read_set(path: Path, classes: Mapping[int, str] | None, *, official_split: str | None, labelled: bool) -> tuple[Segment, ...]:
    """Read the sequences of a pose dataset, each with its label and split."""
    try:
        if path.is_dir() or _is_text(path):
            if official_split is not None:
                raise ManifestError(path, f"has a single split, so {official_split!r} cannot be chosen")
            return tuple(segment for file in _text_files_of(path) for segment in _read_text_file(file, classes, labelled=labelled))
        return _read_pickle(path, classes, official_split=official_split, labelled=labelled)
    except MediaError as error:
        raise ManifestError(error.path, error.why) from error


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and text_files.part_of(path) is not None and text_files.labels_file(path).is_file()


def _text_files_in(folder: Path) -> list[Path]:
    """List the text files of sequences in a folder, train before val before test."""
    order = ("train", "val", "test", "")
    try:
        files = [file for file in sorted(folder.iterdir()) if _is_text(file)]
    except OSError:
        return []
    return sorted(files, key=lambda file: order.index(text_files.part_of(file) or ""))


def _text_files_of(path: Path) -> list[Path]:
    """List the files of a folder; of a training file also the files of the other splits beside it; of another file it alone."""
    if path.is_dir():
        return _text_files_in(path)
    return _text_files_in(path.parent) if text_files.part_of(path) == "train" else [path]


def _read_text_file(file: Path, classes: Mapping[int, str] | None, *, labelled: bool) -> list[Segment]:
    labels_file = text_files.labels_file(file)
    split = text_files.part_of(file) or None
    segments = []
    for number, label in enumerate(text_files.read_labels(labels_file)):
        name = plain(class_name(label, classes, listing=labels_file, line=number + 1)) if labelled else None
        segments.append(Segment(sequence_path(file, str(number)), label=name, split=split))
    return segments


def _read_pickle(path: Path, classes: Mapping[int, str] | None, *, official_split: str | None, labelled: bool) -> tuple[Segment, ...]:
    annotations = read_annotations(path)
    splits = pyskl.parts_of(path, annotations, official_split) if labelled else {}
    segments = []
    for number, (sequence, entry) in enumerate(annotations.sequences.items(), start=1):
        if splits and sequence not in splits:
            continue  # not part of the chosen official split
        label = entry.get("label")
        if labelled and label is None:
            raise ManifestError(path, f"its sequence {sequence!r} has no label")
        name = plain(class_name(str(label), classes, listing=path, line=number)) if labelled else None
        segments.append(Segment(sequence_path(path, sequence), label=name, split=splits.get(sequence)))
    return tuple(segments)


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
