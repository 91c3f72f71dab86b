"""show_poses: the bodies of videos found, kept as files, drawn, and told in numbers. Knows no command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quickstep.signals.poses import sees_depth
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.drawing import Look, draw_poses
from quickstep.signals.poses.estimation import Finder, the_person
from quickstep.signals.poses.formats import is_pose_file, write_poses
from quickstep.signals.poses.live_drawing import LiveDrawing
from quickstep.signals.poses.resampling import present
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Poses
from quickstep.types.skeleton import read_skeleton


@dataclass(frozen=True)
class Where:
    """Where poses go: a file for one video, a folder for several; drawings likewise."""

    poses: Path | None = None
    drawn: Path | None = None
    stick_figures: bool = False


@dataclass(frozen=True)
class Person:
    """One person of a video."""

    number: int
    seen: float  # share of the moments
    start: float  # seconds: first seen
    end: float  # last seen
    score: float  # mean of the joints that are seen


@dataclass(frozen=True)
class Shown:
    """What was found in one video, and where it is now."""

    path: Path
    skeleton: str
    moments: int
    seconds: float  # from the first moment looked at to the last
    seen: float  # share of the moments at which somebody is seen
    people: tuple[Person, ...]
    poses: Path | None = None
    drawn: Path | None = None

    def __str__(self) -> str:
        if not self.people:
            return f"{self.path}: nobody is seen at any of the {self.moments} moments looked at"
        crowd = "1 person" if len(self.people) == 1 else f"{len(self.people)} people"
        return f"{self.path}: {crowd}; somebody is seen at {self.seen:.0%} of {self.moments} moments"


def show_poses(
    segments: Sequence[Segment],
    config: PoseConfig | None = None,
    where: Where | None = None,
    *,
    world: bool = False,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> tuple[list[Shown], list[Failure]]:
    """Find the bodies in each video (or file of poses), write and draw them. `world` writes them in metres instead of in the picture."""
    config, where, cache = config or PoseConfig(person="all"), where or Where(), cache or Cache()
    if where.stick_figures and where.drawn is None:
        raise ConfigError("stick_figures", "say where the video goes: --draw out.mp4")
    videos = any(not is_pose_file(segment.path) for segment in segments)
    finder = Finder(config, cache)
    deep = Finder(_deep(finder, videos), cache) if world else None
    if videos:
        _ = finder.estimator.identity  # a model that is none is said once, not for each video
    targets = _targets(segments, where.poses, ".npz"), _targets(segments, where.drawn, ".mp4")
    shown, failures = [], []
    for number, segment in enumerate(segments):
        told = progress if len(segments) == 1 else silent
        try:
            shown.append(_show(segment, (finder, deep), Where(targets[0][number], targets[1][number], where.stick_figures), told))
        except MediaError as error:
            failures.append(Failure(segment, error))
        if len(segments) > 1:
            progress("poses", number + 1, len(segments))
    return shown, failures


def _show(segment: Segment, finders: tuple[Finder, Finder | None], to: Where, progress: Progress) -> Shown:
    finder, deep = finders
    video, look = None if is_pose_file(segment.path) else segment.path, Look(stick_figures=to.stick_figures)
    live = None
    if to.drawn is not None:
        to.drawn.parent.mkdir(parents=True, exist_ok=True)
        if video is not None and finder.skeleton is None and video.resolve() != to.drawn.resolve():
            live = LiveDrawing(video, to.drawn, look)
    try:
        whole = finder.find(segment.path, progress=progress, watch=live.feed if live else None)
        found = _chosen(finder, segment, whole)
        told = _told(segment.path, found)
        if not told.people:
            return told
        drawn = live is not None and live.finished(found)
    finally:
        if live is not None:
            live.stop()
    if to.poses is not None:
        write_poses(_chosen(deep, segment, deep.find(segment.path)) if deep else found, to.poses)
    if to.drawn is not None and not drawn:
        draw_poses(found, to.drawn, video=video, look=look, progress=progress)
    return replace(told, poses=to.poses, drawn=to.drawn)


def _chosen(finder: Finder, segment: Segment, poses: Poses) -> Poses:
    """Everybody, or the one who is asked for."""
    if finder.config.person == "all" or not poses.seen.any():
        return poses
    return the_person(poses, segment.person or finder.config.number, segment.path)


def _deep(finder: Finder, videos: bool) -> PoseConfig:
    """The same settings, for the joints in space."""
    config = finder.config
    if videos and not sees_depth(finder.estimator):
        raise ConfigError("world", f"{config.estimator} sees no depth; mediapipe does")
    asked = finder.skeleton or (read_skeleton(finder.estimator.skeleton) if videos else None)
    if asked is None:
        return config
    name = asked.name.removesuffix("-3d")
    return replace(config, skeleton=f"{name}-3d")


def _told(path: Path, poses: Poses) -> Shown:
    there = present(poses)  # (T, P)
    people = []
    for place, number in enumerate(poses.people):
        moments = np.flatnonzero(there[:, place])
        if len(moments):
            seen = poses.seen[:, place]
            score = float(poses.joints[:, place, :, -1][seen].mean())
            times = poses.times[moments[[0, -1]]].tolist()
            people.append(Person(number, float(there[:, place].mean()), times[0], times[1], score))
    seconds = float(poses.times[-1] - poses.times[0]) if len(poses) else 0.0
    share = float(there.any(axis=1).mean()) if len(poses) else 0.0
    return Shown(path, poses.skeleton.name, len(poses), seconds, share, tuple(people))


def _targets(segments: Sequence[Segment], where: Path | None, ending: str) -> list[Path | None]:
    """A file for each segment: the one that is named, else one of the same name in the folder."""
    if where is None or not segments:
        return [None] * len(segments)
    if len(segments) == 1 and where.suffix and not where.is_dir():
        return [where]
    if where.suffix.lower() == ending:
        raise ConfigError("out" if ending == ".npz" else "draw", f"{where} is one file for {len(segments)} videos; name a folder")
    names: list[Path | None] = []
    for segment in segments:
        target, count = where / f"{segment.path.stem}{ending}", 1
        while target in names:
            count += 1
            target = where / f"{segment.path.stem}-{count}{ending}"
        names.append(target)
    return names
