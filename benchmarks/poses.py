"""Measure the accuracy of heads for joints, with the majority class and plain trees as baselines.

    python -m benchmarks.poses [--data FOLDER] [--sets jhmdb-pose2d ...] [--heads pose-trees ...] [--seeds 3] [--folds N]

Models are trained by `train` and tested by `Model.predict`, with their defaults for all sets: official splits where a set has them, else
held-out groups. There is no validation part: these heads take a fixed number of steps, and nothing is chosen on the test part. The
baseline is extra-trees on coordinates and velocities at 16 timestamps.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.tables import show
from quickstep.backbones import open_backbone
from quickstep.datasets.manifest import Manifest
from quickstep.models.feature_extraction import extract
from quickstep.models.pose_input import choose_skeleton
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types import confidence_intervals
from quickstep.types.segment import Segment
from quickstep.types.signals import Features

HEADS = ("lstm", "pose-trees", "stgcn")
SETS = {"jhmdb-pose2d": "official", "uav-gesture": "leave-one-out", "folk-dance": "five"}
MOMENTS = 16
Right = NDArray[np.bool_]


class Answer(Protocol):
    """For each fold, which segments are classified correctly, and the seconds of the fit."""

    def __call__(self, *, seed: int) -> Iterator[tuple[Right, float]]:
        """Fit and test each fold."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """A set of poses, its folds, and how its files are read."""

    name: str
    segments: tuple[Segment, ...]
    folds: tuple[Right, ...]  # each (N,): the tested segments; all others are trained on
    learnt: tuple[Right, ...]
    poses: PoseConfig

    def manifests(self) -> Iterator[Manifest]:
        """Return one manifest for each fold."""
        for test, learnt in zip(self.folds, self.learnt, strict=True):
            parts = ["test" if t else "train" for t, used in zip(test, learnt | test, strict=True) if used]
            segments = [segment for segment, used in zip(self.segments, learnt | test, strict=True) if used]
            yield Manifest(tuple(replace(segment, split=part) for segment, part in zip(segments, parts, strict=True)))


def read_task(folder: Path, name: str, how: str) -> Task:
    """Read a set from its index and meta files."""
    with (folder / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    segments = tuple(Segment(folder / row["path"], row["label"], group=row["group"] or None) for row in rows)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    dimensions = int(np.load(segments[0].path).shape[2])
    body = {"name": name, "joints": meta["joints"], "dimensions": dimensions, "fps": 25.0}
    body |= {"missing": "zero" if "missing" in meta["dims"] else "nan"}
    folds = tuple(_folds(rows, how))
    return Task(
        name, segments, tuple(test for _, test in folds), tuple(learnt for learnt, _ in folds), PoseConfig(skeleton=json.dumps(body))
    )


def _folds(rows: Sequence[dict[str, str]], how: str) -> Iterator[tuple[Right, Right]]:
    """Yield the training and the test segments of each fold."""
    groups, labels = np.array([row["group"] for row in rows]), np.array([row["label"] for row in rows])
    if how == "official":
        parts = [dict(part.split(":") for part in row["split"].split("|")) for row in rows]
        for fold in sorted(parts[0]):
            meta = np.array([part[fold] for part in parts])
            yield meta == "train", meta == "test"
    elif how == "leave-one-out":
        for group in np.unique(groups):
            yield groups != group, groups == group
    else:
        for _, tested in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups):
            test = np.isin(np.arange(len(rows)), tested)
            yield ~test, test


def by_head(task: Task, head: str, *, seed: int, cache: Cache) -> Iterator[tuple[Right, float]]:
    """Yield for each fold which segments a head classifies correctly, and the seconds of the fit."""
    for manifest in task.manifests():
        trained = train(manifest, TrainConfig(backbone="joints", head=head, seed=seed), poses=task.poses, cache=cache)
        test = manifest.part("test").segments
        answered = trained.model.predict(test, cache=cache, strict=True)
        yield np.array([prediction.label == prediction.segment.label for prediction in answered.predictions]), trained.seconds["fitting"]


def by_plain_trees(task: Task, *, seed: int, cache: Cache) -> Iterator[tuple[Right, float]]:
    """Yield the same for the baseline."""
    backbone = choose_skeleton(
        open_backbone("joints", poses=task.poses.to_options(), cache=cache), [s.path for s in task.segments], cache=cache
    ).backbone
    answered = extract(task.segments, backbone, view=backbone.view, cache=cache).check(strict=True).features
    rows = np.stack([_plain(answered[segment]) for segment in task.segments])
    labels = np.array([segment.label for segment in task.segments])
    for test, learnt in zip(task.folds, task.learnt, strict=True):
        started = time.perf_counter()
        trees = ExtraTreesClassifier(500, random_state=seed).fit(rows[learnt], labels[learnt])
        yield trees.predict(rows[test]) == labels[test], time.perf_counter() - started


def _plain(features: Features) -> NDArray[np.float32]:
    places = features.values[..., :-1].reshape(len(features), -1)
    chosen = places[np.linspace(0, len(places) - 1, MOMENTS).round().astype(int)]
    return np.concatenate([chosen.ravel(), np.diff(chosen, axis=0).ravel()])


def majority(task: Task) -> float:
    """Return the accuracy of the majority class of the training part."""
    labels = np.array([segment.label for segment in task.segments])
    shares = []
    for test, learnt in zip(task.folds, task.learnt, strict=True):
        names, counts = np.unique(labels[learnt], return_counts=True)
        shares.append((float((labels[test] == names[counts.argmax()]).mean()), int(test.sum())))
    return _mean(shares, official=len(task.folds) == 3)


def _mean(shares: Sequence[tuple[float, int]], *, official: bool) -> float:
    """Return the mean: official splits count the same, with other folds every segment does."""
    values, counts = zip(*shares, strict=True)
    return float(np.average(values, weights=None if official else counts))


def measured(task: Task, name: str, answer: Answer, seeds: int) -> tuple[str, ...]:
    """Return a row: the mean over seeds, their deviation, the interval of the first, and the longest fit."""
    official = SETS[task.name] == "official"
    groups = [segment.group or str(segment.path) for test in task.folds for segment, held in zip(task.segments, test, strict=True) if held]
    accuracies, first, longest = [], np.zeros(0, dtype=bool), 0.0
    for seed in range(seeds):
        folds = list(answer(seed=seed))
        accuracies.append(_mean([(float(right.mean()), len(right)) for right, _ in folds], official=official))
        first = np.concatenate([right for right, _ in folds]) if seed == 0 else first
        longest = max(longest, *(seconds for _, seconds in folds))
    meta = confidence_intervals.between(confidence_intervals.share(first, groups))
    row = (task.name, name, f"{np.mean(accuracies):.3f}", f"{np.std(accuracies):.3f}", meta, f"{longest:.0f} s")
    print("  ".join(row), flush=True)
    return row


def main() -> None:
    """Measure the heads on poses, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data", help="has skel_jhmdb_pose2d/ and others"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--heads", nargs="*", default=list(HEADS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="folder of computed features; by default the usual cache")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cache = Cache(args.cache) if args.cache else Cache()
    rows: list[tuple[str, ...]] = []
    for name in args.sets:
        folder = args.data / f"skel_{name.replace('-', '_')}"
        if not (folder / "index.csv").is_file():
            print(f"{name}: skipped, {folder} is missing")
            continue
        task = read_task(folder, name, SETS[name])
        rows.append((name, "majority class", f"{majority(task):.3f}", "", "", ""))
        rows.append(measured(task, "plain trees", partial(by_plain_trees, task, cache=cache), args.seeds))
        rows += [measured(task, head, partial(by_head, task, head, cache=cache), args.seeds) for head in args.heads]
    show("accuracy, the mean over seeds", ("set", "classifier", "accuracy", "deviation", "95 %", "longest fit"), rows)


if __name__ == "__main__":
    main()
