"""Read pose files of any format, recognized by their content; write our own; and tell which paths are pose files.

A path such as `set.pkl#jump-07` names one sequence of a file that holds many.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats import pyskl, text_files
from quickstep.signals.poses.formats.json_formats import (
    OPENPOSE_SUFFIX,
    is_openpose_folder,
    openpose_files,
    read_json,
    read_openpose_folder,
)
from quickstep.signals.poses.formats.raw_poses import MAX_PEOPLE, PoseFile, RawPoses, to_poses
from quickstep.signals.poses.formats.safe_pickle import read_pickle
from quickstep.signals.poses.formats.text_files import to_joints
from quickstep.storage.files import check_regular, replacing
from quickstep.types.errors import MediaError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import Skeleton, read_skeleton

if TYPE_CHECKING:
    from quickstep.storage.cache import Cache

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


POSE_SUFFIXES = frozenset({".npy", ".npz", ".json", ".pkl", ".pickle"})
_SEQUENCE = re.compile(r"^(?P<file>.+?\.(?:pkl|pickle|txt))#(?P<sequence>.+)$", re.IGNORECASE | re.DOTALL)
_FIRST_BYTES = (b"\x93NUMPY", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b'{"', b"[{", b"[\n", b"{\n")
_NOT_POSES = "is not a pose file: neither arrays, JSON, a pickle nor lines of numbers"


# -- paths -------------------------------------------------------------------------------------------------------------------


def split_sequence(path: str | Path) -> tuple[Path, str | None]:
    """Split `set.pkl#jump-07` into the file and the name of the sequence; None for a path without one."""
    match = _SEQUENCE.match(str(path))
    return (Path(match["file"]), match["sequence"]) if match and not Path(path).exists() else (Path(path), None)


def sequence_path(file: Path, sequence: str) -> Path:
    """Return the path that names one sequence of a file."""
    return Path(f"{file}#{sequence}")


def is_pose_name(path: Path) -> bool:
    """Whether the name alone identifies a pose file."""
    return path.suffix.lower() in POSE_SUFFIXES or _SEQUENCE.match(str(path)) is not None


def is_pose_file(path: str | Path) -> bool:
    """Whether a path is a pose file: by its name, by its first bytes, or as a folder of one JSON file a frame."""
    path = Path(path)
    if is_pose_name(path):
        return True
    try:
        if path.is_dir():
            return is_openpose_folder(path)
        check_regular(path)
        with path.open("rb") as handle:
            first = handle.read(6)
    except (OSError, ValueError):
        return False
    return first.startswith(_FIRST_BYTES)


# -- files -------------------------------------------------------------------------------------------------------------------


def read_poses(path: str | Path, *, skeleton: Skeleton | str | Path | None = None, fps: float | None = None) -> Poses:
    """Read the poses of a file; track its people over time if the file does not.

    `skeleton` says which joints: those of a file that names none, or those to convert to. `fps` is the frame rate of a file that states
    none.
    """
    file = read_file(path, skeleton=skeleton, fps=fps)
    if file.tracked or len(file.poses.people) < 2:
        return file.poses
    from quickstep.signals.poses.tracking import track

    return track(file.poses)


def read_file(path: str | Path, *, skeleton: Skeleton | str | Path | None = None, fps: float | None = None) -> PoseFile:
    """Read the poses of a file with its people as they are, and with notes on what had to be guessed."""
    expected = None if skeleton is None else read_skeleton(skeleton)
    file, sequence = split_sequence(path)
    try:
        raw = _read_raw(file, sequence, joints=None if expected is None else len(expected))
        return to_poses(Path(path), raw, skeleton=expected, fps=fps)
    except MediaError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError, RecursionError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise MediaError(path, f"cannot be read as poses: {reason}") from error


def write_poses(poses: Poses, path: str | Path) -> None:
    """Write poses as `.npz`; `read_poses` returns the same."""
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT),
        "joints": poses.joints,
        "times": poses.times,
        "people": np.array(poses.people, dtype=np.int64),
        "skeleton": np.array(json.dumps(poses.skeleton.to_json())),
    }
    if poses.size is not None:
        arrays["size"] = np.array(poses.size, dtype=np.int64)
    try:
        with replacing(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error


def digest_of(path: str | Path, cache: Cache) -> str:
    """Return the sha256 of a file, of a folder's frames, or of a sequence: its file with its name."""
    file, sequence = split_sequence(path)
    if file.is_dir():
        parts = [f"{frame.name}:{hashlib.sha256(_read_bytes(frame)).hexdigest()}" for frame in openpose_files(file)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    digest = cache.digest(file)
    return digest if sequence is None else hashlib.sha256(f"{digest}#{sequence}".encode()).hexdigest()


def read_annotations(file: Path) -> pyskl.Annotations:
    """Read the annotations of a pickle."""
    return _annotations(file, *_stamp(file))


def _read_raw(file: Path, sequence: str | None, *, joints: int | None) -> RawPoses:
    """Recognize the format of a file by its content, and read it."""
    if file.is_dir():
        if not is_openpose_folder(file):
            raise MediaError(file, f"is a folder without files named *{OPENPOSE_SUFFIX}")
        return read_openpose_folder(file)
    first = _read_bytes(file, 64)
    if first.startswith(b"\x93NUMPY"):
        return read_npy(file, _read_bytes(file), joints=joints)
    if first.startswith(b"PK\x03\x04"):
        return read_npz(file, _read_bytes(file), joints=joints)
    if first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return _read_json_file(file)
    if file.suffix.lower() in (".pkl", ".pickle") or first[:1] == b"\x80":
        return pyskl.read_sequence(file, read_annotations(file), sequence)
    if not first.strip():
        raise MediaError(file, "is empty")
    try:
        first.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(file, _NOT_POSES) from error
    return text_files.read_sequence(file, _table(file, *_stamp(file)), sequence, joints=joints)


def _read_json_file(file: Path) -> RawPoses:
    try:
        data = json.loads(_read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise MediaError(file, f"is not JSON: {error}") from error
    raw = read_json(data)
    if raw is None:
        raise MediaError(file, "is JSON, but not of poses as AlphaPose, OpenPose, COCO or MMPose write them")
    return raw


def _read_bytes(file: Path, count: int = -1) -> bytes:
    try:
        check_regular(file)
        with file.open("rb") as handle:
            return handle.read(count)
    except FileNotFoundError:
        raise MediaError(file, "no such file") from None
    except ValueError as error:  # a null byte in the name
        raise MediaError(file, f"cannot be read: {error}") from error
    except OSError as error:
        raise MediaError(file, f"cannot be read: {error.strerror or error}") from error


def _stamp(file: Path) -> tuple[int, int]:
    """Return the size and the time of the last change: a part of the key of what is cached in memory."""
    try:
        stat = file.stat()
    except OSError as error:
        raise MediaError(file, "no such file") from error
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=2)  # a set's sequences are read one after the other, its file once
def _annotations(file: Path, _size: int, _changed: int) -> pyskl.Annotations:
    return pyskl.parse_annotations(file, read_pickle(file, _read_bytes(file)))


@lru_cache(maxsize=4)
def _table(file: Path, _size: int, _changed: int) -> NDArray[np.float32]:
    try:
        text = _read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(file, _NOT_POSES) from error
    return text_files.read_table(file, text)
