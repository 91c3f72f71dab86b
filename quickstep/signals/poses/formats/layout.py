"""From what a file says to Poses: whose joints they are, which numbers are scores, what was not seen, and when each frame is.

What had to be guessed is said in notes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.config import USUAL_FPS
from quickstep.signals.poses.formats.raw_poses import Raw
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import SKELETONS, Skeleton, convert, nameless, read_skeleton, shares

ENOUGH = 0.5  # share of a skeleton's joints that another must have to be brought to it
_BY_NUMBER = {2: {17: "coco-17", 18: "openpose-18", 25: "openpose-25", 26: "halpe-26", 33: "blazepose-33", 23: "coco-23"}}
_BY_NUMBER[3] = {17: "h36m-17", 25: "ntu-25", 33: "blazepose-33", 24: "smpl-24"}
HIGHEST_SCORE = 1.5


@dataclass(frozen=True)
class PoseFile:
    """The poses of a file, whether its people keep their places over time, and what was guessed."""

    poses: Poses
    tracked: bool = True
    notes: tuple[str, ...] = ()


def conclude(path: Path, raw: Raw, *, skeleton: Skeleton | None, fps: float | None) -> PoseFile:
    """Poses in the asked skeleton, or the file's own; a MediaError where the two do not go together."""
    notes = list(raw.notes)
    values, count = raw.values, raw.values.shape[2]
    if values.shape[1] == 0 or count == 0:
        raise MediaError(path, f"nobody is seen in its {len(values)} frames")
    told = _read(path, raw.skeleton) if raw.named and raw.skeleton else skeleton
    values, dimensions = _with_scores(path, raw, told, notes)
    own = _own(path, raw, skeleton, dimensions, notes)
    values = _without_unseen(values, zero=raw.zero, missing=own.missing, notes=notes)
    times = _times(path, raw, skeleton or own, fps, notes)
    people = raw.people or tuple(range(values.shape[1]))
    there = np.asarray((values[..., -1] > 0).any(axis=(0, 2)))  # (P,): places that are empty throughout are nobody's
    if not there.any():
        raise MediaError(path, f"nobody is seen in its {len(values)} frames")
    values, people = values[:, there], tuple(person for person, seen in zip(people, there, strict=True) if seen)
    poses = Poses(values, times, own, people, raw.size)
    if skeleton is not None and own.joints != skeleton.joints:
        target = replace(skeleton, dimensions=dimensions)
        poses = Poses(convert(poses.joints, own, target), times, target, people, raw.size)
    return PoseFile(poses, raw.tracked, tuple(notes))


def _with_scores(path: Path, raw: Raw, skeleton: Skeleton | None, notes: list[str]) -> tuple[NDArray[np.float32], int]:
    """Values with a score as the last channel, 1 where the file has none, and how many dimensions the rest is."""
    values, channels = raw.values, raw.values.shape[-1]
    scored = raw.scored
    if scored is None and channels == 3:
        third = values[..., 2]
        low, high = (float(np.nanmin(third)), float(np.nanmax(third))) if np.isfinite(third).any() else (0.0, 0.0)
        possible = low >= 0 and high <= HIGHEST_SCORE
        scored = possible and not (skeleton is not None and skeleton.dimensions == 3)
        if skeleton is None or (not possible and skeleton.dimensions == 2):
            what = "a score" if scored else "depth"
            notes.append(f"the third number of a joint was taken for {what}; dimensions in the skeleton say otherwise")
    elif scored is None:
        scored = channels == 4
    if not scored:
        values = np.concatenate([values, np.ones((*values.shape[:-1], 1), dtype=np.float32)], axis=-1)
    dimensions = values.shape[-1] - 1
    if dimensions not in (2, 3):
        raise MediaError(path, f"has {channels} numbers a joint, and a joint has x, y, depth and score at most")
    if skeleton is not None and skeleton.dimensions == 3 and dimensions == 2:
        raise MediaError(path, f"has x and y alone, and the skeleton {skeleton.name!r} has 3 dimensions")
    return values, dimensions


def _own(path: Path, raw: Raw, skeleton: Skeleton | None, dimensions: int, notes: list[str]) -> Skeleton:
    """Whose joints they are: as the file names them, as asked, or by their number."""
    count = raw.values.shape[2]
    own = _read(path, raw.skeleton) if raw.skeleton else None
    if own is not None and len(own) != count:
        raise MediaError(path, f"has {count} joints and names a skeleton of {len(own)} ({own.name})")
    if skeleton is not None and not (own is not None and raw.named) and len(skeleton) == count:
        return replace(skeleton, dimensions=dimensions)
    if skeleton is not None and (own is None or shares(own, skeleton) < ENOUGH):
        more = f", of which only {shares(own, skeleton):.0%} can be made of them" if own is not None else ""
        raise MediaError(path, f"has {count} joints and the skeleton {skeleton.name!r} has {len(skeleton)}{more}: name its own --skeleton")
    if own is None:
        name = _BY_NUMBER[dimensions].get(count)
        own = SKELETONS[name] if name else nameless(count, dimensions)
        notes.append(
            f"its {count} joints were taken for {name}; name another with --skeleton"
            if name
            else f"its {count} joints have no names; say with --skeleton what they are"
        )
    return replace(own, dimensions=dimensions)


def _read(path: Path, text: str) -> Skeleton:
    try:
        if not text.startswith("{") and set("/\\.") & set(text):
            raise ConfigError("skeleton", f"{text[:60]!r} is no name")  # a file names no other file that we would open
        return read_skeleton(text)
    except (ConfigError, LookupError) as error:
        raise MediaError(path, f"names a skeleton that is none: {error}") from error


def _without_unseen(values: NDArray[np.float32], *, zero: bool, missing: str, notes: list[str]) -> NDArray[np.float32]:
    """Score 0 where a joint was not seen: no number, score 0, or the origin where that means so."""
    places = values[..., :-1]
    scores = np.nan_to_num(values[..., -1], nan=0.0, posinf=0.0, neginf=0.0)
    seen = np.isfinite(places).all(axis=-1) & (scores > 0)
    origin = seen & (places == 0).all(axis=-1)
    if not zero and missing == "guess" and origin.any():
        absent = ~(seen & ~origin).any(axis=-1)  # (T, P): every joint at the origin is a person who is not there
        low = float(places[seen].min(initial=0.0))
        zero = low >= 0
        if zero:
            notes.append('joints at 0, 0 were taken for not seen; "missing": "nan" in the skeleton says otherwise')
        seen &= ~(origin & absent[..., None])
    if zero or missing == "zero":
        seen &= ~origin
    values = values.copy()
    values[..., -1] = np.where(seen, scores, 0.0)
    return values


def _times(path: Path, raw: Raw, skeleton: Skeleton, fps: float | None, notes: list[str]) -> NDArray[np.float64]:
    if raw.times is not None:
        if not np.isfinite(raw.times).all() or (np.diff(raw.times) <= 0).any():
            raise MediaError(path, "has times that do not ascend")
        return raw.times
    pace = raw.fps or fps or skeleton.fps
    if pace is None:
        notes.append(f"its pace is not told: {USUAL_FPS:g} frames a second are taken; say it with --pose-fps")
    return np.arange(len(raw.values)) / (pace or USUAL_FPS)
