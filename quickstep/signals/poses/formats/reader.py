"""Read pose files of any format, recognized by their content; write our own; and tell which paths are pose files.

A path such as `set.pkl#jump-07` names one sequence of a file that holds many.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats import numpy_arrays, pyskl, text_files
from quickstep.signals.poses.formats.json_formats import (
    OPENPOSE_SUFFIX,
    is_openpose_folder,
    openpose_files,
    read_json,
    read_openpose_folder,
)
from quickstep.signals.poses.formats.raw_poses import PoseFile, RawPoses, to_poses
from quickstep.signals.poses.formats.safe_pickle import read_pickle
from quickstep.storage.files import check_regular, replacing
from quickstep.types.errors import MediaError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import Skeleton, read_skeleton

if TYPE_CHECKING:
    from quickstep.storage.cache import Cache

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
        "format": np.array(numpy_arrays.FORMAT),
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
        return numpy_arrays.read_npy(file, _read_bytes(file), joints=joints)
    if first.startswith(b"PK\x03\x04"):
        return numpy_arrays.read_npz(file, _read_bytes(file), joints=joints)
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
