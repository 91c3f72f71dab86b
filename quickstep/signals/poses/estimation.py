"""find_poses: the bodies in a video or in a file of poses, joined over time, through the cache; and which of them is meant.

A video is looked at by time, decoded while the estimator works, and looked at once: the poses of the whole of it are kept. Knows
estimators by their contract alone.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses import PoseEstimator, open_estimator, sees_depth
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.formats import READING_VERSION, digest_of, is_pose_file, read_poses
from quickstep.signals.video import DECODING_VERSION, VideoInfo, VideoReader, apply_view
from quickstep.signals.video.prefetch import prefetch
from quickstep.storage.cache import Cache, Json
from quickstep.types.errors import MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, convert, from_json, read_skeleton
from quickstep.types.view import View

VERSION = 2
EDGE = 720  # pixels of the short edge of what an estimator is shown; a larger picture slows it and tells it nothing
AHEAD = 4  # batches that are decoded before they are asked for

Watch = Callable[[Poses], None]


def find_poses(path: str | Path, config: PoseConfig | None = None, *, cache: Cache | None = None, progress: Progress = silent) -> Poses:
    """The poses in a video, or in a file of poses, in the skeleton that the config asks for."""
    return Finder(config or PoseConfig(), cache or Cache()).find(path, progress=progress)


class Finder:
    """Finds poses in many videos with one estimator, which is opened when the first video needs it."""

    def __init__(self, config: PoseConfig, cache: Cache) -> None:
        self.config, self.cache = config, cache
        self._estimator: PoseEstimator | None = None
        self._alone = threading.Lock()

    @property
    def skeleton(self) -> Skeleton | None:
        """The skeleton that is asked for; None: that of each file, or of the estimator."""
        return None if self.config.skeleton is None else read_skeleton(self.config.skeleton)

    @property
    def estimator(self) -> PoseEstimator:
        """What finds the bodies in videos."""
        if self._estimator is None:
            config = self.config
            self._estimator = open_estimator(config.estimator, model=config.pose_model, people=config.people, cache=self.cache)
        return self._estimator

    def key(self, path: str | Path) -> dict[str, Json]:
        """Everything that decides the poses of a path."""
        if is_pose_file(path):
            told = {"file": digest_of(path, self.cache), "reading": READING_VERSION, "fps": self.config.pose_fps}
            return told | {"tracking": _tracks().TRACKING_VERSION}
        return {
            "video": self.cache.digest(path),
            "decoding": DECODING_VERSION,
            "looking": [VERSION, EDGE, self.config.fps, self.config.people],
            "tracking": _tracks().TRACKING_VERSION,
            "estimator": dict(self.estimator.identity),
        }

    def find(self, path: str | Path, *, progress: Progress = silent, watch: Watch | None = None) -> Poses:
        """The poses of a path, its people joined over time. `watch` is shown the bodies of a video as they are found; not of a kept one."""
        if is_pose_file(path):
            return read_poses(path, skeleton=self.skeleton, fps=self.config.pose_fps)
        key = {"kind": "poses", **self.key(path)}
        with self._alone:  # an estimator follows one video at a time
            kept = self.cache.get(key)
            if kept is None:
                kept = self._look(Path(path), progress, watch)
                self.cache.put(key, kept)
        deep = self.skeleton is not None and self.skeleton.dimensions == 3 and "world_joints" in kept
        return in_skeleton(_unpacked(kept, "world_" if deep else ""), self.skeleton, path)

    def find_in_frames(self, frames: Frames) -> Poses:
        """Return the poses in pictures that are in memory, people joined over time; nothing is cached."""
        estimator, view = self.estimator, View(frames=1, fps=self.config.fps, windows=None, size=EDGE, fit="whole")
        windows = list(apply_view(frames, view))
        pixels, times = np.concatenate([one.pixels for one in windows]), np.concatenate([one.times for one in windows])
        shown = _distinct(Frames(pixels, times), after=-1.0)
        height, width = frames.pixels.shape[1:3]
        scale, world = width / shown.pixels.shape[2], None
        with self._alone:
            estimator.start()
            if self.skeleton is not None and self.skeleton.dimensions == 3 and sees_depth(estimator):
                flat, world = estimator.estimate_both(shown)
            else:
                flat = estimator.estimate(shown)
        whole, track = _as_one([flat], (width, height), scale), _tracks().track
        poses = track(whole) if world is None else track(whole, of=_as_one([world], (width, height), 1.0))
        return in_skeleton(poses, self.skeleton, "the frames")

    def _look(self, path: Path, progress: Progress, watch: Watch | None) -> dict[str, NDArray[Any]]:
        """Decode, estimate and track a video; the same bodies in space too, where the estimator sees depth."""
        estimator = self.estimator
        estimator.start()
        found: list[Poses] = []
        deep: list[Poses] = []
        scale, size, last = 1.0, (0, 0), -1.0
        batches = _decoded(path, self.config.fps, max(1, min(estimator.batch, 64)))
        for info, frames, share in prefetch(batches, size=AHEAD, name="decode-poses"):
            new = _distinct(frames, after=last)
            if len(new):
                last = float(new.times[-1])
                if sees_depth(estimator):
                    flat, world = estimator.estimate_both(new)
                    deep.append(world)
                else:
                    flat = estimator.estimate(new)
                found.append(flat)
                size, scale = (info.width, info.height), info.width / new.pixels.shape[2]
                if watch is not None:
                    watch(_as_one([flat], size, scale))
            progress("poses", round(100 * share), 100)
        if not found:
            raise MediaError(path, "shows no picture")
        whole, track = _as_one(found, size, scale), _tracks().track
        return _packed(track(whole)) | (_packed(track(whole, of=_as_one(deep, size, 1.0)), "world_") if deep else {})


def the_person(poses: Poses, person: int | None, path: str | Path) -> Poses:
    """One person of the poses: the one of that number, or the dancer."""
    if not poses.people or not poses.seen.any():
        raise MediaError(path, "nobody is seen in it")
    if person is not None and person not in poses.people:
        raise MediaError(path, f"has no person {person}; its people are: {', '.join(map(str, poses.people))}")
    if person is None:
        person = poses.people[0] if len(poses.people) == 1 else _tracks().the_dancer(poses)
    return poses.person(person)


def in_skeleton(poses: Poses, skeleton: Skeleton | None, path: str | Path) -> Poses:
    """The poses with the joints of another skeleton."""
    if skeleton is None or skeleton.joints == poses.skeleton.joints:
        return poses
    if skeleton.dimensions != poses.skeleton.dimensions:
        raise MediaError(path, f"its poses have {poses.skeleton.dimensions} dimensions, and {skeleton.name!r} has {skeleton.dimensions}")
    return replace(poses, joints=convert(poses.joints, poses.skeleton, skeleton), skeleton=skeleton)


def _decoded(path: Path, fps: float, batch: int) -> Iterator[tuple[VideoInfo, Frames, float]]:
    """Decode a video at a frame rate; yield its frames in batches, each with the share of the video that is decoded by then."""
    with VideoReader(path, threads=2) as video:
        info = video.info
        times = np.arange(max(1, int(info.duration * fps + 1e-6))) / fps
        rows = [times[at : at + batch] for at in range(0, len(times), batch)]
        for number, frames in enumerate(video.windows(rows, view=View(frames=1, size=EDGE, fit="whole")), start=1):
            yield info, frames, number / len(rows)


def _distinct(frames: Frames, *, after: float) -> Frames:
    """Each picture once, at its own time; none that was shown before."""
    times, places = np.unique(frames.times, return_index=True)
    new = times > after
    return Frames(frames.pixels[places[new]], times[new])


def _as_one(parts: list[Poses], size: tuple[int, int], scale: float) -> Poses:
    """The poses of all parts, in pixels of the whole picture; slots that a part lacks are empty."""
    slots = max(len(part.people) for part in parts)
    first = parts[0]
    joints = []
    for part in parts:
        lacking = slots - len(part.people)
        whole = np.pad(part.joints, ((0, 0), (0, lacking), (0, 0), (0, 0)), constant_values=np.nan)
        whole[..., : first.skeleton.dimensions] *= scale if first.skeleton.dimensions == 2 else 1.0
        joints.append(whole)
    times = np.concatenate([part.times for part in parts])
    return Poses(np.concatenate(joints), times, first.skeleton, tuple(range(slots)), size)


def _packed(poses: Poses, mark: str = "") -> dict[str, NDArray[Any]]:
    text = json.dumps(poses.skeleton.to_json()).encode()
    arrays: dict[str, NDArray[Any]] = {
        "joints": poses.joints,
        "times": poses.times,
        "people": np.array(poses.people, dtype=np.int64),
        "size": np.array(poses.size or (0, 0), dtype=np.int64),
        "skeleton": np.frombuffer(text, dtype=np.uint8),
    }
    return {mark + name: array for name, array in arrays.items()}


def _unpacked(kept: Mapping[str, NDArray[Any]], mark: str = "") -> Poses:
    joints, times, people, size, text = (kept[mark + name] for name in ("joints", "times", "people", "size", "skeleton"))
    width, height = size.tolist()
    skeleton = from_json(json.loads(text.tobytes().decode()))
    return Poses(joints, times, skeleton, tuple(people.tolist()), (width, height) if width else None)


def _tracks() -> Any:
    """The room that joins people over time; it loads when something is looked at, not before."""
    from quickstep.signals.poses import tracking

    return tracking
