"""Measure how well and how fast a timeline finds the moves of a long video: drawn dancers, one move after the other, known boundaries.

    python -m benchmarks.timeline [--videos 4] [--seconds 90] [--seed 0]

Each long video shows one dancer who is not in the training data, with moves of 2 to 12 seconds in random order. Models are trained on
short videos of other dancers, with `flow-hist` and with true joints (`joints`). The timeline's defaults are compared with other ways to
use the same scores (each window by itself, a median of five windows) and with the majority class all the time. Speed is compared with
decoding alone, every frame at the size of the model's view.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.ndimage import median_filter

from benchmarks.tables import show
from quickstep.backbones import Capabilities
from quickstep.datasets.manifest import Manifest, read_manifest
from quickstep.datasets.synthetic import DemoConfig, draw_dancers
from quickstep.datasets.synthetic.scene import Dancer, Scene
from quickstep.inference.timelines import Span, Timeline, TimelineConfig, evaluate_timeline, resmooth, timeline
from quickstep.inference.timelines.evaluation import TimelineMetrics
from quickstep.models.model import Model
from quickstep.signals.video import VideoReader, write_video
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

MOVES = ("windmill", "halo", "toprock", "moonwalk", "spin-left", "spin-right")
SIZE, FPS = (320, 240), 25.0


@dataclass(frozen=True)
class Long:
    """A long video, its joints as a pose file, and its true spans."""

    video: Path
    poses: Path
    truth: tuple[Span, ...]


def draw_long(folder: Path, number: int, *, seconds: float, seed: int) -> Long:
    """Draw one dancer on one stage, one move after the other."""
    rng = np.random.default_rng([seed, 7, number])
    dancer = Dancer.drawn(number, seed + 1000, SIZE[1])
    scenes: list[Scene] = []
    before, begin = "", 0.0
    truth: list[Span] = []
    while begin < seconds:
        move = str(rng.choice([move for move in MOVES if move != before]))
        length = float(rng.uniform(2, 12))
        scene = Scene.drawn(move, dancer, (seed, number, len(scenes)), size=SIZE, fps=FPS, seconds=length, clutter=0.0)
        scenes.append(scene)
        end = begin + len(scene.times) / FPS
        truth.append(Span(begin, end, move, 1.0))
        before, begin = move, end
    path = folder / f"long-{number}.mp4"
    write_video(path, (picture for scene in scenes for picture in scene.frames()), fps=FPS, crf=26)
    joints = np.concatenate([scene.joints for scene in scenes])
    np.savez(path.with_suffix(".npz"), joints=joints, times=np.arange(len(joints)) / FPS, skeleton=np.array("coco-17"))
    return Long(path, path.with_suffix(".npz"), tuple(truth))


def train_both(folder: Path, cache: Cache, seed: int) -> dict[str, Model]:
    """Train models that read frames and joints on short videos of other dancers."""
    config = DemoConfig(moves=MOVES, videos=12, dancers=12, seconds=3.0, clutter=0.0, seed=seed)
    listed = read_manifest(draw_dancers(folder / "short", config))
    posed = Manifest(tuple(replace(s, path=s.path.with_suffix(".npz"), extra={}) for s in listed.segments), listed.source)
    models = {"flow-hist": train(listed, TrainConfig(backbone="flow-hist", seed=seed), cache=cache).model}
    models["joints"] = train(posed, TrainConfig(backbone="joints", head="pose-trees", seed=seed), cache=cache).model
    return models


def alone(found: Timeline) -> Timeline:
    """Return spans of each window by itself, without smoothing."""
    return _read(found, found.scores[0].scores.argmax(axis=1))


def median(found: Timeline) -> Timeline:
    """Return spans of the majority vote of five windows in a row."""
    votes = np.eye(len(found.labels))[found.scores[0].scores.argmax(axis=1)]
    return _read(found, median_filter(votes, size=(5, 1), mode="nearest").argmax(axis=1))


def _read(found: Timeline, states: np.ndarray) -> Timeline:
    scores = found.scores[0]
    cuts = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), len(states)]
    times = [0.0, *(float((scores.times[c - 1] + scores.times[c]) / 2) for c in cuts[1:-1]), found.duration]
    labels = [found.labels[int(states[c])] for c in cuts[:-1]]
    return replace(found, spans=tuple(Span(a, b, label, 1.0) for a, b, label in zip(times[:-1], times[1:], labels, strict=True)))


def decoding_alone(path: Path, model: Model, step: float) -> float:
    """Return the seconds to decode and scale the frames of a timeline, and nothing else."""
    with VideoReader(path) as video:
        began = time.perf_counter()
        timestamps = np.arange(0, video.info.duration, step)
        for _ in video.windows([timestamps[at : at + 32] for at in range(0, len(timestamps), 32)], view=model.view):
            pass
        return time.perf_counter() - began


def _row(name: str, metrics: Sequence[TimelineMetrics], error: Sequence[float | None]) -> tuple[str, ...]:
    f1 = np.mean([one.f1 for one in metrics], axis=0)
    errors = [seconds for seconds in error if seconds is not None]
    numbers = (np.mean([f.accuracy for f in metrics]), *f1, np.mean([f.edit for f in metrics]))
    return (name, *(f"{number:.3f}" for number in numbers), f"{np.mean(errors):.2f}" if errors else "", str(sum(f.spans for f in metrics)))


def measure(model: Model, longs: Sequence[Long], cache: Cache, *, joints: bool) -> list[tuple[str, ...]]:
    """Return the rows of one model's table."""
    timelines = [timeline(model, long.poses if joints else long.video, cache=cache) for long in longs]
    sure = [resmooth(one, model, TimelineConfig(min_confidence=0)) for one in timelines]
    ways = {
        "timeline": timelines,
        "timeline, never unsure": sure,
        "a median of five windows": [median(one) for one in timelines],
        "each window by itself": [alone(one) for one in timelines],
    }
    rows = []
    for name, results in ways.items():
        reports = [evaluate_timeline(one, long.truth) for one, long in zip(results, longs, strict=True)]
        rows.append(_row(name, [report.metrics for report in reports], [report.boundary_error for report in reports]))
    rows.append(_row("the majority class all the time", [report.baseline for report in reports], [None]))
    return rows


def main() -> None:
    """Draw videos, train models, evaluate timelines, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="folder of the drawn videos (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        cache = Cache(folder / "cache")
        models = train_both(folder, cache, options.seed)
        longs = [draw_long(folder, number, seconds=options.seconds, seed=options.seed) for number in range(options.videos)]
        for name, model in models.items():
            rows = measure(model, longs, cache, joints=name == "joints")
            columns = ("method", "accuracy", "F1@10", "F1@25", "F1@50", "edit", "boundary s", "spans")
            show(f"{name}: {len(longs)} drawn videos, {sum(len(long.truth) for long in longs)} true spans", columns, rows)
        listed = read_manifest(folder / "short" / "dancers.csv")
        quick = train(listed, TrainConfig(epochs=1), backbone=Mean(), cache=cache).model
        _speed({"mean colour of each frame": quick, "flow-hist": models["flow-hist"]}, longs[0], Path(place))


class Mean:
    """A backbone that costs next to nothing and embeds each frame by itself: the rest is the work of the timeline."""

    capabilities = Capabilities(frame_by_frame=True)
    name, revision, license, width, batch = "mean", "1", "MIT", 3, 64
    view = View(frames=8, size=224)
    identity: ClassVar = {"name": "mean"}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Return the mean colour of each frame."""
        return [Features(frames.pixels[:, ::8, ::8].mean(axis=(1, 2), dtype=np.float32), frames.times) for frames in batch]


def _speed(models: dict[str, Model], long: Long, place: Path) -> None:
    """Compare the speed of each model on one video with decoding the same frames and nothing else."""
    rows = []
    for name, model in models.items():
        cache = Cache(place / f"fresh-{name}")
        began = time.perf_counter()
        result = timeline(model, long.video, cache=cache)
        first = time.perf_counter() - began
        again = timeline(model, long.video, cache=cache).seconds
        pace = model.view.fps or model.view.frames / result.scores[0].window
        base = decoding_alone(long.video, model, 1 / pace)
        rows.append((name, f"{result.duration / first:.1f}x", f"{base / first:.0%}", f"{first / again:.0f}x"))
    show("speed", ("model", "x real time", "of decoding alone", "cached, x first run"), rows)


if __name__ == "__main__":
    sys.exit(main())
