"""Annotation pickles of PySKL and MMAction2: many sequences in one file, named by `frame_dir`, with labels and official splits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats.raw_poses import MAX_PEOPLE, RawPoses
from quickstep.types.errors import ManifestError, MediaError

_PART = re.compile(r"^(?P<before>.*?)[_\- ]?(?P<part>train|val|valid|test)[_\- ]?(?P<after>\d*)$", re.IGNORECASE)
Annotation = Mapping[str, Any]


@dataclass(frozen=True)
class Annotations:
    """The annotations of a file by the name of their sequence, and the names in each of its splits."""

    sequences: dict[str, Annotation]
    splits: dict[str, frozenset[str]]

    @property
    def protocols(self) -> dict[str, dict[str, str]]:
        """Protocol -> name of the split -> part: `xsub_train` and `xsub_val` are parts of `xsub`, `train1` and `test1` of `1`."""
        protocols: dict[str, dict[str, str]] = {}
        for name in self.splits:
            match = _PART.match(name)
            if match:
                part = {"valid": "val"}.get(match["part"].casefold(), match["part"].casefold())
                protocols.setdefault(match["before"].strip("_- ") or match["after"], {})[name] = part
        for parts in protocols.values():
            if "test" not in parts.values():  # published results of these sets are on what they call val
                parts.update({name: "test" for name, part in parts.items() if part == "val"})
        return protocols


def parse_annotations(path: Path, data: Any) -> Annotations:
    """Return the annotations of an unpickled file."""
    splits = data.get("split", {}) if isinstance(data, Mapping) else {}
    entries = data.get("annotations") if isinstance(data, Mapping) and "annotations" in data else data
    if isinstance(entries, Mapping) and "keypoint" in entries:
        entries = [entries]
    if not isinstance(entries, (list, tuple)) or not entries or not all(map(_is_annotation, entries)):
        raise MediaError(path, "is a pickle without poses; annotations have `keypoint` (M, T, V, 2) and `frame_dir`")
    sequences: dict[str, Annotation] = {}
    for place, entry in enumerate(entries):
        name = str(entry.get("frame_dir", entry.get("filename", place)))
        if name in sequences:
            raise MediaError(path, f"has two sequences with the name {name!r}")
        sequences[name] = entry
    if not isinstance(splits, Mapping):
        raise MediaError(path, "has a `split` that is not an object of lists")
    return Annotations(sequences, {str(name): frozenset(map(str, members)) for name, members in splits.items()})


def _is_annotation(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "keypoint" in entry


def read_sequence(path: Path, annotations: Annotations, name: str | None) -> RawPoses:
    """Read the sequence of a name; None reads the only one."""
    sequences = annotations.sequences
    if name is None and len(sequences) == 1:
        name = next(iter(sequences))
    if name is None:
        some = ", ".join(list(sequences)[:3])
        raise MediaError(path, f"holds {len(sequences)} sequences ({some} ...): name one of them as FILE#NAME, or train on the file")
    if name not in sequences:
        raise MediaError(path, f"holds no sequence with the name {name!r}")
    entry = sequences[name]
    points, scores = _numbers(entry["keypoint"], 4), entry.get("keypoint_score")
    values = points.transpose(1, 0, 2, 3)  # (M, T, V, C) -> (T, M, V, C)
    scored: bool | None = False if values.shape[-1] == 2 else None
    if scores is not None:
        by_time = _numbers(scores, 3).transpose(1, 0, 2)  # (T, M, V)
        if by_time.shape != values.shape[:3]:
            raise ValueError(f"its {name} has scores {by_time.shape} for joints {values.shape[:3]}")
        values, scored = np.concatenate([values, by_time[..., None]], axis=-1), True
    size = entry.get("img_shape", entry.get("original_shape"))
    fps = entry.get("fps", entry.get("frame_rate"))
    return RawPoses(
        values[:, :MAX_PEOPLE],
        scored=scored,
        fps=float(fps) if isinstance(fps, (int, float)) and fps > 0 else None,
        size=(int(size[1]), int(size[0])) if isinstance(size, (list, tuple)) and len(size) == 2 else None,
        zero_is_invisible=True,
    )


def _numbers(value: Any, axes: int) -> NDArray[np.float32]:
    array = np.asarray(value)
    if array.ndim == axes - 1:
        array = array[None]  # one person, without an axis for people
    if array.ndim != axes or array.dtype.kind not in "fiu" or not array.size:
        raise ValueError(f"keypoints are numbers (M, T, V, C), not {array.dtype} {array.shape}")
    return array.astype(np.float32)


def parts_of(path: Path, annotations: Annotations, official_split: str | None) -> dict[str, str]:
    """Return train, val or test for the name of each sequence, by the chosen split; if there are several, one must be chosen."""
    protocols = annotations.protocols
    if not protocols:
        if official_split is not None:
            raise ManifestError(path, f"has no official splits: leave out `official_split` {official_split!r}")
        return {}
    if official_split is None and len(protocols) > 1:
        raise ManifestError(
            path,
            f"has several official splits ({', '.join(protocols)}): choose one with `official_split`, such as {next(iter(protocols))}",
        )
    chosen = next(iter(protocols)) if official_split is None else official_split
    if chosen not in protocols:
        raise ManifestError(path, f"has no split {chosen!r}; there are: {', '.join(name or 'one without a name' for name in protocols)}")
    return {name: part for split, part in protocols[chosen].items() for name in annotations.splits[split]}
