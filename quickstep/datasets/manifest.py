"""Manifest: the list of labelled segments of a dataset, read from a folder, csv or list file and written as csv."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from quickstep.datasets.readers import folders, list_files, mmaction
from quickstep.datasets.readers.folders import Skipped, is_video, read_folder
from quickstep.datasets.readers.list_files import NO_SPLIT, plain, read_class_list, read_text, to_segment
from quickstep.signals.poses.formats import is_pose_name, split_sequence
from quickstep.storage.files import write_csv
from quickstep.types.errors import ManifestError
from quickstep.types.escaping import escaped, is_plain
from quickstep.types.segment import Segment

Split = Literal["train", "val", "test"]
PARTS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Manifest:
    """Segments with their labels, in order."""

    segments: tuple[Segment, ...]
    source: Path | None = None  # the file or folder that it was read from
    empty: frozenset[str] = frozenset()  # classes without a segment
    skipped: Skipped = field(default=Skipped(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(map(_normalized, self.segments)))

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted; scores are in this order."""
        return tuple(sorted({segment.label for segment in self.segments if segment.label is not None}))

    @property
    def counts(self) -> dict[str, int]:
        """Label -> number of segments, sorted by label."""
        return dict(sorted(Counter(segment.label for segment in self.segments if segment.label is not None).items()))

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each segment, in order; a video without a group is a group of its own."""
        return tuple(group_of(segment) for segment in self.segments)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The distinct videos, in order."""
        return tuple(dict.fromkeys(segment.path for segment in self.segments))

    @property
    def relative_paths(self) -> tuple[str, ...]:
        """The path of each segment, relative to the deepest folder that contains them all."""
        return _relative_paths([segment.path for segment in self.segments])

    @property
    def missing(self) -> tuple[Segment, ...]:
        """The segments whose file does not exist."""
        absent = {path for path in self.paths if not _exists(path)}
        return tuple(segment for segment in self.segments if segment.path in absent)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that have segments, in the order train, val, test."""
        used = {segment.split for segment in self.segments}
        return tuple(part for part in PARTS if part in used)

    @property
    def fingerprint(self) -> str:
        """sha256 of relative paths, spans, labels, groups and splits; moving the folder or reordering the list does not change it."""
        lines = sorted(
            json.dumps([path, s.start, s.end, s.label, s.group, s.split, *([] if s.person is None else [s.person])], ensure_ascii=True)
            for path, s in zip(self.relative_paths, self.segments, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def part(self, split: str) -> Manifest:
        """Return the segments of one split."""
        return self.with_segments(segment for segment in self.segments if segment.split == split)

    def with_segments(self, segments: Iterable[Segment]) -> Manifest:
        """Return the manifest with other segments."""
        return replace(self, segments=tuple(segments))

    def with_splits(self, splits: Sequence[str | None]) -> Manifest:
        """Return the manifest with these splits, one for each segment."""
        return self.with_segments(replace(segment, split=split) for segment, split in zip(self.segments, splits, strict=True))


def group_of(segment: Segment) -> str:
    """Return the group of a segment, or its video where it has none; a group is always in one split."""
    return segment.group if segment.group is not None else str(segment.path)


def read_manifest(
    path: str | Path,
    *,
    classes: str | Path | None = None,
    labelled: bool = True,
    root: str | Path | None = None,
    official_split: str | None = None,
) -> Manifest:
    """Read the labelled videos (or pose files) of a folder, a csv, another list file, or a file that contains a whole pose dataset.

    `classes` is a file with the names behind class numbers. Relative paths in a list start at the list's folder, or at `root`.
    `official_split` chooses one of several: of a csv whose splits are `1:train|2:test`, or of an annotation pickle.
    With `labelled=False` labels may be missing, and every video below a folder is listed.
    """
    path = Path(path)
    names = read_class_list(Path(classes)) if classes is not None else None
    try:
        if folders.is_set(path):
            segments = folders.read_set(path, names, official_split=official_split, labelled=labelled)
            return Manifest(segments, path, _unused(names, segments))
        if path.is_dir():
            _refuse_official_split(path, official_split)
            folder = read_folder(path, labelled=labelled)
            return Manifest(folder.segments, path, folder.empty | _unused(names, folder.segments), folder.skipped)
    except (OSError, ValueError) as error:
        raise error if isinstance(error, ManifestError) else ManifestError(path, f"cannot be read: {error}") from error
    if is_video(path) and path.is_file():
        raise ManifestError(path, "is a single video; expected a folder of labelled videos or a csv that lists them")
    if path.is_file() and is_pose_name(path):
        raise ManifestError(path, "is a single pose sequence; expected a folder of labelled ones or a csv that lists them")
    segments = _read_list(
        path, names, labelled=labelled, root=Path(root) if root is not None else path.parent, official_split=official_split
    )
    return Manifest(segments, path, _unused(names, segments))


def _refuse_official_split(path: Path, official_split: str | None) -> None:
    if official_split is not None:
        raise ManifestError(path, f"lists no official splits, so {official_split!r} cannot be chosen")


def _unused(names: Mapping[int, str] | None, segments: Sequence[Segment]) -> frozenset[str]:
    return frozenset((names or {}).values()) - {segment.label for segment in segments if segment.label}


def _read_list(
    path: Path, names: Mapping[int, str] | None, *, labelled: bool, root: Path, official_split: str | None
) -> tuple[Segment, ...]:
    text = read_text(path)
    if not text.strip():
        raise ManifestError(path, "is empty; write the header `path,label` and one video on each line below it")
    if not list_files.has_header(text, path) and mmaction.looks_like(text) and not list_files.lists_pairs(text, path):
        rows = mmaction.read_rows(text, path, classes=names)
    else:
        rows = list_files.read_csv_rows(text, path, classes=names, labelled=labelled)
    if not rows:
        raise ManifestError(path, "has a header but no rows; add one row for each video")
    if not any(":" in row.split for row in rows):
        _refuse_official_split(path, official_split)
    listed = [to_segment(row, path, root=root, labelled=labelled, official_split=official_split) for row in rows]
    segments = tuple(segment for segment in listed if segment.split != NO_SPLIT)
    if not segments:
        raise ManifestError(path, f"no row belongs to the official split {official_split!r}")
    if not any(_exists(segment.path) for segment in segments):
        count = "its only video does not" if len(segments) == 1 else f"none of its {len(segments)} videos"
        raise ManifestError(path, f"{count} exist, such as {segments[0].path} (paths are relative to {root})", line=rows[0].line)
    return segments


def write_manifest(manifest: Manifest | str | Path, path: str | Path) -> None:
    """Write a Manifest (or the dataset at a path) as a csv that `read_manifest` reads back.

    Paths become relative to the csv where possible, and further columns are kept.
    """
    path = Path(path)
    if not isinstance(manifest, Manifest):
        manifest = read_manifest(manifest)
    extras = list(dict.fromkeys(name for segment in manifest.segments for name in segment.extra))
    for name in extras:
        if name.strip().casefold() in list_files.COLUMNS or not name.strip():
            raise ManifestError(path, f"the name {name!r} is reserved; rename this further column")
    folders: dict[Path, str] = {}  # folder -> its spelling in the csv: computed once a folder, not once a video
    values = [_values(segment, path.parent, folders) for segment in manifest.segments]
    columns = [name for name in list_files.COLUMNS if name in ("path", "label") or any(row[name] for row in values)]
    rows = [
        [row[name] for name in columns] + [segment.extra.get(name, "") for name in extras]
        for segment, row in zip(manifest.segments, values, strict=True)
    ]
    try:
        write_csv(path, [*columns, *extras], rows)
    except OSError as error:
        raise ManifestError(path, f"cannot be written: {error.strerror or error}") from error
    except ValueError as error:
        raise ManifestError(path, f"cannot be written: {error}") from error


def _values(segment: Segment, folder: Path, folders: dict[Path, str]) -> dict[str, str]:
    parent = segment.path.parent
    if parent not in folders:
        folders[parent] = relative_path(parent / "_", folder)[:-1]
    return {
        "path": f"{folders[parent]}{segment.path.name}",
        "label": segment.label or "",
        "start": repr(float(segment.start)) if segment.start else "",
        "end": "" if segment.end is None else repr(float(segment.end)),
        "group": segment.group or "",
        "split": segment.split or "",
        "pose_person": "" if segment.person is None else str(segment.person),
    }


def relative_path(path: Path, folder: Path) -> str:
    """Return the path relative to a folder; outside the folder it is computed on the real folders behind links."""
    relative = os.path.relpath(path, folder)
    if not relative.startswith(os.pardir):
        return Path(relative).as_posix()
    real, base = os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(folder)  # noqa: PTH118 - keeps a link's own name
    if os.path.commonpath([real, base]) == os.path.abspath(os.sep):  # noqa: PTH100
        return real  # no common folder that could be moved together with both
    return Path(os.path.relpath(real, base)).as_posix()


def _relative_paths(paths: Sequence[Path]) -> tuple[str, ...]:
    if not paths:
        return ()
    absolute = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - links stay links
    common = os.path.commonpath([os.path.dirname(path) for path in absolute])  # noqa: PTH120
    return tuple(plain(Path(os.path.relpath(path, common)).as_posix()) for path in absolute)


def _exists(path: Path) -> bool:
    try:
        return split_sequence(path)[0].exists()
    except (OSError, ValueError):
        return False


def _normalized(segment: Segment) -> Segment:
    """Return the segment with its texts as a csv gives them back: tidied, and None instead of an empty one."""
    label, group = plain(segment.label or "") or None, plain(segment.group or "") or None
    split = segment.split or None
    for name, text in (("label", label), ("group", group)):
        if text is not None and not is_plain(text):
            raise ManifestError(segment.path, f"its {name} has a control character: {escaped(text)}; write it without")
    if (label, group, split) == (segment.label, segment.group, segment.split):
        return segment
    return replace(segment, label=label, group=group, split=split)
