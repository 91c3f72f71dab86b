"""find_poses: the poses of a video or of a pose file, with people tracked over time, through the cache; and which person to use.

A video is sampled in time. It is decoded while the estimator works, and processed once: the poses of the whole video are cached.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses import PoseEstimator, estimates_depth, open_estimator
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.formats import READING_VERSION, digest_of, is_pose_file, read_poses
from quickstep.signals.video import DECODING_VERSION, VideoInfo, VideoReader, apply_view
from quickstep.signals.video.prefetch import prefetch
from quickstep.storage.cache import Cache, Json
from quickstep.types.errors import MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.registry import trust_typed
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, convert, from_json, read_skeleton
from quickstep.types.view import View

if TYPE_CHECKING:
    from types import ModuleType

VERSION = 2
EDGE = 720  # pixels of the short edge of the frames for an estimator; larger ones are slower and not more accurate
PREFETCH = 4  # batches that are decoded before they are asked for

Watch = Callable[[Poses], None]
_log = logging.getLogger(__name__)


def find_poses(path: str | Path, config: PoseConfig | None = None, *, cache: Cache | None = None, progress: Progress = silent) -> Poses:
    """Find the poses in a video, or read those of a pose file, in the skeleton of the config."""
    config = config or PoseConfig()
    trust_typed(config.estimator)
    return PoseFinder(config, cache or Cache()).find(path, progress=progress)


class PoseFinder:
    """Finds poses in many videos with one estimator, which is opened when the first video needs it."""

    def __init__(self, config: PoseConfig, cache: Cache) -> None:
        self.config, self.cache = config, cache
        self._estimator: PoseEstimator | None = None
        self._lock = threading.Lock()

    @property
    def skeleton(self) -> Skeleton | None:
        """The skeleton of the config; None: that of each file, or of the estimator."""
        return None if self.config.skeleton is None else read_skeleton(self.config.skeleton)

    @property
    def estimator(self) -> PoseEstimator:
        """The estimator of the config."""
        if self._estimator is None:
            config = self.config
            self._estimator = open_estimator(config.estimator, model=config.pose_model, people=config.people, cache=self.cache)
        return self._estimator

    def key(self, path: str | Path) -> dict[str, Json]:
        """Return everything that decides the poses of a path."""
        if is_pose_file(path):
            file_key = {"file": digest_of(path, self.cache), "reading": READING_VERSION, "fps": self.config.pose_fps}
            return file_key | {"tracking": _tracking().TRACKING_VERSION}
        return {
            "video": self.cache.digest(path),
            "decoding": DECODING_VERSION,
            "looking": [VERSION, EDGE, self.config.fps, self.config.people],
            "tracking": _tracking().TRACKING_VERSION,
            "estimator": dict(self.estimator.identity),
        }

    def find(self, path: str | Path, *, progress: Progress = silent, watch: Watch | None = None) -> Poses:
        """Find the poses of a path, people tracked over time. `watch` receives a video's bodies as they are found, unless cached."""
        if is_pose_file(path):
            return read_poses(path, skeleton=self.skeleton, fps=self.config.pose_fps)
        key = {"kind": "poses", **self.key(path)}
        with self._lock:  # an estimator follows one video at a time
            arrays = self.cache.get(key)
            if arrays is None:
                _log.info("no poses of %s in the cache: estimating them", path)
                arrays = self._process(Path(path), progress, watch)
                self.cache.put(key, arrays)
        depth = self.skeleton is not None and self.skeleton.dimensions == 3 and "world_joints" in arrays
        return to_skeleton(_from_arrays(arrays, "world_" if depth else ""), self.skeleton, path)

    def find_in_frames(self, frames: Frames) -> Poses:
        """Find the poses in frames that are in memory, people tracked over time; nothing is cached."""
        estimator, view = self.estimator, View(frames=1, fps=self.config.fps, windows=None, size=EDGE, fit="whole")
        windows = list(apply_view(frames, view))
        pixels, times = np.concatenate([one.pixels for one in windows]), np.concatenate([one.times for one in windows])
        scaled = _distinct(Frames(pixels, times), after=-1.0)
        height, width = frames.pixels.shape[1:3]
        scale, depth = width / scaled.pixels.shape[2], None
        with self._lock:
            estimator.start()
            if self.skeleton is not None and self.skeleton.dimensions == 3 and estimates_depth(estimator):
                flat, depth = estimator.estimate_both(scaled)
            else:
                flat = estimator.estimate(scaled)
        whole, track = _concatenate([flat], (width, height), scale), _tracking().track
        poses = track(whole) if depth is None else track(whole, of=_concatenate([depth], (width, height), 1.0))
        return to_skeleton(poses, self.skeleton, "the frames")

    def _process(self, path: Path, progress: Progress, watch: Watch | None) -> dict[str, NDArray[Any]]:
        """Decode a video, estimate and track its people; in three dimensions too, if the estimator can."""
        estimator = self.estimator
        estimator.start()
        parts: list[Poses] = []
        depth_parts: list[Poses] = []
        scale, size, last = 1.0, (0, 0), -1.0
        batches = _decode(path, self.config.fps, max(1, min(estimator.batch, 64)))
        for info, frames, share in prefetch(batches, size=PREFETCH, name="decode-poses"):
            new = _distinct(frames, after=last)
            if len(new):
                last = float(new.times[-1])
                if estimates_depth(estimator):
                    poses, depth = estimator.estimate_both(new)
                    depth_parts.append(depth)
                else:
                    poses = estimator.estimate(new)
                parts.append(poses)
                size, scale = (info.width, info.height), info.width / new.pixels.shape[2]
                if watch is not None:
                    watch(_concatenate([poses], size, scale))
            progress("poses", round(100 * share), 100)
        if not parts:
            raise MediaError(path, "has no frame")
        whole, track = _concatenate(parts, size, scale), _tracking().track
        arrays = _to_arrays(track(whole))
        if depth_parts:
            arrays |= _to_arrays(track(whole, of=_concatenate(depth_parts, size, 1.0)), "world_")
        return arrays


def select_person(poses: Poses, person: int | None, path: str | Path) -> Poses:
    """Return one person of the poses: the one with this number, or the dancer."""
    if not poses.people or not poses.seen.any():
        raise MediaError(path, "has no visible person")
    if person is not None and person not in poses.people:
        raise MediaError(path, f"has no person {person}; its people are: {', '.join(map(str, poses.people))}")
    if person is None:
        person = poses.people[0] if len(poses.people) == 1 else _tracking().find_dancer(poses)
    return poses.person(person)


def to_skeleton(poses: Poses, skeleton: Skeleton | None, path: str | Path) -> Poses:
    """Convert poses to the joints of another skeleton; None changes nothing."""
    if skeleton is None or skeleton.joints == poses.skeleton.joints:
        return poses
    if skeleton.dimensions != poses.skeleton.dimensions:
        raise MediaError(path, f"its poses have {poses.skeleton.dimensions} dimensions, and {skeleton.name!r} has {skeleton.dimensions}")
    return replace(poses, joints=convert(poses.joints, poses.skeleton, skeleton), skeleton=skeleton)


def _decode(path: Path, fps: float, batch: int) -> Iterator[tuple[VideoInfo, Frames, float]]:
    """Decode a video at a frame rate; yield its frames in batches, each with the share of the video that is decoded by then."""
    with VideoReader(path, threads=2) as video:
        info = video.info
        times = np.arange(max(1, int(info.duration * fps + 1e-6))) / fps
        rows = [times[at : at + batch] for at in range(0, len(times), batch)]
        for number, frames in enumerate(video.windows(rows, view=View(frames=1, size=EDGE, fit="whole")), start=1):
            yield info, frames, number / len(rows)


def _distinct(frames: Frames, *, after: float) -> Frames:
    """Return each frame once, at its own time, without those up to `after`."""
    times, places = np.unique(frames.times, return_index=True)
    new = times > after
    return Frames(frames.pixels[places[new]], times[new])


def _concatenate(parts: list[Poses], size: tuple[int, int], scale: float) -> Poses:
    """Join parts in time, in pixels of the whole frame; the places that a part lacks are empty."""
    slots = max(len(part.people) for part in parts)
    first = parts[0]
    joints = []
    for part in parts:
        lacking = slots - len(part.people)
        padded = np.pad(part.joints, ((0, 0), (0, lacking), (0, 0), (0, 0)), constant_values=np.nan)
        padded[..., : first.skeleton.dimensions] *= scale if first.skeleton.dimensions == 2 else 1.0
        joints.append(padded)
    times = np.concatenate([part.times for part in parts])
    return Poses(np.concatenate(joints), times, first.skeleton, tuple(range(slots)), size)


def _to_arrays(poses: Poses, prefix: str = "") -> dict[str, NDArray[Any]]:
    text = json.dumps(poses.skeleton.to_json()).encode()
    arrays: dict[str, NDArray[Any]] = {
        "joints": poses.joints,
        "times": poses.times,
        "people": np.array(poses.people, dtype=np.int64),
        "size": np.array(poses.size or (0, 0), dtype=np.int64),
        "skeleton": np.frombuffer(text, dtype=np.uint8),
    }
    return {prefix + name: array for name, array in arrays.items()}


def _from_arrays(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> Poses:
    joints, times, people, size, text = (arrays[prefix + name] for name in ("joints", "times", "people", "size", "skeleton"))
    width, height = size.tolist()
    skeleton = from_json(json.loads(text.tobytes().decode()))
    return Poses(joints, times, skeleton, tuple(people.tolist()), (width, height) if width else None)


def _tracking() -> ModuleType:
    """Import the tracking module, and scipy with it, only when poses are found."""
    from quickstep.signals.poses import tracking

    return tracking
