"""RawPoses: the content of a pose file as it is; and how it becomes `Poses`.

The conversion decides which joints they are, which number is a score, which joints are invisible, and when each frame is. Its guesses are
returned as notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.config import DEFAULT_FPS
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import SKELETONS, Skeleton, convert, read_skeleton, shares, unnamed_skeleton

MAX_PEOPLE = 100  # in one file; of more, those that are visible most often
MAX_FRAMES = 2_000_000
MIN_SHARED_JOINTS = 0.5  # share of the joints of the target skeleton that a conversion needs
MAX_SCORE = 1.5
_BY_COUNT = {2: {17: "coco-17", 18: "openpose-18", 25: "openpose-25", 26: "halpe-26", 33: "blazepose-33", 23: "coco-23"}}
_BY_COUNT[3] = {17: "h36m-17", 25: "ntu-25", 33: "blazepose-33", 24: "smpl-24"}

Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RawPoses:
    """The numbers of a file, and what the file states about them; None where it states nothing."""

    values: Values  # (T, P, K, C)
    scored: bool | None = None  # whether the last channel is a score; None: it may be a score or depth
    times: NDArray[np.float64] | None = None
    fps: float | None = None
    people: tuple[int, ...] | None = None  # None: 0, 1, 2 ...
    tracked: bool = True  # whether a person keeps one place over time
    skeleton: str | None = None  # a name, or JSON text
    names_joints: bool = False  # whether the file itself names its joints; otherwise the format and their number do
    size: tuple[int, int] | None = None
    zero_is_invisible: bool = False  # whether the format writes 0, 0 for an invisible joint
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PoseFile:
    """The poses of a file, whether its people are tracked over time, and what had to be guessed."""

    poses: Poses
    tracked: bool = True
    notes: tuple[str, ...] = ()


# -- single detections to an array -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Detection:
    """One person in one frame."""

    frame: int
    values: Values  # (K, C), the last channel a score
    person: int | None = None


def to_grid(detections: Sequence[Detection], *, frames: int | None = None) -> tuple[Values, tuple[int, ...], bool]:
    """Return values (T, P, K, C), NaN where nobody is, the numbers of the people, and whether the file gave those numbers."""
    count = max([*(detection.frame + 1 for detection in detections), frames or 0, 0])
    if count > MAX_FRAMES:
        raise ValueError(f"its frames are numbered up to {count - 1}, more than {MAX_FRAMES}")
    shapes = Counter(detection.values.shape for detection in detections)
    if len(shapes) > 1:
        counts = " and ".join(str(shape[0]) for shape in sorted(shapes))
        raise ValueError(f"its people have different numbers of joints: {counts}")
    tracked = bool(detections) and all(detection.person is not None for detection in detections)
    if tracked:
        frequency = Counter(detection.person for detection in detections if detection.person is not None)
        people = tuple(sorted(person for person, _ in frequency.most_common(MAX_PEOPLE)))
        slots = {person: slot for slot, person in enumerate(people)}
        placed = [(detection, slots.get(detection.person or 0)) for detection in detections]
    else:
        placed, most = _by_score(detections)
        people = tuple(range(min(most, MAX_PEOPLE)))
    joints, channels = next(iter(shapes), (0, 3))
    values = np.full((count, len(people), joints, channels), np.nan, dtype=np.float32)
    for detection, slot in placed:
        if slot is not None and slot < len(people):
            earlier, new = values[detection.frame, slot], detection.values
            if not _total_score(earlier) > _total_score(new):  # of two detections of one person in a frame, the one with the higher score
                values[detection.frame, slot] = new
    return values, people, tracked


def _by_score(detections: Sequence[Detection]) -> tuple[list[tuple[Detection, int | None]], int]:
    """Return each detection with its rank by score in its frame, and the largest number of people in a frame."""
    frames: dict[int, list[Detection]] = {}
    for detection in detections:
        frames.setdefault(detection.frame, []).append(detection)
    placed: list[tuple[Detection, int | None]] = []
    for in_frame in frames.values():
        ranked = sorted(in_frame, key=lambda detection: -_total_score(detection.values))
        placed += [(detection, slot) for slot, detection in enumerate(ranked)]
    return placed, max((len(in_frame) for in_frame in frames.values()), default=0)


def _total_score(values: Values) -> float:
    scores = values[:, -1]
    return float(np.nansum(scores)) if np.isfinite(scores).any() else 0.0


def frame_numbers(names: Sequence[str]) -> dict[str, int]:
    """Return the frame of each image name: the last number in it, from 0 on; their order if those are not numbers of frames."""
    digits = {name: _last_number(name) for name in dict.fromkeys(names)}
    numbers = [number for number in digits.values() if number is not None]
    complete = len(numbers) == len(digits) and len(set(numbers)) == len(numbers) and bool(numbers)
    if not complete or max(numbers) - min(numbers) > 100 * len(numbers) + 1000:
        return {name: place for place, name in enumerate(digits)}
    first = min(numbers) if min(numbers) == 1 or min(numbers) > 100 * len(numbers) + 1000 else 0
    return {name: number - first for name, number in digits.items() if number is not None}


def _last_number(name: str) -> int | None:
    stem = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem = stem.rsplit(".", 1)[0] if "." in stem else stem
    stem = stem.removesuffix("_keypoints").removesuffix("_pose")
    digits = ""
    for letter in reversed(stem):
        if letter.isascii() and letter.isdigit():
            digits = letter + digits
        elif digits:
            break
    return int(digits) if digits and len(digits) < 19 else None


# -- conversion to Poses -----------------------------------------------------------------------------------------------------


def to_poses(path: Path, raw: RawPoses, *, skeleton: Skeleton | None, fps: float | None) -> PoseFile:
    """Convert to poses in a skeleton, or in the file's own; raise a MediaError if the two do not fit."""
    notes = list(raw.notes)
    values, count = raw.values, raw.values.shape[2]
    if values.shape[1] == 0 or count == 0:
        raise MediaError(path, f"has no visible person in its {len(values)} frames")
    stated = _parse_skeleton(path, raw.skeleton) if raw.names_joints and raw.skeleton else skeleton
    values, dimensions = _with_scores(path, raw, stated, notes)
    own = _own_skeleton(path, raw, skeleton, dimensions, notes)
    values = _without_invisible(values, zero=raw.zero_is_invisible, missing=own.missing, notes=notes)
    times = _times(path, raw, skeleton or own, fps, notes)
    people = raw.people or tuple(range(values.shape[1]))
    visible = np.asarray((values[..., -1] > 0).any(axis=(0, 2)))  # (P,)
    if not visible.any():
        raise MediaError(path, f"has no visible person in its {len(values)} frames")
    values, people = values[:, visible], tuple(person for person, mask in zip(people, visible, strict=True) if mask)
    poses = Poses(values, times, own, people, raw.size)
    if skeleton is not None and own.joints != skeleton.joints:
        target = replace(skeleton, dimensions=dimensions)
        poses = Poses(convert(poses.joints, own, target), times, target, people, raw.size)
    return PoseFile(poses, raw.tracked, tuple(notes))


def _with_scores(path: Path, raw: RawPoses, skeleton: Skeleton | None, notes: list[str]) -> tuple[Values, int]:
    """Return values with a score as the last channel, 1 if the file has none, and the number of dimensions."""
    values, channels = raw.values, raw.values.shape[-1]
    scored = raw.scored
    if scored is None and channels == 3:
        third = values[..., 2]
        low, high = (float(np.nanmin(third)), float(np.nanmax(third))) if np.isfinite(third).any() else (0.0, 0.0)
        possible = low >= 0 and high <= MAX_SCORE
        scored = possible and not (skeleton is not None and skeleton.dimensions == 3)
        if skeleton is None or (not possible and skeleton.dimensions == 2):
            meaning = "a score" if scored else "depth"
            notes.append(f"the third number of a joint was read as {meaning}; `dimensions` in the skeleton changes that")
    elif scored is None:
        scored = channels == 4
    if not scored:
        values = np.concatenate([values, np.ones((*values.shape[:-1], 1), dtype=np.float32)], axis=-1)
    dimensions = values.shape[-1] - 1
    if dimensions not in (2, 3):
        raise MediaError(path, f"has {channels} numbers a joint, and a joint has x, y, depth and score at most")
    if skeleton is not None and skeleton.dimensions == 3 and dimensions == 2:
        raise MediaError(path, f"has only x and y, and the skeleton {skeleton.name!r} has 3 dimensions")
    return values, dimensions


def _own_skeleton(path: Path, raw: RawPoses, skeleton: Skeleton | None, dimensions: int, notes: list[str]) -> Skeleton:
    """Return the skeleton of the file: as it names its joints, as the caller says, or by their number."""
    count = raw.values.shape[2]
    own = _parse_skeleton(path, raw.skeleton) if raw.skeleton else None
    if own is not None and len(own) != count:
        raise MediaError(path, f"has {count} joints and names a skeleton of {len(own)} ({own.name})")
    if skeleton is not None and not (own is not None and raw.names_joints) and len(skeleton) == count:
        return replace(skeleton, dimensions=dimensions)
    if skeleton is not None and (own is None or shares(own, skeleton) < MIN_SHARED_JOINTS):
        more = f", of which only {shares(own, skeleton):.0%} can be converted" if own is not None else ""
        raise MediaError(
            path, f"has {count} joints and the skeleton {skeleton.name!r} has {len(skeleton)}{more}: name the file's own skeleton"
        )
    if own is None:
        name = _BY_COUNT[dimensions].get(count)
        own = SKELETONS[name] if name else unnamed_skeleton(count, dimensions)
        notes.append(
            f"its {count} joints were read as {name}; name another skeleton if that is wrong"
            if name
            else f"its {count} joints have no names; name a skeleton that has them"
        )
    return replace(own, dimensions=dimensions)


def _parse_skeleton(path: Path, text: str) -> Skeleton:
    try:
        if not text.startswith("{") and set("/\\.") & set(text):
            raise ConfigError("skeleton", f"{text[:60]!r} is not a name")  # a pose file must not make us open another file
        return read_skeleton(text)
    except (ConfigError, LookupError) as error:
        raise MediaError(path, f"names a skeleton that cannot be read: {error}") from error


def _without_invisible(values: Values, *, zero: bool, missing: str, notes: list[str]) -> Values:
    """Set score 0 where a joint is invisible: not a number, score 0, or at the origin if that means invisible."""
    places = values[..., :-1]
    scores = np.nan_to_num(values[..., -1], nan=0.0, posinf=0.0, neginf=0.0)
    visible = np.isfinite(places).all(axis=-1) & (scores > 0)
    origin = visible & (places == 0).all(axis=-1)
    if not zero and missing == "guess" and origin.any():
        absent = ~(visible & ~origin).any(axis=-1)  # (T, P): a person with every joint at the origin is absent
        zero = float(places[visible].min(initial=0.0)) >= 0
        if zero:
            notes.append('joints at 0, 0 were read as invisible; `"missing": "nan"` in the skeleton changes that')
        visible &= ~(origin & absent[..., None])
    if zero or missing == "zero":
        visible &= ~origin
    values = values.copy()
    values[..., -1] = np.where(visible, scores, 0.0)
    return values


def _times(path: Path, raw: RawPoses, skeleton: Skeleton, fps: float | None, notes: list[str]) -> NDArray[np.float64]:
    if raw.times is not None:
        if not np.isfinite(raw.times).all() or (np.diff(raw.times) <= 0).any():
            raise MediaError(path, "has times that do not ascend")
        return raw.times
    rate = raw.fps or fps or skeleton.fps
    if rate is None:
        notes.append(f"its frame rate is unknown: {DEFAULT_FPS:g} frames a second are assumed; give another as the frame rate of poses")
    return np.arange(len(raw.values)) / (rate or DEFAULT_FPS)
