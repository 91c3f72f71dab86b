"""Plain arrays: `.npy` of any of the usual shapes, and `.npz` (ours, the demo's, MediaPipe's landmarks as people keep them)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats.raw_poses import MOST_PEOPLE, Raw
from quickstep.signals.poses.formats.text_files import as_joints
from quickstep.types.errors import MediaError

FORMAT = "quickstep poses 1"
_POINTS = (
    "joints",
    "keypoints",
    "keypoint",
    "poses",
    "pose",
    "pose_world_landmarks",
    "world_landmarks",
    "landmarks",
    "pose_landmarks",
    "kpts",
    "data",
)
_SCORES = ("scores", "score", "keypoint_scores", "keypoint_score", "confidence", "conf", "visibility")
_TIMES = ("times", "timestamps", "seconds")


def read_npy(path: Path, data: bytes, *, joints: int | None) -> Raw:
    """One array."""
    return _of(_load(path, data), joints=joints)


def read_npz(path: Path, data: bytes, *, joints: int | None) -> Raw:
    """Several arrays, one of which is the joints."""
    loaded = _load(path, data)
    arrays: dict[str, NDArray[Any]] = {}
    for name in loaded.files:
        try:
            arrays[name] = loaded[name]
        except (ValueError, OSError, EOFError, BadZipFile, MemoryError) as error:
            raise MediaError(path, f"its array {name!r} cannot be read: {error}") from error
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "fiu"}
    name = next((name for name in _POINTS if name in numeric), None)
    several = [name for name, array in numeric.items() if array.ndim >= 3]
    if name is None and len(several) == 1:
        name = several[0]
    if name is None:
        raise MediaError(path, f"has no array of joints; it has: {', '.join(arrays) or 'nothing'}")
    raw = _of(numeric[name], joints=joints, scores=next((numeric[at] for at in _SCORES if at in numeric), None))
    times = next((numeric[at].astype(np.float64) for at in _TIMES if at in numeric), None)
    if times is not None and times.shape != raw.values.shape[:1]:
        raise MediaError(path, f"has {len(raw.values)} frames and {times.shape} times")
    size = arrays.get("size")
    people = arrays.get("people")
    skeleton = str(arrays["skeleton"]) if "skeleton" in arrays and arrays["skeleton"].dtype.kind == "U" else None
    return Raw(
        raw.values,
        scored=True if "format" in arrays and str(arrays["format"]) == FORMAT else raw.scored,
        times=times,
        fps=float(arrays["fps"]) if "fps" in numeric and arrays["fps"].size == 1 else None,
        people=tuple(map(int, people)) if people is not None and people.shape == raw.values.shape[1:2] else None,
        skeleton=skeleton,
        named=skeleton is not None,
        size=(int(size[0]), int(size[1])) if size is not None and size.shape == (2,) and size.min() > 0 else None,
        notes=raw.notes,
    )


def _load(path: Path, data: bytes) -> Any:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, BadZipFile, MemoryError, SyntaxError, TypeError) as error:
        why = "it holds objects, not numbers" if "allow_pickle" in str(error) else str(error)[:120]
        raise MediaError(path, f"is an array file that cannot be read: {why}") from error


def _of(array: NDArray[Any], *, joints: int | None, scores: NDArray[Any] | None = None) -> Raw:
    """An array as (T, P, K, C), whichever way round it is."""
    if array.dtype.kind not in "fiu":
        raise ValueError(f"it holds {array.dtype}, and poses are numbers")
    if array.size == 0:
        raise ValueError(f"its array {array.shape} is empty")
    values = array.astype(np.float32)
    if values.ndim == 2:
        return Raw(as_joints(values, joints))
    last, notes = values.shape[-1], ()
    if values.ndim == 5 and 1 in values.shape[:1]:
        values = values[0]
    if (
        values.ndim in (3, 4)
        and values.shape[0] in (2, 3, 4)
        and (last not in (2, 3, 4) or (values.ndim == 4 and values.shape[2] in (17, 18, 25)))
    ):
        values = np.moveaxis(values, 0, -1)  # (C, T, K[, P]) as graph networks take it
        values = values.transpose(0, 2, 1, 3) if values.ndim == 4 else values
        notes = ("read as (channels, frames, joints)",)  # type: ignore[assignment]
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4 or values.shape[-1] not in (2, 3, 4):
        raise ValueError(
            f"its array {array.shape} is none of poses: (frames, joints, 2 to 4 numbers) or (frames, people, joints, 2 to 4 numbers)"
        )
    scored = {2: False, 3: None, 4: True}[values.shape[-1]]
    if scores is not None and scored is not True:
        sure = scores.astype(np.float32)
        sure = sure[:, None] if sure.ndim == 2 else sure
        if sure.shape == values.shape[:3]:
            values, scored = np.concatenate([values, sure[..., None]], axis=-1), True
    return Raw(values[:, :MOST_PEOPLE], scored=scored, notes=notes)
