"""Manifest: labelled segments as one list, read from folders, csv or list files and written as csv; opens no video."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from quickstep.datasets.readers import csv_files, mmaction, pose_sets
from quickstep.datasets.readers.class_lists import read_class_list
from quickstep.datasets.readers.folders import Skipped, is_video, read_folder
from quickstep.datasets.readers.rows import LEFT_OUT, plain, to_segment
from quickstep.datasets.readers.text_files import read_text
from quickstep.signals.poses.formats import is_pose_name, split_sequence
from quickstep.types.errors import ManifestError
from quickstep.types.segment import Segment

Split = Literal["train", "val", "test"]
PARTS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Manifest:
    """Segments with their labels, in order; `source` is the file or folder they were read from."""

    segments: tuple[Segment, ...]
    source: Path | None = None
    empty: frozenset[str] = frozenset()  # classes that were named but that no segment has
    skipped: Skipped = field(default=Skipped(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(map(_tidy, self.segments)))

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted: their order is the order of every score."""
        return tuple(sorted({segment.label for segment in self.segments if segment.label is not None}))

    @property
    def counts(self) -> dict[str, int]:
        """How many segments each label has, sorted by label."""
        return dict(sorted(Counter(segment.label for segment in self.segments if segment.label is not None).items()))

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each segment, in order; a video without one is a group of its own."""
        return tuple(group_of(segment) for segment in self.segments)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The distinct videos, in order."""
        return tuple(dict.fromkeys(segment.path for segment in self.segments))

    @property
    def places(self) -> tuple[str, ...]:
        """Each segment's path from the deepest folder that holds them all: the same wherever that folder stands."""
        return _places([segment.path for segment in self.segments])

    @property
    def missing(self) -> tuple[Segment, ...]:
        """The segments whose video does not exist."""
        absent = {path for path in self.paths if not _exists(path)}
        return tuple(segment for segment in self.segments if segment.path in absent)

    @property
    def splits(self) -> tuple[Split, ...]:
        """Which of train, val and test there are."""
        used = {segment.split for segment in self.segments}
        return tuple(part for part in PARTS if part in used)

    @property
    def fingerprint(self) -> str:
        """sha256 of what is listed (relative paths, spans, labels, groups, splits), wherever the folder stands and in any order."""
        lines = sorted(
            json.dumps([place, s.start, s.end, s.label, s.group, s.split, *([] if s.person is None else [s.person])], ensure_ascii=True)
            for place, s in zip(self.places, self.segments, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def part(self, split: str) -> Manifest:
        """Only the segments of one split."""
        return self.with_segments(segment for segment in self.segments if segment.split == split)

    def with_segments(self, segments: Iterable[Segment]) -> Manifest:
        """The same manifest with other segments."""
        return replace(self, segments=tuple(segments))

    def with_splits(self, splits: Sequence[str | None]) -> Manifest:
        """The same segments with these splits, one each."""
        return self.with_segments(replace(segment, split=split) for segment, split in zip(self.segments, splits, strict=True))


def group_of(segment: Segment) -> str:
    """The name of what a split never divides: the group, or without one the video."""
    return segment.group if segment.group is not None else str(segment.path)


def read_manifest(
    path: str | Path,
    *,
    classes: str | Path | None = None,
    labelled: bool = True,
    root: str | Path | None = None,
    official_split: str | None = None,
) -> Manifest:
    """The labelled videos (or files of poses) of a folder, a csv, a list file, or a file that holds a whole set of poses.

    `official_split` chooses one of several official splits: of a csv whose splits are `1:train|2:test`, or of an annotation pickle.
    `classes` is a file with the names behind class numbers. Relative paths count from the list's folder, or from `root`.
    With `labelled=False` labels may be absent, and a folder is simply searched for videos.
    """
    path = Path(path)
    names = read_class_list(Path(classes)) if classes is not None else None
    try:
        if pose_sets.is_set(path):
            segments = pose_sets.read_set(path, names, fold=official_split, labelled=labelled)
            return Manifest(segments, path, _unused(names, segments))
        if path.is_dir():
            _refuse_official_split(path, official_split)
            found = read_folder(path, labelled=labelled)
            unused = _unused(names, found.segments)
            return Manifest(found.segments, path, found.empty | unused, found.skipped)
    except (OSError, ValueError) as error:
        raise error if isinstance(error, ManifestError) else ManifestError(path, f"cannot be read: {error}") from error
    if is_video(path) and path.is_file():
        raise ManifestError(path, "is a video; name a folder of labelled videos or a csv that lists them")
    if path.is_file() and is_pose_name(path):
        raise ManifestError(path, "holds the poses of one sequence; name a folder of labelled ones or a csv that lists them")
    segments = _read_list(
        path, names, labelled=labelled, root=Path(root) if root is not None else path.parent, official_split=official_split
    )
    return Manifest(segments, path, _unused(names, segments))


def _refuse_official_split(path: Path, official_split: str | None) -> None:
    if official_split is not None:
        raise ManifestError(path, f"has no official splits, so {official_split!r} cannot be chosen")


def _unused(names: Mapping[int, str] | None, segments: Sequence[Segment]) -> frozenset[str]:
    return frozenset((names or {}).values()) - {segment.label for segment in segments if segment.label}


def _read_list(
    path: Path, names: Mapping[int, str] | None, *, labelled: bool, root: Path, official_split: str | None = None
) -> tuple[Segment, ...]:
    text = read_text(path)
    if not text.strip():
        raise ManifestError(path, "is empty; list one video a line under the header `path,label`")
    spaced = not csv_files.has_header(text, path) and mmaction.looks_like(text) and not csv_files.looks_like(text, path)
    rows = mmaction.read_rows(text, path, classes=names) if spaced else csv_files.read_rows(text, path, classes=names, labelled=labelled)
    if not rows:
        raise ManifestError(path, "names columns but lists no video")
    if not any(":" in row.split for row in rows):
        _refuse_official_split(path, official_split)
    read = [to_segment(row, path, root=root, labelled=labelled, fold=official_split) for row in rows]
    segments = tuple(segment for segment in read if segment.split != LEFT_OUT)
    if not segments:
        raise ManifestError(path, f"no row belongs to the official split {official_split!r}")
    if not any(_exists(segment.path) for segment in segments):
        what = "its only video does" if len(segments) == 1 else f"none of its {len(segments)} videos does"
        raise ManifestError(path, f"{what} exist, such as {segments[0].path} (paths count from {root})", line=rows[0].line)
    return segments


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a csv that `read_manifest` reads back; paths are relative to it where they can be; further columns are kept."""
    path = Path(path)
    extras = list(dict.fromkeys(name for segment in manifest.segments for name in segment.extra))
    for name in extras:
        if name.strip().casefold() in csv_files.KNOWN or not name.strip():
            raise ManifestError(path, f"a further column cannot be called {name!r}")
    folders: dict[Path, str] = {}  # of hundreds of thousands of videos, how each folder is written
    rows = [_cells(segment, path.parent, folders) for segment in manifest.segments]
    columns = [name for name in csv_files.KNOWN if name in ("path", "label") or any(row[name] for row in rows)]
    table = [[*columns, *extras]]
    for segment, row in zip(manifest.segments, rows, strict=True):
        table.append([row[name] for name in columns] + [segment.extra.get(name, "") for name in extras])
    odd = any("\r" in cell for cells in table for cell in cells)  # which the csv module would leave bare
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL).writerows(table)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text.getvalue(), encoding="utf-8", newline="")
        aside.replace(path)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise ManifestError(path, f"cannot be written: {getattr(error, 'strerror', None) or error}") from error


def _cells(segment: Segment, folder: Path, folders: dict[Path, str]) -> dict[str, str]:
    inside = segment.path.parent
    if inside not in folders:
        folders[inside] = path_from(inside / "_", folder)[:-1]
    return {
        "path": f"{folders[inside]}{segment.path.name}",
        "label": segment.label or "",
        "start": repr(float(segment.start)) if segment.start else "",
        "end": "" if segment.end is None else repr(float(segment.end)),
        "group": segment.group or "",
        "split": segment.split or "",
        "pose_person": "" if segment.person is None else str(segment.person),
    }


def path_from(path: Path, folder: Path) -> str:
    """The path as seen from the folder of the list: inside it as it is, beside it by way of the real folders."""
    inside = os.path.relpath(path, folder)
    if not inside.startswith(os.pardir):
        return Path(inside).as_posix()
    real, here = os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(folder)  # noqa: PTH118 - keeps a link's own name
    if os.path.commonpath([real, here]) == os.path.abspath(os.sep):  # noqa: PTH100
        return real  # nothing in common that could move along
    return Path(os.path.relpath(real, here)).as_posix()


def _places(paths: Sequence[Path]) -> tuple[str, ...]:
    if not paths:
        return ()
    whole = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - links stay links
    shared = os.path.commonpath([os.path.dirname(path) for path in whole])  # noqa: PTH120
    return tuple(plain(Path(os.path.relpath(path, shared)).as_posix()) for path in whole)


def _exists(path: Path) -> bool:
    try:
        return split_sequence(path)[0].exists()
    except (OSError, ValueError):
        return False


def _tidy(segment: Segment) -> Segment:
    """The segment with its words in the form in which a csv gives them back."""
    label, group = plain(segment.label or "") or None, plain(segment.group or "") or None
    split = segment.split or None
    if (label, group, split) == (segment.label, segment.group, segment.split):
        return segment
    return replace(segment, label=label, group=group, split=split)
