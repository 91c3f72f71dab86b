"""PySKL and MMAction2 annotation pickles: many sequences in one file, each under its `frame_dir`, with labels and official parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats.raw_poses import MOST_PEOPLE, Raw
from quickstep.types.errors import ManifestError, MediaError

_PART = re.compile(r"^(?P<before>.*?)[_\- ]?(?P<part>train|val|valid|test)[_\- ]?(?P<after>\d*)$", re.IGNORECASE)
Annotation = Mapping[str, Any]


@dataclass(frozen=True)
class Sequences:
    """The annotations of a file by name, and the names in each of its splits as they are called there."""

    annotations: dict[str, Annotation]
    splits: dict[str, frozenset[str]]

    @property
    def protocols(self) -> dict[str, dict[str, str]]:
        """Protocol -> split's own name -> part: `xsub_train`, `xsub_val` are two parts of `xsub`; `train1`, `test1` of `1`."""
        found: dict[str, dict[str, str]] = {}
        for name in self.splits:
            match = _PART.match(name)
            if match:
                part = {"valid": "val"}.get(match["part"].casefold(), match["part"].casefold())
                found.setdefault(match["before"].strip("_- ") or match["after"], {})[name] = part
        for parts in found.values():
            if "test" not in parts.values():  # what these sets call val is what results are published on
                parts.update({name: "test" for name, part in parts.items() if part == "val"})
        return found


def read_sequences(path: Path, data: Any) -> Sequences:
    """The annotations in what a pickle held."""
    splits = data.get("split", {}) if isinstance(data, Mapping) else {}
    entries = data.get("annotations") if isinstance(data, Mapping) and "annotations" in data else data
    if isinstance(entries, Mapping) and "keypoint" in entries:
        entries = [entries]
    if not isinstance(entries, (list, tuple)) or not entries or not all(isinstance(one, Mapping) and "keypoint" in one for one in entries):
        raise MediaError(path, "is a pickle without poses; annotations have `keypoint` (M, T, V, 2) and `frame_dir`")
    annotations: dict[str, Annotation] = {}
    for place, entry in enumerate(entries):
        name = str(entry.get("frame_dir", entry.get("filename", place)))
        if name in annotations:
            raise MediaError(path, f"has two sequences that are called {name!r}")
        annotations[name] = entry
    if not isinstance(splits, Mapping):
        raise MediaError(path, "has a split that is no object of lists")
    return Sequences(annotations, {str(name): frozenset(map(str, members)) for name, members in splits.items()})


def read_one(path: Path, sequences: Sequences, member: str | None) -> Raw:
    """The sequence of that name; the only one where none is named."""
    if member is None and len(sequences.annotations) == 1:
        member = next(iter(sequences.annotations))
    if member is None:
        some = ", ".join(list(sequences.annotations)[:3])
        raise MediaError(
            path, f"holds {len(sequences.annotations)} sequences ({some} ...): name one of them as FILE#NAME, or train on the file"
        )
    if member not in sequences.annotations:
        raise MediaError(path, f"holds no sequence that is called {member!r}")
    entry = sequences.annotations[member]
    points, scores = _numbers(entry["keypoint"], 4), entry.get("keypoint_score")
    values = points.transpose(1, 0, 2, 3)  # (M, T, V, C) -> (T, M, V, C)
    scored: bool | None = False if values.shape[-1] == 2 else None
    if scores is not None:
        sure = _numbers(scores, 3).transpose(1, 0, 2)  # (T, M, V)
        if sure.shape != values.shape[:3]:
            raise ValueError(f"its {member} has scores {sure.shape} for joints {values.shape[:3]}")
        values, scored = np.concatenate([values, sure[..., None]], axis=-1), True
    size = entry.get("img_shape", entry.get("original_shape"))
    fps = entry.get("fps", entry.get("frame_rate"))
    return Raw(
        values[:, :MOST_PEOPLE],
        scored=scored,
        fps=float(fps) if isinstance(fps, (int, float)) and fps > 0 else None,
        size=(int(size[1]), int(size[0])) if isinstance(size, (list, tuple)) and len(size) == 2 else None,
        zero=True,
    )


def _numbers(value: Any, axes: int) -> NDArray[np.float32]:
    array = np.asarray(value)
    if array.ndim == axes - 1:
        array = array[None]  # one person, without an axis for people
    if array.ndim != axes or array.dtype.kind not in "fiu" or not array.size:
        raise ValueError(f"keypoints are numbers (M, T, V, C), not {array.dtype} {array.shape}")
    return array.astype(np.float32)


def parts_of(path: Path, sequences: Sequences, fold: str | None) -> dict[str, str]:
    """Name -> train, val or test, by the chosen protocol; where there are several, one must be chosen."""
    protocols = sequences.protocols
    if not protocols:
        if fold is not None:
            raise ManifestError(path, f"has no splits, so there is no fold {fold!r} to choose")
        return {}
    if fold is None and len(protocols) > 1:
        raise ManifestError(
            path,
            f"has several official splits ({', '.join(protocols)}): choose one with `official_split`, such as {next(iter(protocols))}",
        )
    chosen = next(iter(protocols)) if fold is None else fold
    if chosen not in protocols:
        raise ManifestError(path, f"has no split {chosen!r}; there are: {', '.join(name or 'one without a name' for name in protocols)}")
    return {member: part for split, part in protocols[chosen].items() for member in sequences.splits[split]}
