"""How fast and how telling the backbone `flow-hist` is, beside one still frame of each video.

    python -m benchmarks.flow_histograms [--data FOLDER] [--drawn 24] [--dancers FOLDER]

Speed: seconds of video a second of one core, decoding counted. Accuracy: the linear head with its defaults, groups held out in turn,
a sixth of the other groups for early stopping; the mean and spread over seeds, and the interval over groups of the first.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show
from benchmarks.throughput import draw_videos
from quickstep.backbones.flow_histograms.backbone import FlowHistograms
from quickstep.backbones.frame_statistics import FrameStatistics
from quickstep.datasets.manifest import group_of, read_manifest
from quickstep.datasets.synthetic import DemoConfig, draw_dancers
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.models.feature_extraction import extract
from quickstep.signals.video import read_windows
from quickstep.storage.cache import Cache
from quickstep.types import confidence_intervals
from quickstep.types.segment import Segment
from quickstep.types.signals import Features

PAIRS = (
    ("spin-left", "spin-right"),
    ("walk", "moonwalk"),
    ("reach-then-drop", "drop-then-reach"),
    ("groove-fast", "groove-slow"),
)
SEEDS = (0, 1, 2)


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled segments with the features of each backbone."""

    name: str
    segments: Sequence[Segment]
    features: Mapping[str, Mapping[Segment, Features]]

    def of(self, name: str, labels: Sequence[str]) -> Task:
        """Return the segments with some of the labels."""
        return Task(name, [segment for segment in self.segments if segment.label in labels], self.features)


def speed(folder: Path, size: tuple[int, int], seconds: float = 12.0) -> tuple[str, ...]:
    """Measure how many seconds of synthetic video one thread describes in a second."""
    backbone = FlowHistograms()
    paths = draw_videos(folder / "x".join(map(str, size)), 3, size, seconds)
    best = np.inf
    for path in paths:  # the first warms up; the fastest is the least disturbed
        started = time.perf_counter()
        for window in read_windows(Segment(path), backbone.view):
            backbone.embed([window])
        best = min(best, time.perf_counter() - started)
    return f"{size[0]}x{size[1]}", f"{seconds / best:.1f}"


def prepared(path: Path, cache: Cache, name: str) -> Task:
    """Extract the features of a manifest's segments with both backbones."""
    segments = read_manifest(path).segments
    backbones = (FlowHistograms(), FrameStatistics())
    features = {backbone.name: extract(segments, backbone, cache=cache).check(strict=True).features for backbone in backbones}
    return Task(name, segments, features)


def held_out(task: Task, backbone: str, *, folds: int, seed: int) -> NDArray[np.bool_]:
    """Return whether each segment is classified correctly by a head trained without its group, (N,)."""
    names = sorted({str(segment.label) for segment in task.segments})
    labels = np.array([names.index(str(segment.label)) for segment in task.segments])
    groups = np.array([group_of(segment) for segment in task.segments])
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    right = np.zeros(len(labels), dtype=bool)
    for held in np.array_split(order, folds):
        rest = order[~np.isin(order, held)]
        test, validation = np.isin(groups, held), np.isin(groups, rest[: max(1, round(len(rest) / 6))])

        def examples(chosen: NDArray[np.bool_]) -> Examples:
            mine = [task.segments[i] for i in np.flatnonzero(chosen)]
            return Examples([task.features[backbone][segment] for segment in mine], labels[chosen], tuple(mine))

        head = open_head("linear")
        head.fit(examples(~test & ~validation), examples(validation), classes=len(names), fitting=FitConfig(seed=seed))
        right[test] = head.scores(examples(test).features).argmax(axis=1) == labels[test]
    return right


def measured(task: Task) -> tuple[str, ...]:
    """Return a row: videos, groups, majority class, accuracy of one frame and of flow-hist with its interval."""
    groups = [group_of(segment) for segment in task.segments]
    labels = [segment.label for segment in task.segments]
    folds = min(7, len(set(groups)))
    right = {name: [held_out(task, name, folds=folds, seed=seed) for seed in SEEDS] for name in ("still", "flow-hist")}
    scores = {name: np.mean(correct, axis=1) for name, correct in right.items()}
    interval = confidence_intervals.share(right["flow-hist"][0], groups)
    return (
        task.name,
        str(len(labels)),
        str(len(set(groups))),
        f"{max(labels.count(label) for label in labels) / len(labels):.2f}",
        f"{scores['still'].mean():.3f}",
        f"{scores['flow-hist'].mean():.3f}",
        f"{scores['flow-hist'].std():.3f}",
        confidence_intervals.between(interval),
    )


def main() -> None:
    """Measure the accuracy of flow histograms, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data", help="has pushup/ and skateboard/")
    parser.add_argument("--drawn", type=int, default=24, help="synthetic videos of each move")
    parser.add_argument("--dancers", type=Path, help="folder of the synthetic videos; they are drawn if it has none")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        show(
            "flow-hist: times real time on one core", ("size", "x"), [speed(folder, size) for size in ((320, 240), (640, 480), (1280, 720))]
        )
        cache, tasks = Cache(folder / "store"), []
        for name in ("pushup", "skateboard"):
            if (args.data / name / "index.csv").is_file():
                tasks.append(prepared(args.data / name / "index.csv", cache, name))
            else:
                print(f"{name}: left out, {args.data / name} is not here")
        dancers: Path = args.dancers or folder / "dancers"
        if not (dancers / "dancers.csv").is_file():
            moves = tuple(move for pair in PAIRS for move in pair)
            draw_dancers(dancers, DemoConfig(moves=moves, videos=args.drawn, dancers=max(4, args.drawn // 2)))
        drawn = prepared(dancers / "dancers.csv", cache, "all drawn moves")
        tasks += [drawn, *(drawn.of(" / ".join(pair), pair) for pair in PAIRS)]
        columns = ("dataset", "videos", "groups", "majority", "one frame", "flow-hist", "spread", "95 % over groups")
        show("accuracy with the linear head, groups held out", columns, [measured(task) for task in tasks])


if __name__ == "__main__":
    main()
