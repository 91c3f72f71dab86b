"""extract_poses: find the people of videos, write their poses to files, draw them, and summarize them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quickstep.signals.poses import estimates_depth
from quickstep.signals.poses.concurrent_drawing import ConcurrentDrawing
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.drawing import Look, draw_poses
from quickstep.signals.poses.estimation import PoseFinder, select_person
from quickstep.signals.poses.formats import is_pose_file, write_poses
from quickstep.signals.poses.resampling import present
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.registry import trust_typed
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Poses
from quickstep.types.skeleton import read_skeleton


@dataclass(frozen=True)
class PoseOutput:
    """Where to write poses and drawings: a file for one video, a folder for several."""

    poses: Path | None = None
    drawn: Path | None = None
    stick_figures: bool = False


@dataclass(frozen=True)
class PersonSummary:
    """One person of a video."""

    number: int
    seen: float  # share of the frames
    start: float  # seconds: first visible
    end: float  # last visible
    score: float  # mean over the visible joints


@dataclass(frozen=True)
class ExtractedPoses:
    """The people of one video, and the files that were written."""

    path: Path
    skeleton: str
    moments: int  # frames
    seconds: float  # from the first frame to the last
    seen: float  # share of the frames with a visible person
    people: tuple[PersonSummary, ...]
    poses: Path | None = None
    drawn: Path | None = None

    def __str__(self) -> str:
        if not self.people:
            return f"{self.path}: nobody is visible in any of {self.moments} frames"
        count = "1 person" if len(self.people) == 1 else f"{len(self.people)} people"
        return f"{self.path}: {count}; somebody is visible in {self.seen:.0%} of {self.moments} frames"


def extract_poses(
    segments: Sequence[Segment],
    config: PoseConfig | None = None,
    output: PoseOutput | None = None,
    *,
    world: bool = False,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> tuple[list[ExtractedPoses], list[Failure]]:
    """Find the people in each video (or pose file), write and draw them. `world` writes metres instead of pixels of the frame."""
    config, output, cache = config or PoseConfig(person="all"), output or PoseOutput(), cache or Cache()
    trust_typed(config.estimator)
    if output.stick_figures and output.drawn is None:
        raise ConfigError("stick_figures", "give the video to draw as well (draw)")
    videos = any(not is_pose_file(segment.path) for segment in segments)
    finder = PoseFinder(config, cache)
    world_finder = PoseFinder(_world_config(finder, videos), cache) if world else None
    if videos:
        _ = finder.estimator.identity  # an unsuitable model is reported once, not for each video
    pose_files, drawings = _target_files(segments, output.poses, ".npz"), _target_files(segments, output.drawn, ".mp4")
    extracted, failures = [], []
    for number, segment in enumerate(segments):
        inner = progress if len(segments) == 1 else silent
        target = PoseOutput(pose_files[number], drawings[number], output.stick_figures)
        try:
            extracted.append(_extract(segment, (finder, world_finder), target, inner))
        except MediaError as error:
            failures.append(Failure(segment, error))
        if len(segments) > 1:
            progress("poses", number + 1, len(segments))
    return extracted, failures


def _extract(segment: Segment, finders: tuple[PoseFinder, PoseFinder | None], output: PoseOutput, progress: Progress) -> ExtractedPoses:
    finder, world_finder = finders
    video, look = None if is_pose_file(segment.path) else segment.path, Look(stick_figures=output.stick_figures)
    concurrent = None
    if output.drawn is not None:
        output.drawn.parent.mkdir(parents=True, exist_ok=True)
        if video is not None and finder.skeleton is None and video.resolve() != output.drawn.resolve():
            concurrent = ConcurrentDrawing(video, output.drawn, look)
    try:
        everybody = finder.find(segment.path, progress=progress, watch=concurrent.feed if concurrent else None)
        poses = _selected(finder, segment, everybody)
        summary = _summarize(segment.path, poses)
        if not summary.people:
            return summary
        drawn = concurrent is not None and concurrent.finish(poses)
    finally:
        if concurrent is not None:
            concurrent.stop()
    if output.poses is not None:
        write_poses(_selected(world_finder, segment, world_finder.find(segment.path)) if world_finder else poses, output.poses)
    if output.drawn is not None and not drawn:
        draw_poses(poses, output.drawn, video=video, look=look, progress=progress)
    return replace(summary, poses=output.poses, drawn=output.drawn)


def _selected(finder: PoseFinder, segment: Segment, poses: Poses) -> Poses:
    """Return everybody, or the person of the segment or the config."""
    if finder.config.person == "all" or not poses.seen.any():
        return poses
    return select_person(poses, segment.person or finder.config.number, segment.path)


def _world_config(finder: PoseFinder, videos: bool) -> PoseConfig:
    """Return the same settings with the skeleton in three dimensions."""
    config = finder.config
    if videos and not estimates_depth(finder.estimator):
        raise ConfigError("world", f"{config.estimator} estimates no depth; mediapipe does")
    skeleton = finder.skeleton or (read_skeleton(finder.estimator.skeleton) if videos else None)
    if skeleton is None:
        return config
    return replace(config, skeleton=f"{skeleton.name.removesuffix('-3d')}-3d")


def _summarize(path: Path, poses: Poses) -> ExtractedPoses:
    visible = present(poses)  # (T, P)
    people = []
    for place, number in enumerate(poses.people):
        moments = np.flatnonzero(visible[:, place])
        if len(moments):
            score = float(poses.joints[:, place, :, -1][poses.seen[:, place]].mean())
            times = poses.times[moments[[0, -1]]].tolist()
            people.append(PersonSummary(number, float(visible[:, place].mean()), times[0], times[1], score))
    seconds = float(poses.times[-1] - poses.times[0]) if len(poses) else 0.0
    share = float(visible.any(axis=1).mean()) if len(poses) else 0.0
    return ExtractedPoses(path, poses.skeleton.name, len(poses), seconds, share, tuple(people))


def _target_files(segments: Sequence[Segment], target: Path | None, suffix: str) -> list[Path | None]:
    """Return a file for each segment: the one that is named, or one with the video's name in the folder."""
    if target is None or not segments:
        return [None] * len(segments)
    if len(segments) == 1 and target.suffix and not target.is_dir():
        return [target]
    if target.suffix.lower() == suffix:
        raise ConfigError("out" if suffix == ".npz" else "draw", f"{target} is one file for {len(segments)} videos; name a folder")
    files: list[Path | None] = []
    for segment in segments:
        file, count = target / f"{segment.path.stem}{suffix}", 1
        while file in files:
            count += 1
            file = target / f"{segment.path.stem}-{count}{suffix}"
        files.append(file)
    return files
