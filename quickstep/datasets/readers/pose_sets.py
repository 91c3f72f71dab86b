"""Read whole pose datasets from a few files: an annotation pickle with its official splits, or `X_train.txt` with `Y_train.txt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quickstep.datasets.readers.list_files import class_name, plain
from quickstep.signals.poses.formats import pyskl, read_annotations, sequence_path, text_files
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
