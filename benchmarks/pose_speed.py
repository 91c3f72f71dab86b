"""Measure how fast poses are found in a video, from the file to the cache, relative to the estimator alone.

    python -m benchmarks.pose_speed [--videos FILE ...] [--pose-model FILE] [--people N] [--rounds N]

bare       the estimator on decoded frames
plain      MediaPipe's own loop on the same frames: one network in video mode with the same number of people
whole      `find_poses`: decode, estimate, track, cache; with an empty cache
drawn      the same, with the skeleton video

`whole / bare` is the share of the estimator's speed that the pipeline keeps. The runs alternate, and the median of the rounds counts,
because the load of the machine varies.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import show
from quickstep.signals.poses import PoseEstimator, open_estimator
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.estimation import EDGE, find_poses
from quickstep.signals.poses.extraction import PoseOutput, extract_poses
from quickstep.signals.video import VideoReader
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment
from quickstep.types.signals import Frames
from quickstep.types.view import View

SHARED = Path(__file__).parents[2] / "shared" / "data"
SOME = ("clean_and_jerk.mp4", "ta_chi.mp4", "afro8.mp4", "exercise.avi", "skateboarding.mp4")


@dataclass(frozen=True)
class Job:
    """One decoded video and the settings of its poses."""

    path: Path
    frames: Frames
    config: PoseConfig
    folder: Path


def decoded(path: Path, fps: float) -> Frames:
    """Decode the frames that the estimator receives."""
    with VideoReader(path) as video:
        times = np.arange(int(video.info.duration * fps + 1e-6)) / fps
        frames = video.frames(times, view=View(frames=1, size=EDGE, fit="whole"))
    times, places = np.unique(frames.times, return_index=True)
    return Frames(frames.pixels[places], times)


def bare(job: Job, estimator: PoseEstimator) -> int:
    """Run the estimator alone; return the number of frames with a visible person."""
    estimator.start()
    visible = 0
    for at in range(0, len(job.frames), estimator.batch):
        some = slice(at, at + estimator.batch)
        visible += int(estimator.estimate(Frames(job.frames.pixels[some], job.frames.times[some])).seen.any(axis=(1, 2)).sum())
    return visible


def plain(job: Job, _: PoseEstimator) -> int:
    """Run MediaPipe as in its documentation."""
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import PoseLandmarker, PoseLandmarkerOptions, RunningMode

    options = PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(job.config.pose_model)), running_mode=RunningMode.VIDEO, num_poses=job.config.people
    )
    visible = 0
    with PoseLandmarker.create_from_options(options) as network:
        for pixels, at in zip(job.frames.pixels, job.frames.times, strict=True):
            image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
            visible += bool(network.detect_for_video(image, round(at * 1000)).pose_landmarks)
    return visible


def whole(job: Job, _: PoseEstimator) -> int:
    """Find poses from the file to the cache."""
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        poses = find_poses(job.path, job.config, cache=Cache(folder))
    return int(poses.seen.any(axis=(1, 2)).sum())


def drawn(job: Job, _: PoseEstimator) -> int:
    """Find poses, write them to a file and draw them."""
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        output = PoseOutput(Path(folder) / "poses.npz", Path(folder) / "drawn.mp4")
        extracted, failures = extract_poses([Segment(job.path)], job.config, output, cache=Cache(folder))
        assert not failures, failures
    return round(extracted[0].seen * extracted[0].moments)


def measure(job: Job, estimator: PoseEstimator, ways: dict[str, Callable[[Job, PoseEstimator], int]], rounds: int) -> dict[str, Any]:
    """Measure frames a second of each run, and the share of frames with a visible person."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    row: dict[str, Any] = {"video": job.path.name, "frames": len(job.frames)}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            visible = way(job, estimator)
            seconds[name].append(time.perf_counter() - began)
            row[f"{name} seen"] = visible / len(job.frames)
    return row | {name: len(job.frames) / statistics.median(durations) for name, durations in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="*", help="videos (default: some of the shared ones)")
    parser.add_argument("--estimator", default="mediapipe")
    usual = os.environ.get("QUICKSTEP_POSE_MODEL") or str(SHARED / "models" / "pose_landmarker_full.task")
    parser.add_argument("--pose-model", default=usual)
    parser.add_argument("--people", type=int, default=PoseConfig().people)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    videos = options.videos or [SHARED / "kinetics_smoke" / name for name in SOME]
    config = PoseConfig(estimator=options.estimator, pose_model=options.pose_model, people=options.people, person="all")
    ways: dict[str, Callable[[Job, PoseEstimator], int]] = {"bare": bare, "whole": whole, "drawn": drawn}
    if options.estimator == "mediapipe":
        ways["plain"] = plain
    estimator = open_estimator(config.estimator, model=config.pose_model, people=config.people)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for path in videos:
            job = Job(path, decoded(path, config.fps), config, Path(folder))
            speeds = measure(job, estimator, ways, options.rounds)
            row = [speeds["video"], str(speeds["frames"]), f"{speeds['bare']:.1f}", f"{speeds['bare seen']:.1%}"]
            row += [f"{speeds[name] / speeds['bare']:.2f}" for name in ("whole", "drawn")]
            row += [f"{speeds['plain'] / speeds['bare']:.2f}", f"{speeds['plain seen']:.1%}"] if "plain" in ways else []
            rows.append(row)
    header = ["video", "frames", "bare, frames/s", "seen", "whole / bare", "drawn / bare", "plain / bare", "plain, seen"]
    show(f"{config.estimator}, at most {config.people} people, {options.rounds} rounds", header[: len(rows[0])], rows)


if __name__ == "__main__":
    main()
