"""Whole sets of poses in a few files: an annotation pickle with its official parts, or `X_train.txt` with `Y_train.txt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from quickstep.datasets.readers.class_lists import named
from quickstep.datasets.readers.rows import plain
from quickstep.signals.poses.formats import pyskl, read_annotations, sequence_path, text_files
from quickstep.types.errors import ManifestError, MediaError
from quickstep.types.segment import Segment


def is_set(path: Path) -> bool:
    """Whether a path means such a set: a pickle, a file of sequences with its labels, or a folder that holds one."""
    if path.is_dir():
        return bool(_texts_in(path))
    return path.is_file() and (path.suffix.lower() in (".pkl", ".pickle") or _is_text(path))


def read_set(path: Path, classes: Mapping[int, str] | None, *, fold: str | None, labelled: bool) -> tuple[Segment, ...]:
    """The sequences of a set, each with its label and part."""
    try:
        if path.is_dir() or _is_text(path):
            if fold is not None:
                raise ManifestError(path, f"has one split, so there is no fold {fold!r} to choose")
            return tuple(segment for file in _texts_of(path) for segment in _of_text(file, classes, labelled=labelled))
        return _of_pickle(path, classes, fold=fold, labelled=labelled)
    except MediaError as error:
        raise ManifestError(error.path, error.why) from error


def _is_text(path: Path) -> bool:
    return text_files.part_of(path) is not None and text_files.labels_file(path).is_file()


def _texts_in(folder: Path) -> list[Path]:
    """The files of sequences in a folder, train before val before test."""
    order = ("train", "val", "test", "")
    try:
        found = [file for file in sorted(folder.iterdir()) if _is_text(file)]
    except OSError:
        return []
    return sorted(found, key=lambda file: order.index(text_files.part_of(file) or ""))


def _texts_of(path: Path) -> list[Path]:
    """A folder's files; of a file of training sequences also those beside it that go with it; of another that one alone."""
    if path.is_dir():
        return _texts_in(path)
    return _texts_in(path.parent) if text_files.part_of(path) == "train" else [path]


def _of_text(file: Path, classes: Mapping[int, str] | None, *, labelled: bool) -> list[Segment]:
    labels = text_files.read_labels(text_files.labels_file(file))
    part = text_files.part_of(file) or None
    made = []
    for number, label in enumerate(labels):
        name = plain(named(label, classes, listing=text_files.labels_file(file), line=number + 1)) if labelled else None
        made.append(Segment(sequence_path(file, str(number)), label=name, split=part))
    return made


def _of_pickle(path: Path, classes: Mapping[int, str] | None, *, fold: str | None, labelled: bool) -> tuple[Segment, ...]:
    sequences = read_annotations(path)
    parts = pyskl.parts_of(path, sequences, fold) if labelled else {}
    made = []
    for place, (name, entry) in enumerate(sequences.sequences.items(), start=1):
        if parts and name not in parts:
            continue  # what the chosen protocol leaves out
        label = entry.get("label")
        if labelled and label is None:
            raise ManifestError(path, f"its sequence {name!r} has no label")
        told = plain(named(str(label), classes, listing=path, line=place)) if labelled else None
        made.append(Segment(sequence_path(path, name), label=told, split=parts.get(name)))
    return tuple(made)
