"""Compare the linear head with scikit-learn's LogisticRegression on real sets, with the groups or splits that the sets ask for.

    python -m benchmarks.linear_head [--data FOLDER] [--sets pushup ...] [--cache FOLDER]

Both classify the same features: the mean over time of flow histograms (videos) or of joints (skeletons). The linear head chooses its
regularization itself. LogisticRegression gets standardized features and its C by LogisticRegressionCV over grouped folds of the training
part, scored by log loss. Log loss is measured on the scores as they are, and after one temperature that suits the test part best (a
model's scores are calibrated later anyway).

Result in December 2026, accuracy of the linear head and of LogisticRegressionCV: pushup 0.774 and 0.747, skateboard 0.767 and 0.783,
folk-dance 0.957 and 0.946, jhmdb-pose2d 0.567 and 0.562, uav-gesture 0.782 and 0.714; calibrated log loss 0.525 and 0.564, 0.525 and
0.537, 0.128 and 0.100, 1.507 and 1.506, 0.777 and 1.550. The linear head is kept: it is at least as good on four of five sets, and its
loop also gives the learning curves, the segments that are often wrong, early stopping and label smoothing.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.poses import read_task
from benchmarks.tables import show
from quickstep.backbones import open_backbone
from quickstep.heads import Examples, FitConfig, log_softmax, open_head
from quickstep.models.feature_extraction import extract
from quickstep.models.pose_input import choose_skeleton
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment
from quickstep.types.signals import Features

VIDEO_SETS = ("pushup", "skateboard")
POSE_SETS = {"folk-dance": "five", "jhmdb-pose2d": "official", "uav-gesture": "leave-one-out"}
TEMPERATURES = np.geomspace(0.05, 20, 60)
STRENGTHS = 10.0 ** np.arange(-4, 3)  # C of LogisticRegressionCV

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Task:
    """A set with its features and the parts that are trained on and tested in turn."""

    name: str
    features: list[Features]
    labels: NDArray[np.int64]
    groups: list[str]
    folds: list[tuple[Mask, Mask]]  # train, test

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return int(self.labels.max()) + 1


def video_task(folder: Path, cache: Cache) -> Task:
    """Read a set of videos; five folds by group."""
    with (folder / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    segments = [Segment(folder / row["path"], row["label"], group=row.get("group") or None) for row in rows]
    extracted = extract(segments, open_backbone("flow-hist"), cache=cache).check(strict=True).features
    groups = [segment.group or str(segment.path) for segment in segments]
    labels = np.unique([str(segment.label) for segment in segments], return_inverse=True)[1].astype(np.int64)
    splits = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    folds = [(~(test := np.isin(np.arange(len(rows)), tested)), test) for _, tested in splits]
    return Task(folder.name, [extracted[segment] for segment in segments], labels, groups, folds)


def pose_task(folder: Path, name: str, how: str, cache: Cache) -> Task:
    """Read a set of skeletons with the folds of `benchmarks.poses`."""
    task = read_task(folder, name, how)
    paths = [segment.path for segment in task.segments]
    backbone = choose_skeleton(open_backbone("joints", poses=task.poses.to_options(), cache=cache), paths, cache=cache).backbone
    extracted = extract(task.segments, backbone, view=backbone.view, cache=cache).check(strict=True).features
    labels = np.unique([str(segment.label) for segment in task.segments], return_inverse=True)[1].astype(np.int64)
    groups = [segment.group or str(segment.path) for segment in task.segments]
    return Task(name, [extracted[segment] for segment in task.segments], labels, groups, list(zip(task.learnt, task.folds, strict=True)))


def score_linear_head(task: Task, train: Mask, test: Mask) -> Array:
    """Fit the linear head with its defaults and return logits of the test part."""
    chosen = np.flatnonzero(train).tolist()
    segments = tuple(Segment(Path(f"{index}.mp4"), group=task.groups[index]) for index in chosen)
    head = open_head("linear")
    head.fit(Examples([task.features[i] for i in chosen], task.labels[chosen], segments), classes=task.classes, fitting=FitConfig())
    return head.scores([task.features[i] for i in np.flatnonzero(test)])


def score_logistic_regression(task: Task, train: Mask, test: Mask) -> Array:
    """Fit scikit-learn's logistic regression, its C chosen over grouped folds, and return logits of the test part."""
    rows = np.stack([features.values.reshape(len(features), -1).mean(axis=0, dtype=np.float64) for features in task.features])
    labels, groups = task.labels[train], np.array(task.groups)[train]
    folds = min(5, int(np.bincount(labels)[np.unique(labels)].max()), len(set(groups.tolist())))
    inner = list(StratifiedGroupKFold(folds).split(labels, labels, groups))
    inner = [(one, other) for one, other in inner if set(labels[other]) <= set(labels[one])] or None
    model = LogisticRegressionCV(
        Cs=STRENGTHS, cv=inner, scoring="neg_log_loss", max_iter=500, use_legacy_attributes=False, l1_ratios=(0.0,)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # folds without a rare class, and fits that did not converge
        fitted = make_pipeline(StandardScaler(), model).fit(rows[train], labels)
    scores = np.full((int(test.sum()), task.classes), -50.0)
    decided = fitted.decision_function(rows[test])
    scores[:, fitted.classes_] = np.column_stack([-decided / 2, decided / 2]) if decided.ndim == 1 else decided
    return scores


WAYS: dict[str, Callable[[Task, Mask, Mask], Array]] = {
    "linear head": score_linear_head,
    "LogisticRegressionCV": score_logistic_regression,
}


def measure(task: Task, score: Callable[[Task, Mask, Mask], Array]) -> tuple[float, float, float, float]:
    """Return accuracy, log loss, log loss at the best temperature, and seconds a fit; means over the tested segments."""
    logits, labels, seconds = [], [], []
    for train, test in task.folds:
        started = time.process_time()
        logits.append(score(task, train, test))
        seconds.append(time.process_time() - started)
        labels.append(task.labels[test])
    scores, truth = np.concatenate(logits), np.concatenate(labels)
    losses = [float(-log_softmax(scores / t, axis=1)[np.arange(len(truth)), truth].mean()) for t in (1.0, *TEMPERATURES)]
    return float((scores.argmax(axis=1) == truth).mean()), losses[0], min(losses), float(np.mean(seconds))


def tasks(data: Path, names: Sequence[str], cache: Cache) -> Iterator[Task]:
    """Read the named sets that are at hand."""
    for name in names:
        folder = data / (name if name in VIDEO_SETS else f"skel_{name.replace('-', '_')}")
        if not (folder / "index.csv").is_file():
            print(f"{name}: skipped, {folder} is missing")
        elif name in VIDEO_SETS:
            yield video_task(folder, cache)
        else:
            yield pose_task(folder, name, POSE_SETS[name], cache)


def main() -> None:
    """Print a table of both on each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data", help="has pushup/, skel_*/ ...")
    parser.add_argument("--sets", nargs="+", choices=(*VIDEO_SETS, *POSE_SETS), default=[*VIDEO_SETS, *POSE_SETS])
    parser.add_argument("--cache", type=Path, help="folder of computed features; by default the usual cache")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    for task in tasks(args.data, args.sets, Cache(args.cache) if args.cache else Cache()):
        for name, score in WAYS.items():
            accuracy, loss, calibrated, seconds = measure(task, score)
            row = (task.name, f"{len(task.labels)}", name, f"{accuracy:.3f}", f"{loss:.3f}", f"{calibrated:.3f}", f"{seconds:.1f}")
            print("  ".join(row), flush=True)
            rows.append(row)
    show("linear head or LogisticRegression", ("set", "segments", "classifier", "accuracy", "log loss", "calibrated", "CPU s a fit"), rows)


if __name__ == "__main__":
    main()
