"""Poses made elsewhere, and our own: which form a file has is told by its content, and one file here knows each form.

arrays       .npy, .npz: ours, the demo's, plain ones
alphapose    AlphaPose's list, `cmu` and `open` forms; COCO results
openpose     folders of one JSON a frame
coco         COCO keypoint annotations
mmpose       what MMPose's demo writes
annotations  PySKL and MMAction2 pickles (read by `pickles`, which runs nothing)
lines        `X_train.txt`, `Y_train.txt`
concluding   what follows: whose joints, what was not seen, when
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats import alphapose, coco, mmpose, numpy_arrays, openpose, pyskl, text_files
from quickstep.signals.poses.formats.layout import PoseFile, conclude
from quickstep.signals.poses.formats.paths import divided, is_pose_file, is_pose_name, joined
from quickstep.signals.poses.formats.pyskl import Sequences
from quickstep.signals.poses.formats.raw_poses import Raw
from quickstep.signals.poses.formats.safe_pickle import read_pickle
from quickstep.types.errors import MediaError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import Skeleton, read_skeleton

if TYPE_CHECKING:
    from quickstep.storage.cache import Cache

__all__ = [
    "PoseFile",
    "digest_of",
    "divided",
    "is_pose_file",
    "is_pose_name",
    "joined",
    "read_file",
    "read_poses",
    "sequences_in",
    "write_poses",
]

# A part of every cache key: raise it whenever the same file gives other poses than before.
READING_VERSION = 1


def read_poses(path: str | Path, *, skeleton: Skeleton | str | Path | None = None, fps: float | None = None) -> Poses:
    """The poses of a file, its people joined over time where it does not do so itself.

    `skeleton` says which joints: what those of a file that names none are, or what the others are brought to. `fps` is the pace of a
    file that does not tell its own.
    """
    found = read_file(path, skeleton=skeleton, fps=fps)
    if found.tracked or len(found.poses.people) < 2:
        return found.poses
    from quickstep.signals.poses.tracking import track

    return track(found.poses)


def read_file(path: str | Path, *, skeleton: Skeleton | str | Path | None = None, fps: float | None = None) -> PoseFile:
    """The same, with what had to be guessed, and with people as the file has them."""
    asked = None if skeleton is None else read_skeleton(skeleton)
    file, member = divided(path)
    try:
        raw = _read(file, member, joints=None if asked is None else len(asked))
        return conclude(Path(path), raw, skeleton=asked, fps=fps)
    except MediaError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError, RecursionError) as error:
        why = f"lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise MediaError(path, f"cannot be read as poses: {why}") from error


def write_poses(poses: Poses, path: str | Path) -> None:
    """Keep poses as `.npz`, with all that `read_poses` needs to give the same back."""
    path = Path(path)
    out = io.BytesIO()
    kept: dict[str, NDArray[Any]] = {
        "format": np.array(numpy_arrays.FORMAT),
        "joints": poses.joints,
        "times": poses.times,
        "people": np.array(poses.people, dtype=np.int64),
        "skeleton": np.array(json.dumps(poses.skeleton.to_json())),
    }
    if poses.size is not None:
        kept["size"] = np.array(poses.size, dtype=np.int64)
    np.savez_compressed(out, **kept)  # type: ignore[arg-type]
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(out.getvalue())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error


def digest_of(path: str | Path, cache: Cache) -> str:
    """The hash of the bytes that a path stands for: of a file, of a folder's frames, of one sequence's file with its name."""
    file, member = divided(path)
    if file.is_dir():
        parts = [f"{inner.name}:{hashlib.sha256(_bytes(inner)).hexdigest()}" for inner in openpose.files_of(file)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    digest = cache.digest(file)
    return digest if member is None else hashlib.sha256(f"{digest}#{member}".encode()).hexdigest()


def sequences_in(file: Path) -> Sequences:
    """The annotations that a pickle holds."""
    return _sequences(file, *_stamp(file))


def _read(file: Path, member: str | None, *, joints: int | None) -> Raw:
    if file.is_dir():
        if not openpose.is_folder(file):
            raise MediaError(file, f"is a folder without files named *{openpose.ENDING}")
        return openpose.read_folder(file)
    first = _bytes(file, 64)
    if first.startswith(b"\x93NUMPY"):
        return numpy_arrays.read_npy(file, _bytes(file), joints=joints)
    if first.startswith(b"PK\x03\x04"):
        return numpy_arrays.read_npz(file, _bytes(file), joints=joints)
    if first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return _read_json(file)
    if file.suffix.lower() in (".pkl", ".pickle") or first[:1] == b"\x80":
        return pyskl.read_one(file, sequences_in(file), member)
    if not first.strip():
        raise MediaError(file, "is empty")
    try:
        first.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(file, "is no file of poses: neither arrays, JSON, a pickle nor lines of numbers") from error
    return text_files.read_one(file, _table(file, *_stamp(file)), member, joints=joints)


def _read_json(file: Path) -> Raw:
    try:
        data = json.loads(_bytes(file))
    except (ValueError, RecursionError) as error:
        raise MediaError(file, f"is not JSON: {error}") from error
    if mmpose.is_instances(data):
        return mmpose.read_instances(data)
    if alphapose.is_list(data):
        return alphapose.read_list(data)
    if coco.is_annotations(data):
        return coco.read_annotations(data)
    if openpose.is_frame(data):
        return openpose.read_frame(data)
    if alphapose.is_by_picture(data):
        return alphapose.read_by_picture(data)
    raise MediaError(file, "is JSON, but none of poses as AlphaPose, OpenPose, COCO or MMPose write them")


def _bytes(file: Path, count: int = -1) -> bytes:
    try:
        with file.open("rb") as handle:
            return handle.read(count)
    except FileNotFoundError:
        raise MediaError(file, "there is no such file") from None
    except (OSError, ValueError) as error:
        raise MediaError(file, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _stamp(file: Path) -> tuple[int, int]:
    """What changes when a file does, so that what was read of it is not taken for what it is now."""
    try:
        stat = file.stat()
    except OSError as error:
        raise MediaError(file, "there is no such file") from error
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=2)  # a set's sequences are read one after the other, and its file but once
def _sequences(file: Path, _size: int, _changed: int) -> Sequences:
    return pyskl.read_sequences(file, read_pickle(file, _bytes(file)))


@lru_cache(maxsize=4)
def _table(file: Path, _size: int, _changed: int) -> NDArray[np.float32]:
    try:
        text = _bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MediaError(file, "is no file of poses: neither arrays, JSON, a pickle nor lines of numbers") from error
    return text_files.read_table(file, text)
