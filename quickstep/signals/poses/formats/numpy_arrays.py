"""Arrays of joints: `.npy` in any of the usual shapes, and `.npz` (ours, the demo's, MediaPipe's landmarks under several names)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats.raw_poses import MAX_PEOPLE, RawPoses
from quickstep.signals.poses.formats.text_files import to_joints
from quickstep.types.errors import MediaError

FORMAT = "quickstep poses 1"
_JOINT_NAMES = (
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
_SCORE_NAMES = ("scores", "score", "keypoint_scores", "keypoint_score", "confidence", "conf", "visibility")
_TIME_NAMES = ("times", "timestamps", "seconds")


def read_npy(path: Path, data: bytes, *, joints: int | None) -> RawPoses:
    """Read a file with one array."""
    return _to_raw(_load(path, data), joints=joints)


def read_npz(path: Path, data: bytes, *, joints: int | None) -> RawPoses:
    """Read a file with several arrays, one of which has the joints."""
    loaded = _load(path, data)
    arrays: dict[str, NDArray[Any]] = {}
    for name in loaded.files:
        try:
            arrays[name] = loaded[name]
        except (ValueError, OSError, EOFError, BadZipFile, MemoryError) as error:
            raise MediaError(path, f"its array {name!r} cannot be read: {error}") from error
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "fiu"}
    name = next((name for name in _JOINT_NAMES if name in numeric), None)
    large = [name for name, array in numeric.items() if array.ndim >= 3]
    if name is None and len(large) == 1:
        name = large[0]
    if name is None:
        raise MediaError(path, f"has no array of joints; it has: {', '.join(arrays) or 'nothing'}")
    raw = _to_raw(numeric[name], joints=joints, scores=next((numeric[at] for at in _SCORE_NAMES if at in numeric), None))
    times = next((numeric[at].astype(np.float64) for at in _TIME_NAMES if at in numeric), None)
    if times is not None and times.shape != raw.values.shape[:1]:
        raise MediaError(path, f"has {len(raw.values)} frames and {times.shape} times")
    size = arrays.get("size")
    people = arrays.get("people")
    skeleton = str(arrays["skeleton"]) if "skeleton" in arrays and arrays["skeleton"].dtype.kind == "U" else None
    return RawPoses(
        raw.values,
        scored=True if "format" in arrays and str(arrays["format"]) == FORMAT else raw.scored,
        times=times,
        fps=float(arrays["fps"]) if "fps" in numeric and arrays["fps"].size == 1 else None,
        people=tuple(map(int, people)) if people is not None and people.shape == raw.values.shape[1:2] else None,
        skeleton=skeleton,
        names_joints=skeleton is not None,
        size=(int(size[0]), int(size[1])) if size is not None and size.shape == (2,) and size.min() > 0 else None,
        notes=raw.notes,
    )


def _load(path: Path, data: bytes) -> Any:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, BadZipFile, MemoryError, SyntaxError, TypeError) as error:
        reason = "it holds objects, not numbers" if "allow_pickle" in str(error) else str(error)[:120]
        raise MediaError(path, f"is an array file that cannot be read: {reason}") from error


def _to_raw(array: NDArray[Any], *, joints: int | None, scores: NDArray[Any] | None = None) -> RawPoses:
    """Bring an array to (T, P, K, C) from any order of its axes."""
    if array.dtype.kind not in "fiu":
        raise ValueError(f"it holds {array.dtype}, and poses are numbers")
    if array.size == 0:
        raise ValueError(f"its array {array.shape} is empty")
    values = array.astype(np.float32)
    if values.ndim == 2:
        return RawPoses(to_joints(values, joints))
    last = values.shape[-1]
    notes: tuple[str, ...] = ()
    if values.ndim == 5 and 1 in values.shape[:1]:
        values = values[0]
    if (
        values.ndim in (3, 4)
        and values.shape[0] in (2, 3, 4)
        and (last not in (2, 3, 4) or (values.ndim == 4 and values.shape[2] in (17, 18, 25)))
    ):
        values = np.moveaxis(values, 0, -1)  # (C, T, K[, P]), the order of graph networks
        values = values.transpose(0, 2, 1, 3) if values.ndim == 4 else values
        notes = ("read as (channels, frames, joints)",)
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4 or values.shape[-1] not in (2, 3, 4):
        raise ValueError(
            f"its array {array.shape} is not one of poses: (frames, joints, 2 to 4 numbers) or (frames, people, joints, 2 to 4 numbers)"
        )
    scored = {2: False, 3: None, 4: True}[values.shape[-1]]
    if scores is not None and scored is not True:
        last_channel = scores.astype(np.float32)
        last_channel = last_channel[:, None] if last_channel.ndim == 2 else last_channel
        if last_channel.shape == values.shape[:3]:
            values, scored = np.concatenate([values, last_channel[..., None]], axis=-1), True
    return RawPoses(values[:, :MAX_PEOPLE], scored=scored, notes=notes)
